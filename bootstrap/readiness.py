"""What ``/health/ready`` looks at: databases, the stores beside them, and how far projections are.

Owns the looking and the judgement which of them can be done without: all but the databases that
hold events and read models; who reads from a standby can do without the events. What does not
answer in time is reported, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import redis.asyncio as redis

from adapters.http.health import Check, CheckStatus, ProjectionHealth
from adapters.postgres.pipeline import Pipeline, Statement
from adapters.statuses import Statuses

PATIENCE = 3.0
"""Seconds that a database has for an answer."""
SHORT = 1.0
"""Seconds that a store has that can be done without."""
FAR_BEHIND = 5.0
"""Seconds by which a standby may be behind before that is told as a fault."""

Probe = Callable[[], Awaitable[object]]
"""Asks a store whether it is there; raises whatever it likes if not."""

_PING = Statement("ping", "SELECT 1", ())


class Standby(Protocol):
    """What is read from, where it may be a standby; ``ProjectionWatch`` knows."""

    @property
    def on_standby(self) -> bool:
        """Whether it is one."""
        ...

    @property
    def behind(self) -> float | None:
        """By how many seconds; None while its primary does not tell."""
        ...


def pinging(pipeline: Pipeline) -> Probe:
    """The probe of a database that can be done without."""
    return lambda: pipeline.run((_PING, ()))


class Dependencies:
    """``adapters.http.health.Readiness`` of an API.

    ``pipelines`` are the databases by name; without one of them nothing works. ``stores`` are asked
    by name as well, beside the cache (``search``, ``timeseries``): without one of them the answers
    are 503 that need it, and all others go on. Where reads may come from a standby, ``standby``
    tells how far that is.
    """

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        cache: redis.Redis,
        statuses: Statuses,
        stores: Mapping[str, Probe] | None = None,
        standby: Standby | None = None,
    ) -> None:
        self._pipelines = pipelines
        self._statuses = statuses
        self._standby = standby
        self._stores: dict[str, Probe] = {"cache": cache.ping, **(stores or {})}

    async def checks(self) -> dict[str, Check]:
        """Ask all of them at once."""
        names = [*self._pipelines, *self._stores]
        found = await asyncio.gather(
            *(
                _look(each.run((_PING, ())), "unavailable", PATIENCE)
                for each in self._pipelines.values()
            ),
            *(_look(probe(), "degraded", SHORT) for probe in self._stores.values()),
        )
        return {**dict(zip(names, found, strict=True)), **self._of_the_standby()}

    def _of_the_standby(self) -> dict[str, Check]:
        standby = self._standby
        if standby is None or not standby.on_standby:
            return {}
        behind = standby.behind
        if behind is None:
            return {"standby": Check("degraded", "its primary does not tell how far it is", None)}
        status: CheckStatus = "ok" if behind <= FAR_BEHIND else "degraded"
        return {"standby": Check(status, f"{behind:.1f} s behind its primary", None)}

    async def projections(self) -> list[ProjectionHealth]:
        """Every projection that has ever run."""
        return [
            ProjectionHealth(each.name, each.gap_events, each.gap_seconds, each.status)
            for each in await self._statuses.all()
        ]


async def _look(question: Awaitable[object], otherwise: CheckStatus, patience: float) -> Check:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(patience):
            await question
    except Exception as error:  # noqa: BLE001  each store has errors of its own
        return Check(otherwise, type(error).__name__, None)
    return Check("ok", "answers", round((time.perf_counter() - began) * 1000, 3))
