"""The log of requests holds what was answered, nothing private, and holds nobody up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest

from adapters.audit import PostgresAuditLog
from adapters.http.principal import Principal
from adapters.postgres.pipeline import Pipeline
from adapters.request_log import DROPPED, EVERY, RequestLog, network_of
from projections.ops.audit import RequestFilter, cutoff
from tests.support.http_app import ANNA, TOKEN, client, conventions
from tests.support.servers import Database

pytestmark = pytest.mark.anyio


def noted(log: RequestLog, status: int = 200, who: Principal | None = ANNA) -> None:
    log.add(time.time(), "req_1", "GET", "/v1/x/{id}", status, 0.0125, who, "ios 1", "203.0.113.9")


@pytest.fixture
async def pipeline(empty_database: Database) -> Any:
    with psycopg.connect(empty_database.owner_dsn) as connection:
        connection.execute("TRUNCATE ops_requests")
    made = Pipeline(empty_database.write_dsn, role="mindstream_read")
    await made.open()
    yield made
    await made.close()


async def logged(pipeline: Pipeline, **wanted: Any) -> list[Any]:
    log = PostgresAuditLog(pipeline)
    return await log.requests(RequestFilter(**wanted), below=None, limit=100_000)


def dropped(service: str) -> float:
    return float(DROPPED.labels(service)._value.get())


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("not an address", None),
        (None, None),
    ],
)
async def test_of_an_address_its_network_is_kept(address: str | None, network: str | None) -> None:
    assert network_of(address) == network


async def test_a_row_says_what_was_asked_by_whom(pipeline: Pipeline) -> None:
    log = RequestLog("read-api", pipeline)
    noted(log)
    noted(log, 403, None)
    await log.flush()
    refused, answered = await logged(pipeline)
    assert (answered.service, answered.route, answered.status) == ("read-api", "/v1/x/{id}", 200)
    assert (answered.user_id, answered.tenant_id) == (ANNA.user_id, ANNA.tenant_id)
    assert (answered.duration_ms, answered.client_version) == (12.5, "ios 1")
    assert answered.address == "203.0.113.0/24"
    assert (refused.user_id, refused.status) == (None, 403)
    assert [row.status for row in await logged(pipeline, status=400)] == [403]
    assert await logged(pipeline, request_id="req_2") == []


async def test_a_flood_is_cut_off_and_counted_but_refusals_have_their_own_room(
    pipeline: Pipeline,
) -> None:
    log = RequestLog("flooded", pipeline, per_second=int(10 / EVERY))
    for _ in range(50):
        noted(log)
    noted(log, 401, None)
    await log.flush()
    assert [row.status for row in await logged(pipeline)] == [401] + [200] * 10
    assert dropped("flooded") == 40
    noted(log)
    await log.flush()
    assert len(await logged(pipeline)) == 12


async def test_rows_are_written_in_the_background_and_at_the_end(pipeline: Pipeline) -> None:
    log = RequestLog("read-api", pipeline)
    stop = asyncio.Event()
    running = asyncio.create_task(log.run(stop))
    noted(log)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert len(await logged(pipeline)) == 1


async def test_a_database_that_is_gone_costs_rows_and_nothing_else(database: Database) -> None:
    gone = Pipeline("postgresql://nobody@127.0.0.1:1/none", role="mindstream_read")
    log = RequestLog("cut-off", gone)
    noted(log)
    await log.flush()
    assert dropped("cut-off") == 1


async def test_a_request_is_noted_without_its_query_and_health_is_not(pipeline: Pipeline) -> None:
    from litestar import get

    @get(["/v1/things/{thing:str}", "/health/live"])
    async def show() -> str:
        return "well"

    log = RequestLog("api", pipeline)
    async with client(conventions([show], request_log=log), "198.51.100.23") as api:
        headers = {**TOKEN, "x-request-id": "req_canary_1", "user-agent": "canary-agent"}
        await api.get("/v1/things/canary-path?q=canary-query", headers=headers)
        await api.get("/v1/things/canary-path")
        await api.get("/health/live")
    await log.flush()
    answered, refused = sorted(await logged(pipeline), key=lambda row: row.status)
    assert (answered.route, answered.address) == ("/v1/things/{thing}", "198.51.100.0/24")
    assert (refused.status, refused.user_id) == (401, None)
    text = str([answered, refused])
    assert "canary-path" not in text
    assert "canary-query" not in text
    assert "canary-agent" not in text
    assert "100.23" not in text


async def test_old_rows_are_dropped(empty_database: Database, pipeline: Pipeline) -> None:
    log = RequestLog("api", pipeline)
    noted(log)
    await log.flush()
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        connection.execute("UPDATE ops_requests SET at = now() - interval '91 days'")
    noted(log, who=None)
    await log.flush()
    writer = Pipeline(empty_database.write_dsn, role="mindstream_write")
    await writer.open()
    assert await PostgresAuditLog(writer).trim(cutoff(2557), cutoff(90)) == 1
    await writer.close()
    assert len(await logged(pipeline)) == 1


async def test_the_reader_cannot_look_without_saying_that_it_is_an_operators(
    empty_database: Database, pipeline: Pipeline
) -> None:
    log = RequestLog("api", pipeline)
    noted(log)
    await log.flush()
    with psycopg.connect(empty_database.read_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM ops_requests").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM ops_requests")
