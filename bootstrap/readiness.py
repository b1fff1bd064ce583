"""What ``/health/ready`` looks at: both databases, the cache, and how far projections are.

Owns the looking and the judgement which of them can be done without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import psycopg
import redis.asyncio as redis
from redis.exceptions import RedisError

from adapters.http.health import Check, CheckStatus, ProjectionHealth
from adapters.postgres.pipeline import Pipeline, Statement
from projections.engine.telemetry import STATUSES, statuses_of

PATIENCE = 3.0
"""Seconds that a dependency has for an answer."""

_PING = Statement("ping", "SELECT 1", ())
_STATUSES = Statement("projection_statuses", STATUSES, ())


class Dependencies:
    """``adapters.http.health.Readiness`` of an API.

    ``pipelines`` are the databases by name; without one of them nothing works.
    """

    def __init__(
        self, pipelines: dict[str, Pipeline], cache: redis.Redis, statuses: Pipeline
    ) -> None:
        self._pipelines = pipelines
        self._cache = cache
        self._statuses = statuses

    async def checks(self) -> dict[str, Check]:
        """Ask all of them at once."""
        names = [*self._pipelines, "cache"]
        found = await asyncio.gather(
            *(_look(each.run((_PING, ())), "unavailable") for each in self._pipelines.values()),
            _look(self._ping_cache(), "degraded"),
        )
        return dict(zip(names, found, strict=True))

    async def projections(self) -> list[ProjectionHealth]:
        """Every projection that has ever run."""
        [rows] = await self._statuses.run((_STATUSES, ()))
        return [
            ProjectionHealth(each.name, each.gap_events, each.gap_seconds, each.status)
            for each in statuses_of(rows)
        ]

    async def _ping_cache(self) -> Any:
        return await self._cache.ping()


async def _look(question: Awaitable[Any], otherwise: CheckStatus) -> Check:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE):
            await question
    except (psycopg.Error, RedisError, OSError, TimeoutError) as error:
        return Check(otherwise, type(error).__name__, None)
    return Check("ok", "answers", round((time.perf_counter() - began) * 1000, 3))
