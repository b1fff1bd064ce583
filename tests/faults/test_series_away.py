"""Time series in a database of their own that goes away and comes back: nothing else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

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


async def test_what_waits_in_quarantine_there_is_seen_and_discarded(
    api: httpx.AsyncClient, series: Database
) -> None:
    ops = await logged_in(api, "ops@localhost", "ops")
    ids = [uuid4(), uuid4()]
    put = (
        "INSERT INTO projection_quarantine (id, projection, stream_id, position, topic, error,"
        " state) VALUES (%s, 'journal.daily', %s, %s, 'journal.EntryWritten.v1', 'E', 'parked')"
    )
    with psycopg.connect(series.owner_dsn, autocommit=True) as connection:
        for number, one in enumerate(ids):
            connection.execute(put, (one, f"journal.entry-{one}", number + 1))
    listed = (await ops.get("/v1/ops/quarantine?projection=journal.daily")).json()["data"]
    assert {one["id"] for one in listed} == set(map(str, ids))

    one = await ops.call("POST", f"/v1/ops/quarantine/{ids[0]}/discard", {"reason": "a test"})
    assert one.status_code == 202, one.text
    many = await ops.call(
        "POST", "/v1/ops/quarantine/discard", {"projection": "journal.daily", "reason": "a test"}
    )
    assert many.status_code == 202, many.text
    done = (await ops.get(many.headers["location"])).json()["data"]
    assert done["result"] == {"count": 1, "ids": [str(ids[1])]}
    with psycopg.connect(series.owner_dsn) as connection:
        states = connection.execute("SELECT DISTINCT state FROM projection_quarantine").fetchall()
    assert states == [("discarded",)]


async def test_an_erasure_reaches_it(apart: Settings, api: httpx.AsyncClient) -> None:
    eve = await newcomer(api)
    await wrote(eve, "2026-03-01")
    assert await entries_in_march(eve) == 1
    engine = DirectEngine(apart.write_dsn or "", subject_keys_of(apart), apart.timeseries_dsn)
    eve_id = UUID(eve.id)
    with psycopg.connect(apart.write_dsn or "") as events:
        [(head,)] = events.execute("SELECT max(position) FROM events").fetchall()

    async def everything_is_folded() -> bool:
        return not await asyncio.to_thread(engine.not_passed, head)

    # Nobody was erased yet: what a projector folds later would be there again.
    await eventually_async(everything_is_folded)
    before = await asyncio.to_thread(engine.rows_of, eve_id)
    assert (before["journal_entries"], before["journal_daily"]) == (1, 1)
    # Where no projector has come to the erasure, it is done for it.
    purged = await asyncio.to_thread(engine.purge, eve_id, 1 << 40)
    assert (purged["journal_entries"], purged["journal_daily"]) == (1, 1)
    assert not any((await asyncio.to_thread(engine.rows_of, eve_id)).values())
    assert "journal.daily" in await asyncio.to_thread(engine.not_passed, 1 << 40)
