"""Wake-ups after an append, outside its transaction: NOTIFY and Redis pub/sub, coalesced.

``NOTIFY`` inside a transaction makes all such transactions commit one after the other; here it is a
statement of its own, and at most one is under way, carrying the newest head. Losing one costs
promptness only: whoever waits also polls.
"""

from __future__ import annotations

import asyncio

import psycopg
import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from adapters.postgres.pipeline import Pipeline, Statement

log = structlog.get_logger()

NOTIFY = Statement("notify", "SELECT pg_notify('mindstream_appended', $1)", ("text",))
REDIS_CHANNEL = "mindstream:appended"
REDIS_REST = 2.0
"""Seconds during which Redis is left alone after it did not answer."""


class Signals:
    """Tells the world how far the store is. ``cache`` may be None: then only NOTIFY is sent."""

    def __init__(self, pipeline: Pipeline, cache: redis.Redis | None = None) -> None:
        self._pipeline = pipeline
        self._cache = cache
        self._position = 0
        self._told = 0
        self._task: asyncio.Task[None] | None = None
        self._redis_after = 0.0

    def appended(self, position: int) -> None:
        """The head is at least here; returns at once."""
        self._position = max(self._position, position)
        if self._task is None:
            self._task = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _tell(self) -> None:
        try:
            while self._told < self._position:
                position = self._position
                await asyncio.gather(self._notify(position), self._publish(position))
                self._told = position
        finally:
            self._task = None

    async def _notify(self, position: int) -> None:
        try:
            await self._pipeline.run((NOTIFY, (str(position),)), within=0.1)
        except psycopg.Error as error:
            log.debug("notify_failed", reason=type(error).__name__)

    async def _publish(self, position: int) -> None:
        loop = asyncio.get_running_loop()
        if self._cache is None or loop.time() < self._redis_after:
            return
        try:
            async with asyncio.timeout(0.5):
                await self._cache.publish(REDIS_CHANNEL, position)
        except (RedisError, OSError, TimeoutError) as error:
            self._redis_after = loop.time() + REDIS_REST
            log.debug("publish_failed", reason=type(error).__name__)
