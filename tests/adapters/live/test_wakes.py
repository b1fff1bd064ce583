"""What wakes the feed, on real servers; and what it does while they are away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import redis.asyncio as redis

from adapters.live import wakes
from adapters.live.wakes import heed_postgres, heed_redis
from adapters.postgres.signals import REDIS_CHANNEL
from bootstrap.embedded import free_port
from tests.support.servers import Database
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


class Woken:
    """Counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1

    async def after(self, times: int) -> None:
        async def more() -> bool:
            return self.times > times

        await eventually_async(more, within=5)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakes, "_AGAIN", 0.02)


async def test_postgres_wakes_and_is_found_again(database: Database) -> None:
    woken = Woken()
    async with (
        running(heed_postgres(database.read_dsn, "mindstream_read", woken)),
        await psycopg.AsyncConnection.connect(database.owner_dsn, autocommit=True) as owner,
    ):
        await woken.after(0)  # what was appended before it listened is looked for
        await owner.execute("NOTIFY mindstream_appended, '7'")
        await woken.after(1)
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'mindstream_read-live' AND datname = current_database()"
        )
        await woken.after(2)


async def test_redis_wakes_and_is_found_again(redis_url: str) -> None:
    woken = Woken()
    async with (
        redis.Redis.from_url(redis_url, socket_timeout=0.5) as cache,
        redis.Redis.from_url(redis_url) as other,
        running(heed_redis(cache, woken)),
    ):

        async def says() -> bool:
            await other.publish(REDIS_CHANNEL, 7)
            return woken.times > 0

        await eventually_async(says)
        await other.client_kill_filter(_type="pubsub")
        woken.times = 0
        await eventually_async(says)


async def test_a_redis_that_is_away_is_asked_again() -> None:
    async with (
        redis.Redis(port=free_port(), socket_timeout=0.1) as nobody,
        running(heed_redis(nobody, Woken())) as task,
    ):
        done, _ = await asyncio.wait({task}, timeout=0.3)
        assert not done
