"""How many wrong passwords there were, per account and address: in Redis, or in this process.

A window of 15 minutes slides: each wrong attempt counts for that long. The keys hold a digest, not
the address of the account. While Redis does not answer nobody's attempts can be counted, and so no
password is looked at: guessing must not become free by wearing out the counter.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

from adapters.http.addresses import counted_as
from commands.credentials import Unavailable

ALLOWED = 10
WINDOW = 15 * 60


def _key(account: str, address: str) -> str:
    # One IPv6 client has a whole /64 of addresses to guess from.
    counted = counted_as(address or None)
    return "login-attempts:" + sha256(f"{account}\0{counted}".encode()).hexdigest()


def _seconds(oldest: float, now: datetime) -> int:
    return max(1, min(WINDOW, int(-((now.timestamp() - oldest - WINDOW) // 1))))


class RedisAttempts:
    """``commands.credentials.Attempts``, shared by all processes; ``patience`` is in seconds."""

    def __init__(self, redis: Redis, *, patience: float = 2.0) -> None:
        self._redis: Any = redis
        self._patience = patience

    async def blocked(self, account: str, address: str, now: datetime) -> int | None:
        """Seconds until the oldest of too many attempts is forgotten."""
        key = _key(account, address)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zremrangebyscore(key, "-inf", now.timestamp() - WINDOW)
        pipeline.zrange(key, -ALLOWED, -ALLOWED, withscores=True)
        _, found = await self._run(pipeline.execute())
        return _seconds(float(found[0][1]), now) if found else None

    async def failed(self, account: str, address: str, now: datetime) -> None:
        """Count one."""
        key = _key(account, address)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(key, {uuid4().hex: now.timestamp()})
        pipeline.expire(key, WINDOW)
        await self._run(pipeline.execute())

    async def cleared(self, account: str, address: str) -> None:
        """Forget all."""
        await self._run(self._redis.delete(_key(account, address)))

    async def _run(self, command: Any) -> Any:
        try:
            async with asyncio.timeout(self._patience):
                return await command
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable("attempts cannot be counted now") from error


class LocalAttempts:
    """``commands.credentials.Attempts`` in one process: for tests, or without any Redis."""

    def __init__(self, *, accounts: int = 100_000) -> None:
        self._most = accounts
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    async def blocked(self, account: str, address: str, now: datetime) -> int | None:
        """Seconds until the oldest of too many attempts is forgotten."""
        times = self._recent(_key(account, address), now)
        return _seconds(times[-ALLOWED], now) if len(times) >= ALLOWED else None

    async def failed(self, account: str, address: str, now: datetime) -> None:
        """Count one."""
        key = _key(account, address)
        self._times[key] = [*self._recent(key, now), now.timestamp()]
        self._times.move_to_end(key)
        while len(self._times) > self._most:
            self._times.popitem(last=False)

    async def cleared(self, account: str, address: str) -> None:
        """Forget all."""
        self._times.pop(_key(account, address), None)

    def _recent(self, key: str, now: datetime) -> list[float]:
        return [time for time in self._times.get(key, ()) if time > now.timestamp() - WINDOW]
