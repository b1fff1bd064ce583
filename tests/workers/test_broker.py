"""An upload is imported by a worker that the broker wakes, and by another when that one dies."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from adapters.event_store.store import PostgresEventStore
from adapters.operations import PostgresOperations
from adapters.postgres.pipeline import Pipeline
from adapters.sealing import Sealer
from commands.bus import Bus
from tests.support.journal_stack import Stack, running_stack
from tests.support.servers import Database
from workers.broker import Offers, OnLoop, redis_broker, work
from workers.journal import IMPORT, Importing, declare_import
from workers.scheduler import schedule

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def stack(database: Database) -> AsyncIterator[Stack]:
    async with running_stack(database) as running:
        yield running


async def test_the_broker_wakes_a_worker(stack: Stack, database: Database, redis_url: str) -> None:
    async def open_importing(closing: AsyncExitStack) -> Importing:
        pipelines = [Pipeline(database.write_dsn, role="mindstream_write") for _ in range(3)]
        for pipeline in pipelines:
            await pipeline.open()
            closing.push_async_callback(pipeline.close)
        sealer = Sealer(bytes(range(32)))
        store = PostgresEventStore(pipelines[0], pipelines[1], sealer, lambda position: None)
        operations = PostgresOperations(pipelines[2], sealer)
        return Importing(operations, store, Bus(store).dispatch, uuid7)

    broker = redis_broker(redis_url, works=True)
    importing = OnLoop(open_importing)
    broker.add_middleware(importing)
    declare_import(broker, importing)
    stop, stopped = threading.Event(), asyncio.Event()
    working = threading.Thread(target=work, args=(broker, stop))
    working.start()
    offers = Offers(redis_broker(redis_url, works=False))
    scheduling = asyncio.create_task(schedule(stack.operations, offers, stopped))
    try:
        async with stack.client() as client:
            body = json.dumps({"date": "2000-01-01", "title": "t", "content": "c"})
            for offered in (True, False):  # the second one only the scheduler tells of
                accepted = await client.post(
                    "/v1/journal/import",
                    content=body,
                    headers={"content-type": "application/x-ndjson"},
                )
                operation = accepted.json()["data"]
                if offered:
                    assert await offers.offer(IMPORT, UUID(operation["id"]))
                deadline = time.monotonic() + 20
                while operation["state"] in ("pending", "running"):
                    assert time.monotonic() < deadline, operation
                    operation = (await client.get(accepted.headers["location"])).json()["data"]
                assert operation["state"] == "succeeded"
                assert operation["result"]["accepted"] == int(offered)
    finally:
        stopped.set()
        await scheduling
        stop.set()
        await asyncio.to_thread(working.join)


async def test_a_broker_that_is_away_is_no_error() -> None:
    offers = Offers(redis_broker("redis://127.0.0.1:1/0", works=False))
    assert not await offers.offer(IMPORT, uuid7())
