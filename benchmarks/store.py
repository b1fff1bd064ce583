"""The product's write side, composed as the product composes it, in an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from adapters.event_store.store import PostgresEventStore
from bootstrap.settings import Settings
from bootstrap.wiring import WriteSide
from commands.bus import Bus

T = TypeVar("T")


class OpenStore:
    """A store and its bus; ``appended`` counts what benchmarks wrote with it.

    Wake-ups go out after each group of commits, as they do in the product. ``store`` may be another
    kind, to measure what the product's does.
    """

    bus: Bus

    def __init__(
        self, settings: Settings, store: type[PostgresEventStore] = PostgresEventStore
    ) -> None:
        self._settings = settings
        self._kind = store
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._stack = AsyncExitStack()
        self.appended = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in the store's loop."""
        return self._runner.run(work)

    def __enter__(self) -> Self:
        """Connect."""
        self._runner.__enter__()
        self.run(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is under way, and disconnect."""
        self.run(self._stack.aclose())
        self._runner.__exit__(kind, error, trace)

    async def _open(self) -> None:
        side = WriteSide(self._settings)
        await self._stack.enter_async_context(side.opened())
        self.bus = side.bus
        if self._kind is not PostgresEventStore:
            store = self._kind(side.reads, side.writes, side.sealer, side.signals.appended)
            self._stack.push_async_callback(store.drain)
            self.bus = Bus(store)
