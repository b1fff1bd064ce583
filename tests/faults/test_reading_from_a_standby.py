"""The read API on a standby: one's own writes, a replay held back, and a primary that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import httpx
import msgspec
import psycopg
import pytest

from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from bootstrap import readiness
from bootstrap.settings import Settings
from projections.reading import Query, ReadUnavailable
from tests.support.apps import served
from tests.support.listening import listening, streaming
from tests.support.newcomers import Newcomer, logged_in, newcomer
from tests.support.servers import Database, Servers
from tests.support.standby import Standby, standby_of
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

ENTRIES = "/v1/journal/entries"
SEARCH = "/v1/journal/search?q=office"
ENDLESS = {"/v1/stream", "/v1/ops/console/stream"}
SLOW = Query("slow_count", "SELECT (SELECT count(*) FROM journal_entries) FROM pg_sleep(1.5)")


@pytest.fixture(scope="module")
def standby(servers: Servers, database: Database) -> Iterator[Standby]:
    with standby_of(servers) as running:
        yield running


@pytest.fixture(scope="module")
def apart(settings: Settings, database: Database, standby: Standby, signing_key: bytes) -> Settings:
    """Settings that write to the primary and read from its standby."""
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    return msgspec.structs.replace(
        settings,
        jwt_private_key_file=pem,
        rate_limit_per_minute=100_000,
        operator_email="ops@localhost",
        operator_password="ops",
        read_dsn=standby.of(database).read_dsn,
    )


@pytest.fixture(scope="module")
async def api(apart: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with served(apart) as client:
        yield client


async def wrote(person: Newcomer, on: str, title: str) -> str:
    body = {"date": on, "title": title, "content": "Up, and to the office.", "tags": ["work"]}
    answer = await person.call("POST", ENTRIES, body)
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["data"]["id"]
    return found


async def titles(person: Newcomer, **headers: str) -> list[str]:
    answer = await person.get(ENTRIES, **headers)
    assert answer.status_code == 200, answer.text
    return [entry["title"] for entry in answer.json()["data"]]


async def test_everybody_reads_their_own_writes(api: httpx.AsyncClient, apart: Settings) -> None:
    ada = await newcomer(api)
    for day in range(1, 9):
        entry = await wrote(ada, f"2026-03-0{day}", f"Day {day}")
        assert (await ada.get(f"{ENTRIES}/{entry}")).json()["data"]["title"] == f"Day {day}"
        assert (await titles(ada))[0] == f"Day {day}"
    found = (await ada.get(SEARCH)).json()
    assert len(found["data"]) == 8
    assert (await ada.get("/v1/me")).json()["data"]["email"] == ada.email
    assert (await ada.get(f"{ENTRIES}/{entry}/history")).status_code == 200
    async with listening(apart) as url, streaming(url, ada.headers) as stream:
        await wrote(ada, "2026-04-01", "Told")
        event = await stream.event()
    assert event is not None
    assert event["data"]["data"]["title"] == "Told"
    assert (await titles(ada))[0] == "Told"


async def test_everything_that_can_be_asked_for_is_answered(api: httpx.AsyncClient) -> None:
    ops = await logged_in(api, "ops@localhost", "ops")
    paths = (await api.get("/schema/openapi.json")).json()["paths"]
    asked = [path for path, calls in paths.items() if "get" in calls and "{" not in path]
    assert len(asked) > 20
    for path in sorted(set(asked) - ENDLESS):
        answer = await ops.get(path)
        assert answer.status_code < 500, (path, answer.text)


async def test_what_the_standby_does_not_show_is_waited_for(
    api: httpx.AsyncClient, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FAR_BEHIND", 0.5)
    ada = await newcomer(api)
    await wrote(ada, "2026-03-01", "First")
    assert await titles(ada) == ["First"]
    seen = ada.token
    with standby.held_back():
        await wrote(ada, "2026-03-02", "Second")
        refused = await api.get(
            ENTRIES,
            headers={**ada.headers, "consistency-token": ada.token, "prefer": "wait=1"},
        )
        assert (refused.status_code, refused.json()["code"]) == (503, "READ_MODEL_BEHIND")
        assert refused.json()["projection"] == "journal.entries"
        assert refused.json()["lag"] >= 1
        assert int(refused.headers["retry-after"]) > 0
        # What asks for no more than is there has it, with or without a token.
        token, ada.token = ada.token, seen
        assert await titles(ada) == ["First"]
        ada.token = ""
        assert await titles(ada) == ["First"]
        ada.token = token
        waiting = asyncio.create_task(titles(ada))

        async def far_behind() -> bool:
            check = (await api.get("/health/ready")).json()["checks"]["standby"]
            return bool(check["status"] == "degraded")

        await eventually_async(far_behind)
        assert not waiting.done()
    assert await waiting == ["Second", "First"]
    assert await titles(ada) == ["Second", "First"]

    async def well() -> bool:
        return bool((await api.get("/health/ready")).json()["status"] == "ready")

    await eventually_async(well)


async def test_reads_go_on_while_the_primary_is_away(
    api: httpx.AsyncClient, standby: Standby, database: Database
) -> None:
    ada = await newcomer(api)
    await wrote(ada, "2026-03-01", "First")
    assert await titles(ada) == ["First"]
    assert len((await ada.get(SEARCH)).json()["data"]) == 1  # folded there, too
    with standby.primary_away(database):

        async def known_to_be_away() -> bool:
            answer = await api.get("/health/ready")
            assert answer.status_code == 200, answer.text
            return bool(answer.json()["checks"]["event_store"]["status"] == "degraded")

        await eventually_async(known_to_be_away)
        assert await titles(ada) == ["First"]
        assert len((await ada.get(SEARCH)).json()["data"]) == 1
        health = (await api.get("/health/ready")).json()
        assert health["status"] == "degraded"
        assert health["checks"]["database"]["status"] == "ok"
        assert health["projections"]
        refused = await ada.call(
            "POST", ENTRIES, {"date": "2026-03-02", "title": "Second", "content": "x"}
        )
        assert refused.status_code == 503

    async def back() -> bool:
        body = {"date": "2026-03-03", "title": "Third", "content": "x"}
        return (await ada.call("POST", ENTRIES, body)).status_code == 201

    await eventually_async(back, within=30)
    assert await titles(ada) == ["Third", "First"]


async def test_a_query_that_the_replay_cancels_is_asked_once_more(
    apart: Settings, database: Database
) -> None:
    running = (
        "SELECT query_start FROM pg_stat_activity WHERE state = 'active'"
        " AND query LIKE '%pg_sleep(1.5)%' AND pid <> pg_backend_pid()"
    )
    reads = Pipeline(apart.read_dsn or "", role="mindstream_read")
    await reads.open()
    reader = PipelineReader([reads])
    seen: set[object] = set()
    try:
        with (
            psycopg.connect(database.owner_dsn, autocommit=True) as primary,
            psycopg.connect(apart.read_dsn or "", autocommit=True) as looking,
        ):

            async def under_way() -> bool:
                found = set(looking.execute(running)) - seen
                seen.update(found)
                return bool(found)

            async def stand_in_its_way() -> None:
                await eventually_async(under_way)
                with primary.transaction():
                    primary.execute("LOCK TABLE journal_entries")

            async def is_asked_once_more() -> bool:
                asking = asyncio.create_task(reader.rows(SLOW, user_id=UUID(int=1)))
                await stand_in_its_way()
                try:
                    await eventually_async(under_way, within=5)
                    return await asking == [(0,)]
                except (ReadUnavailable, TimeoutError):
                    asking.cancel()
                    return False  # a vacuum has stood in its way as well

            await eventually_async(is_asked_once_more, within=60)
            asking = asyncio.create_task(reader.rows(SLOW, user_id=UUID(int=1)))
            await stand_in_its_way()
            await stand_in_its_way()
            with pytest.raises(ReadUnavailable, match="conflict"):
                await asking
    finally:
        await reads.close()
