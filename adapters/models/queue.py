"""What waits for an analyst, for operators to see in Redis: the keys ``ai:queue:{insight}``.

A key says ``queued`` or ``running`` and lives for an hour at most. It is a hint and nothing else:
the table of operations is the truth, nobody waits for Redis, and nothing here decides anything.
"""

from __future__ import annotations

import asyncio
from typing import Literal
from uuid import UUID

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

log = structlog.get_logger()

LIVES = 3600
"""Seconds."""


def key_of(insight_id: UUID) -> str:
    """Where it stands that an insight waits."""
    return f"ai:queue:{insight_id}"


class QueueHints:
    """Keeps the hints: ``commands.analyst.Hint``."""

    def __init__(self, cache: redis.Redis) -> None:
        self._cache = cache
        self._under_way: set[asyncio.Task[None]] = set()
        self._last: asyncio.Task[None] | None = None

    def __call__(self, insight_id: UUID, state: Literal["queued", "running"] | None) -> None:
        """Say how an insight stands, without waiting; None: it waits no more."""
        task = asyncio.create_task(self._say(insight_id, state, self._last))
        self._last = task
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _say(
        self, insight_id: UUID, state: str | None, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:  # in order, or what is over would wait again
            await asyncio.wait({before})
        try:
            if state is None:
                await self._cache.delete(key_of(insight_id))
            else:
                await self._cache.set(key_of(insight_id), state, ex=LIVES)
        except (RedisError, OSError) as error:
            log.info("hint_lost", reason=type(error).__name__)
