"""Readiness: which store may be missing, and that none of them is waited for long."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import psycopg
import pytest

from adapters.http.health import health_of
from adapters.postgres.pipeline import Pipeline
from bootstrap import readiness
from bootstrap.readiness import Dependencies

pytestmark = pytest.mark.anyio


class Database:
    """Answers as it is told."""

    def __init__(self, *, there: bool = True) -> None:
        self._there = there

    async def run(self, *steps: Any) -> list[list[Any]]:
        if not self._there:
            raise psycopg.OperationalError("away")
        return [[]]


class Cache:
    """A cache that answers, or never does."""

    def __init__(self, *, hangs: bool = False) -> None:
        self._hangs = hangs

    async def ping(self) -> bool:
        if self._hangs:
            await asyncio.Event().wait()
        return True


class Nothing:
    """No projections."""

    async def all(self) -> list[Any]:
        return []


async def refused() -> None:
    raise LookupError("an error of that store's own")


async def answers() -> None:
    return


def dependencies(*, database: bool = True, hangs: bool = False, **stores: Any) -> Dependencies:
    pipeline = cast("Pipeline", Database(there=database))
    return Dependencies(
        {"database": pipeline},
        cast("Any", Cache(hangs=hangs)),
        cast("Any", Nothing()),
        stores,
    )


async def test_all_are_there() -> None:
    health = await health_of(dependencies(search=answers, timeseries=answers))
    assert health.status == "ready"
    assert list(health.checks) == ["database", "cache", "search", "timeseries"]
    assert {check.status for check in health.checks.values()} == {"ok"}


@pytest.mark.parametrize("gone", ["cache", "search", "timeseries"])
async def test_a_store_that_is_gone_degrades(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "SHORT", 0.1)
    stores = {name: refused if name == gone else answers for name in ("search", "timeseries")}
    health = await health_of(dependencies(hangs=gone == "cache", **stores))
    assert health.status == "degraded"
    assert [name for name, check in health.checks.items() if check.status != "ok"] == [gone]
    detail = "TimeoutError" if gone == "cache" else "LookupError"
    assert (health.checks[gone].detail, health.checks[gone].latency_ms) == (detail, None)


async def test_stores_that_hang_are_not_waited_for_one_by_one() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    began = time.monotonic()
    health = await health_of(dependencies(hangs=True, search=hangs, timeseries=hangs))
    assert health.status == "degraded"
    assert time.monotonic() - began < 2 * readiness.SHORT


async def test_without_the_database_nothing_is_ready() -> None:
    health = await health_of(dependencies(database=False, search=refused))
    assert health.status == "unavailable"


class Standby:
    """A standby that is so far behind; None: nobody tells."""

    def __init__(self, behind: float | None, *, on_standby: bool = True) -> None:
        self.on_standby = on_standby
        self.behind = behind


@pytest.mark.parametrize(
    ("behind", "status"),
    [(0.2, "ready"), (readiness.FAR_BEHIND + 1, "degraded"), (None, "degraded")],
)
async def test_how_far_a_standby_is_behind_is_told(behind: float | None, status: str) -> None:
    health = await health_of(
        Dependencies(
            {"database": cast("Pipeline", Database())},
            cast("Any", Cache()),
            cast("Any", Nothing()),
            standby=Standby(behind),
        )
    )
    assert health.status == status
    assert health.checks["standby"].status == ("ok" if status == "ready" else "degraded")


async def test_of_a_primary_nothing_is_told() -> None:
    health = await health_of(
        Dependencies(
            {"database": cast("Pipeline", Database())},
            cast("Any", Cache()),
            cast("Any", Nothing()),
            standby=Standby(None, on_standby=False),
        )
    )
    assert (health.status, "standby" in health.checks) == ("ready", False)
