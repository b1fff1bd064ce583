"""Dispatch: from the type of a command to its handler.

Handlers register under the command's type; the bus gives each the store and the context. It owns
no transaction: a handler makes one commit, which is whole or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from commands.ports import Context, EventStore

R = TypeVar("R")
C = TypeVar("C")


class Outcome(msgspec.Struct, Generic[R], frozen=True):
    """A handler's result, and the position that a reader must have passed to see it."""

    result: R
    position: int


Handler = Callable[[Any, Context, EventStore], Awaitable[Outcome[Any]]]
_handlers: dict[type, Handler] = {}


def handles(
    command: type[C],
) -> Callable[
    [Callable[[C, Context, EventStore], Awaitable[Outcome[R]]]],
    Callable[[C, Context, EventStore], Awaitable[Outcome[R]]],
]:
    """Register the decorated coroutine as the handler of ``command``."""

    def register(
        handler: Callable[[C, Context, EventStore], Awaitable[Outcome[R]]],
    ) -> Callable[[C, Context, EventStore], Awaitable[Outcome[R]]]:
        if command in _handlers:
            raise TypeError(f"{command.__name__} has a handler already")
        _handlers[command] = handler
        return handler

    return register


class Bus:
    """Gives commands to their handlers."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def dispatch(self, command: object, context: Context) -> Outcome[Any]:
        """Run the command's handler.

        Raises:
            DomainError, Invalid, CommitError: as the handler does.
        """
        return await _handlers[type(command)](command, context, self._store)
