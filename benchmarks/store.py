"""The product's event store and bus, opened for a benchmark in an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from adapters.event_store.store import PostgresEventStore
from adapters.postgres.pipeline import Pipeline
from commands.bus import Bus

T = TypeVar("T")


class OpenStore:
    """A store, and a loop that lives as long; ``appended`` counts what benchmarks wrote with it."""

    bus: Bus
    store: PostgresEventStore

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
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
        self.run(self._close())
        self._runner.__exit__(kind, error, trace)

    async def _open(self) -> None:
        self._reads = Pipeline(self._dsn, role="mindstream_write")
        self._writes = Pipeline(self._dsn, role="mindstream_write")
        await self._reads.open()
        await self._writes.open()
        self.store = PostgresEventStore(self._reads, self._writes, _NoSealer(), _ignore)
        self.bus = Bus(self.store)

    async def _close(self) -> None:
        await self.store.drain()
        await self._reads.close()
        await self._writes.close()


class _NoSealer:
    """Nothing is sealed where no idempotency key is sent."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        raise NotImplementedError

    def open(self, sealed: bytes, context: bytes) -> bytes:
        raise NotImplementedError


def _ignore(position: int) -> None:
    """Nobody is woken."""
