"""Time series in a database of their own that goes away and comes back: nothing else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import msgspec
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from bootstrap.engine import DirectEngine
from bootstrap.settings import Settings
from bootstrap.wiring.keys import subject_keys_of
from projections.engine.rebuild import Options
from tests.support.apps import served
from tests.support.newcomers import Newcomer, logged_in, newcomer
from tests.support.servers import Database, Servers
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

MARCH = "from=2026-03-01&to=2026-04-01&tz=UTC&bucket=month"
OWN = {
    "journal.daily",
    "journal.mood_events",
    "accounts.activity_events",
    "accounts.activity_counts",
}


@pytest.fixture(scope="module")
def series(servers: Servers) -> Iterator[Database]:
    """A database for time series alone."""
    made = servers.fresh_database()
    yield made
    servers.drop_database(made.name)


@pytest.fixture(scope="module")
def apart(settings: Settings, series: Database, signing_key: bytes) -> Settings:
    """Settings with that database."""
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    return msgspec.structs.replace(
        settings,
        jwt_private_key_file=pem,
        rate_limit_per_minute=100_000,
        operator_email="ops@localhost",
        operator_password="ops",
        timeseries_dsn=series.owner_dsn,
    )


@pytest.fixture(scope="module")
async def api(apart: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with served(apart) as client:
        yield client


@pytest.fixture
def away(servers: Servers, series: Database) -> Iterator[Callable[[bool], None]]:
    """Takes the database away, and gives it back."""

    def switch(gone: bool) -> None:
        dsn = servers.postgres.dsn(database="postgres")
        with psycopg.connect(dsn, autocommit=True) as connection:
            alter = SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
            connection.execute(alter.format(Identifier(series.name), SQL(str(not gone))))
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            if gone:
                connection.execute(end, (series.name,))

    yield switch
    switch(False)


async def wrote(person: Newcomer, on: str, mood: str = "happy") -> None:
    body = {"date": on, "title": "A day", "content": "one two", "mood": mood}
    answer = await person.call("POST", "/v1/journal/entries", body)
    assert answer.status_code == 201, answer.text


async def entries_in_march(person: Newcomer) -> int:
    answer = await person.get(f"/v1/analytics/mood?{MARCH}")
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["data"]["series"][0]["points"][0]["entries"]
    return found


def rows(database: Database, table: str) -> int:
    with psycopg.connect(database.owner_dsn) as connection:
        row = connection.execute(SQL("SELECT count(*) FROM {}").format(Identifier(table)))
        found: int = row.fetchone()[0]  # type: ignore[index]
        return found


async def test_it_goes_away_and_comes_back(
    api: httpx.AsyncClient, database: Database, series: Database, away: Callable[[bool], None]
) -> None:
    ada = await newcomer(api)
    ops = await logged_in(api, "ops@localhost", "ops")
    await wrote(ada, "2026-03-01")
    assert await entries_in_march(ada) == 1
    assert rows(database, "journal_daily") == 0
    assert rows(series, "journal_daily") == 1
    assert rows(series, "journal_entries") == 0

    away(True)
    await wrote(ada, "2026-03-02")
    assert len((await ada.get("/v1/journal/entries")).json()["data"]) == 2
    refused = await api.get(f"/v1/analytics/mood?{MARCH}", headers=ada.headers)
    assert (refused.status_code, refused.json()["code"]) == (503, "ANALYTICS_UNAVAILABLE")
    assert int(refused.headers["retry-after"]) > 0
    health = (await api.get("/health/ready")).json()
    assert health["status"] == "degraded"
    assert health["checks"]["timeseries"]["status"] == "degraded"
    answer = await ops.get("/v1/ops/projections")
    assert answer.status_code == 200, answer.text
    listed = {one["name"]: one for one in answer.json()["data"]}
    for name in OWN:
        assert listed[name]["status"] in ("stopped", "stalled")
        assert listed[name]["gap_events"] > 0
    assert listed["journal.entries"]["gap_events"] == 0

    away(False)

    async def ready() -> bool:
        return bool((await api.get("/health/ready")).json()["status"] == "ready")

    await eventually_async(ready, within=30)
    assert await entries_in_march(ada) == 2
    listed = {one["name"]: one for one in (await ops.get("/v1/ops/projections")).json()["data"]}
    assert {listed[name]["status"] for name in OWN} == {"live"}


async def test_operators_reach_it(api: httpx.AsyncClient, apart: Settings) -> None:
    ben = await newcomer(api)
    for day in range(1, 4):
        await wrote(ben, f"2026-03-0{day}")
    assert await entries_in_march(ben) == 3
    ben_id = UUID(ben.id)
    since = Options(from_=datetime.now(UTC) - timedelta(hours=1))
    engine = DirectEngine(apart.write_dsn or "", subject_keys_of(apart), apart.timeseries_dsn)

    def work() -> None:
        for name in sorted(OWN):
            assert engine.verify(name, lambda progress: "go").equal, name
        report = engine.rebuild("journal.mood_events", Options(), ben_id, lambda progress: "go")
        assert (report.equal, report.swapped) == (True, True)
        report = engine.rebuild("journal.daily", since, ben_id, lambda progress: "go")
        assert report.rows >= 3
        status = engine.status("journal.daily")
        assert status is not None
        assert (status.gap_events, status.status) == (0, "live")

    await asyncio.to_thread(work)
    assert engine.rows_of(ben_id)["journal_daily"] == 3
    assert await entries_in_march(ben) == 3
