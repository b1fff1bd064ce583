"""One connection's events: replayed from the store first, then handed on as they happen.

Owns what waits to be sent to one connection, and what becomes of it when that is too much: it reads
on from the store at its own pace, or, if its client does not take what it was sent, ends. Reading
and handing on are ``feed``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Literal
from uuid import UUID

from prometheus_client import Counter, Gauge

from projections.following import Credentials, Ended, Reason, Told

MOST_WAITING = 500
"""Events that may wait for a connection."""
MOST_BYTES = 1 << 20
"""Their bytes."""
SLOW_AFTER = 5.0
"""Seconds for which a client may take nothing while too much is waiting for it."""

OPEN = Gauge("mindstream_live_connections", "Open live connections", ["kind"])
TOLD = Counter("mindstream_live_events_total", "Events handed to live connections")
ENDED = Counter("mindstream_live_ended_total", "Live connections that ended", ["kind", "reason"])

Replay = Callable[["LiveLine"], Awaitable[list[Told]]]


class LiveLine:
    """A connection of one person; ``names`` are the events that it wants.

    ``replay`` reads on for it as long as ``replaying`` is True; once ``joined`` is, events are
    handed to it. ``left`` is called when it is closed.
    """

    __slots__ = (
        "_bytes",
        "_left",
        "_overflowed",
        "_reason",
        "_replay",
        "_said",
        "_waiting",
        "credentials",
        "joined",
        "kind",
        "names",
        "position",
        "reached",
        "replaying",
        "user_id",
        "who",
    )

    def __init__(
        self,
        user_id: UUID,
        who: str,
        names: Collection[str],
        credentials: Credentials,
        kind: Literal["sse", "ws"],
        *,
        replay: Replay,
        left: Callable[[LiveLine], None],
    ) -> None:
        self.user_id = user_id
        self.who = who
        self.names = names
        self.credentials = credentials
        self.kind = kind
        self.position = 0
        """Of the last event that was handed to it."""
        self.reached = 0
        """How far the store has been read for it before it joined."""
        self.replaying = True
        self.joined = False
        self._replay = replay
        self._left: Callable[[LiveLine], None] | None = left
        self._waiting: list[Told] = []
        self._bytes = 0
        self._overflowed: float | None = None
        self._reason: Reason | None = None
        self._said = asyncio.Event()
        OPEN.labels(kind).inc()

    def begin(self, position: int) -> None:
        """Tell what comes after this position."""
        self.position = self.reached = position

    def push(self, told: Told) -> None:
        """Hand it an event, unless it has had it or does not want it."""
        if told.position <= self.position or self._reason is not None:
            return
        if told.name not in self.names:
            return
        size = len(bytes(told.data))
        if self._waiting and (
            len(self._waiting) >= MOST_WAITING or self._bytes + size > MOST_BYTES
        ):
            # What waits is taken first; from there on it is read for alone again.
            self.joined, self.replaying, self.reached = False, True, self.position
            self._overflowed = asyncio.get_running_loop().time()
            return
        self._bytes += size
        self.position = told.position
        self._waiting.append(told)
        self._said.set()

    async def next(self, within: float) -> list[Told]:
        """The next events; none if none came within that time, or somebody nudged.

        Raises:
            Ended: that was all.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        if self._overflowed is not None:
            if loop.time() - self._overflowed > SLOW_AFTER:
                self.end("slow")
            self._overflowed = None
        while self.replaying and not self._waiting and self._reason is None:
            found = [each for each in await self._replay(self) if each.name in self.names]
            if found:
                self.position = found[-1].position
                TOLD.inc(len(found))
                self._check()
                return found
            if loop.time() >= until:
                return []
        if not self._waiting and self._reason is None:
            try:
                async with asyncio.timeout_at(until):
                    await self._said.wait()
            except TimeoutError:
                return []
        self._check()
        self._said.clear()
        waiting, self._waiting = self._waiting, []
        self._bytes = 0
        TOLD.inc(len(waiting))
        return waiting

    def nudge(self) -> None:
        """Have ``next`` return."""
        self._said.set()

    def end(self, reason: Reason) -> None:
        """Tell nothing more; the first reason counts."""
        if self._reason is None:
            self._reason = reason
            self._waiting.clear()
            self._said.set()

    def close(self) -> None:
        """The connection is closed."""
        self.end("gone")
        left, self._left = self._left, None
        if left is not None:
            left(self)
            OPEN.labels(self.kind).dec()
            ENDED.labels(self.kind, self._reason or "gone").inc()

    def _check(self) -> None:
        if self._reason is not None:
            raise Ended(self._reason)
