"""Rate limits: counted exactly in this process, and shared with the others through Redis.

Owns the counting. A window begins with a key's first request and lasts a minute, or as long as the
limit says. No request waits for Redis: every 100 ms one pipeline adds what was counted since and
reads back the totals, so that processes together let through at most what they count within that
time. Without Redis, hung included, each process counts alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

_log = logging.getLogger("mindstream.limits")

WINDOW = 60
SYNC_EVERY = 0.1
_MAX_KEYS = 200_000
_OVERFLOW = "overflow"
_PREFIX = "ratelimit:"


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a request may pass; ``reset_seconds`` is when all is allowed again."""

    allowed: bool
    remaining: int
    reset_seconds: int
    limit: int


class Limit(msgspec.Struct, frozen=True, gc=False):
    """One of several limits that bind a request at once: ``most`` in ``window`` seconds."""

    key: str
    most: int
    window: int


class Counters(Protocol):
    """What is needed of a Redis client: pipelines (``redis.asyncio.Redis``)."""

    def pipeline(self, transaction: bool = ...) -> Any:
        """A pipeline."""
        ...


class _Cell:
    """One key's window: what all processes used, as last heard, and what is still to be told."""

    __slots__ = ("ends", "unsent", "used")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.used = 0
        self.unsent = 0


class RateLimiter:
    """Counts requests per key and minute; ``run`` shares the counts while the process lives."""

    def __init__(self, per_minute: int, redis: Counters | None = None) -> None:
        """Take the limit that applies where a check names none, and the shared counters."""
        self.per_minute = per_minute
        self._redis = redis
        self._cells: dict[str, _Cell] = {}
        self._dirty: dict[str, _Cell] = {}
        self._sweep_at = 0.0
        self._reachable = True

    def check(self, key: str, now: float, limit: int | None = None) -> Decision:
        """Count one request of ``key`` at ``now`` (Unix seconds); a refused one costs nothing.

        ``limit`` is the key's own number per minute.
        """
        most = self.per_minute if limit is None else limit
        cell = self._cells.get(key)
        if cell is None or cell.ends <= now:
            cell = self._open(key, now, WINDOW)
        left = most - cell.used - 1
        reset = math.ceil(cell.ends - now)
        if left < 0:
            return Decision(False, 0, reset, most)
        cell.used += 1
        if self._redis is not None:
            cell.unsent += 1
            self._dirty[key] = cell
        return Decision(True, left, reset, most)

    def check_all(self, limits: Iterable[Limit], now: float) -> list[Decision]:
        """Count one request under several limits, or under none if one of them refuses it."""
        found: list[tuple[Limit, _Cell]] = []
        for limit in limits:
            cell = self._cells.get(limit.key)
            if cell is None or cell.ends <= now:
                cell = self._open(limit.key, now, limit.window)
            found.append((limit, cell))
        passes = all(cell.used < limit.most for limit, cell in found)
        decisions = []
        for limit, cell in found:
            allowed = cell.used < limit.most
            if passes:
                cell.used += 1
                if self._redis is not None:
                    cell.unsent += 1
                    self._dirty[limit.key] = cell
            left = max(0, limit.most - cell.used)
            decisions.append(Decision(allowed, left, math.ceil(cell.ends - now), limit.most))
        return decisions

    def _open(self, key: str, now: float, window: int) -> _Cell:
        if now >= self._sweep_at or len(self._cells) >= _MAX_KEYS:
            if now >= self._sweep_at:
                self._cells = {k: cell for k, cell in self._cells.items() if cell.ends > now}
                self._sweep_at = now + WINDOW
            if len(self._cells) >= _MAX_KEYS and key not in self._cells:
                # So many keys at once are an attack: those that come late share one window.
                key = _OVERFLOW
                known = self._cells.get(key)
                if known is not None and known.ends > now:
                    return known
        cell = self._cells[key] = _Cell(now + window)
        return cell

    async def run(self, stop: asyncio.Event) -> None:
        """Share the counts every 100 ms until ``stop`` is set."""
        if self._redis is None:
            return
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), SYNC_EVERY if self._reachable else 1)
            except TimeoutError:
                await self.sync()

    async def sync(self) -> None:
        """Tell Redis what was counted since the last time, and hear the totals.

        An error is logged once and leaves the counts for the next time.
        """
        if self._redis is None or not self._dirty:
            return
        batch, self._dirty = self._dirty, {}
        now = time.time()
        sent = {key: (cell, cell.unsent) for key, cell in batch.items() if cell.ends > now}
        for cell, _ in sent.values():
            cell.unsent = 0
        try:
            async with asyncio.timeout(2):
                replies = await self._exchange(sent, now)
        except Exception as error:  # noqa: BLE001  whatever the client raises, requests go on
            for key, (cell, count) in sent.items():
                cell.unsent += count
                self._dirty.setdefault(key, cell)
            if self._reachable:
                _log.warning("rate limits are not shared: %s", type(error).__name__)
            self._reachable = False
            return
        if not self._reachable:
            _log.info("rate limits are shared again")
        self._reachable = True
        for (cell, _), (total, left_ms) in zip(sent.values(), replies, strict=True):
            cell.used = total + cell.unsent
            if left_ms > 0:
                cell.ends = time.time() + left_ms / 1000

    async def _exchange(
        self, sent: dict[str, tuple[_Cell, int]], now: float
    ) -> Iterable[tuple[int, int]]:
        assert self._redis is not None
        if not sent:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for key, (cell, count) in sent.items():
                name = _PREFIX + key
                # SET … NX and not EXPIRE … NX, which Redis 6.2 does not have.
                pipe.set(name, 0, px=max(1, int((cell.ends - now) * 1000)), nx=True)
                pipe.incrby(name, count)
                pipe.pttl(name)
            replies = await pipe.execute()
        return list(zip(replies[1::3], replies[2::3], strict=True))
