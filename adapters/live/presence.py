"""Who has a WebSocket open, for other processes to see: the sets ``ws:user:{id}`` in Redis.

Owns these sets. A member is ``<process>:<number>``; a set expires when nobody renews it, and a
member whose process is gone is taken out by whoever renews the set, so that a crash leaves nothing
for ever. Nobody waits for Redis, and what it missed while it was away it is told again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import cast
from uuid import UUID

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError
from uuid_utils import uuid7

from adapters.ending import end
from domain.accounts.person import Person

log = structlog.get_logger()

LIVES = 180
"""Seconds that a set and a process are remembered without being renewed."""
RENEW = 60.0
"""Seconds between renewals."""
_GATHER = 0.1
"""Seconds for which changes are gathered."""


def key_of(user_id: UUID) -> str:
    """Where a person's connections stand."""
    return f"ws:user:{user_id}"


class Presence:
    """The open WebSockets of this process."""

    def __init__(self, cache: redis.Redis) -> None:
        self._cache = cache
        self._process = uuid7().hex
        self._next = 0
        self._open: dict[UUID, set[str]] = {}
        self._changed: set[UUID] = set()
        self._left: list[tuple[UUID, str]] = []
        self._news = asyncio.Event()

    def add(self, user_id: UUID) -> str:
        """Note a connection; returns its id."""
        self._next += 1
        member = f"{self._process}:{self._next}"
        self._open.setdefault(user_id, set()).add(member)
        self._changed.add(user_id)
        self._news.set()
        return member

    def remove(self, user_id: UUID, member: str) -> None:
        """Note that it is closed."""
        members = self._open.get(user_id, set())
        members.discard(member)
        if not members:
            self._open.pop(user_id, None)
        self._left.append((user_id, member))
        self._news.set()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Told to Redis as long as the context lasts, and taken back in the end."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            await end(task)
            for user_id, members in self._open.items():
                self._left += [(user_id, member) for member in members]
            with suppress(RedisError, OSError, TimeoutError):
                await self._tell([])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + RENEW
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(renew_at):
                    await self._news.wait()
                    await asyncio.sleep(_GATHER)
            self._news.clear()
            try:
                if loop.time() >= renew_at:
                    renew_at = loop.time() + RENEW
                    await self._bury(list(self._open))
                    await self._tell(self._open)
                else:
                    await self._tell(self._changed)
            except (RedisError, OSError, TimeoutError) as error:
                log.debug("presence_not_told", reason=type(error).__name__)

    async def _tell(self, changed: Iterable[UUID]) -> None:
        told = [(user, self._open[user]) for user in changed if self._open.get(user)]
        left, self._left, self._changed = self._left, [], set()
        if not told and not left:
            return
        async with asyncio.timeout(2), self._cache.pipeline(transaction=False) as pipe:
            pipe.set(_alive(self._process), 1, ex=LIVES)
            for user_id, members in told:
                pipe.sadd(key_of(user_id), *members)
                pipe.expire(key_of(user_id), LIVES)
            for user_id, member in left:
                pipe.srem(key_of(user_id), member)
            await pipe.execute()

    async def _bury(self, users: list[UUID]) -> None:
        """Take out what is left of connections that are closed, and of processes that are gone."""
        for user_id in users:
            async with asyncio.timeout(2):
                found = {each.decode() for each in await _members(self._cache, key_of(user_id))}
                found -= self._open.get(user_id, set())
                processes = {member.partition(":")[0] for member in found} - {self._process}
                for process in processes:
                    if await self._cache.exists(_alive(process)):
                        found = {m for m in found if not m.startswith(process)}
                self._left += [(user_id, member) for member in found]


async def _members(cache: redis.Redis, key: str) -> set[bytes]:
    return await cast("Awaitable[set[bytes]]", cache.smembers(key))


class OpenSockets:
    """What stands in Redis of a person's open WebSockets (``workers.erasure.Erasable``)."""

    name = "connections"

    def __init__(self, cache: redis.Redis) -> None:
        self._cache = cache

    async def erase(self, person: Person, operation_id: UUID) -> int:
        """How many there were; none is known of a Redis that is away, where they expire."""
        try:
            async with asyncio.timeout(2):
                found = await _members(self._cache, key_of(person.id))
                await self._cache.delete(key_of(person.id))
        except (RedisError, OSError, TimeoutError):
            return 0
        return len(found)


def _alive(process: str) -> str:
    return f"ws:process:{process}"
