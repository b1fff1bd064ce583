from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from adapters.http import limits
from adapters.http.limits import RateLimiter

pytestmark = pytest.mark.anyio


def test_a_window_begins_with_its_first_request() -> None:
    limiter = RateLimiter(2)
    first = limiter.check("a", 1000.5)
    assert (first.allowed, first.remaining, first.reset_seconds, first.limit) == (True, 1, 60, 2)
    assert limiter.check("a", 1059.0).remaining == 0
    refused = limiter.check("a", 1060.0)
    assert (refused.allowed, refused.remaining, refused.reset_seconds) == (False, 0, 1)
    assert limiter.check("a", 1060.5).allowed


def test_keys_are_counted_apart_and_may_have_limits_of_their_own() -> None:
    limiter = RateLimiter(1)
    assert limiter.check("a", 0).allowed
    assert limiter.check("b", 0).allowed
    assert not limiter.check("a", 0).allowed
    assert limiter.check("a", 0, limit=3).remaining == 1


def test_old_windows_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_KEYS", 10)
    limiter = RateLimiter(5)
    for number in range(10):
        limiter.check(str(number), 1000.0)
    # Further keys share one window, as long as there are that many.
    for number in range(5):
        assert limiter.check(f"late {number}", 1001.0).remaining == 4 - number
    assert not limiter.check("latest", 1001.0).allowed
    assert limiter.check("0", 1001.0).remaining == 3
    assert limiter.check("latest", 1062.0).remaining == 4
    assert len(limiter._cells) == 1


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


async def test_processes_count_together(shared: redis.asyncio.Redis) -> None:
    one, two = RateLimiter(10, shared), RateLimiter(10, shared)
    now = time.time()
    for _ in range(6):
        assert one.check("k", now).allowed
    await one.sync()
    assert two.check("k", now).remaining == 9  # not heard yet
    await two.sync()
    decisions = [two.check("k", now) for _ in range(4)]
    assert [d.remaining for d in decisions] == [2, 1, 0, 0]
    assert [d.allowed for d in decisions] == [True, True, True, False]
    await two.sync()
    one.check("k", now)
    await one.sync()
    assert not one.check("k", now).allowed
    assert 0 < await shared.pttl("ratelimit:k") <= 60_000


async def test_windows_end_together(shared: redis.asyncio.Redis) -> None:
    await shared.set("ratelimit:k", 4, px=5_000)
    limiter = RateLimiter(10, shared)
    assert limiter.check("k", time.time()).reset_seconds == 60
    await limiter.sync()
    decision = limiter.check("k", time.time())
    assert decision.remaining == 4
    assert decision.reset_seconds <= 5


async def test_counts_are_shared_in_the_background(
    shared: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = RateLimiter(10, shared)
    synced = asyncio.Event()
    sync = limiter.sync

    async def sync_and_tell() -> None:
        await sync()
        synced.set()

    monkeypatch.setattr(limiter, "sync", sync_and_tell)
    stop = asyncio.Event()
    task = asyncio.create_task(limiter.run(stop))
    limiter.check("k", time.time())
    await asyncio.wait_for(synced.wait(), 10)
    assert await shared.get("ratelimit:k") == b"1"
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_without_redis_each_counts_alone_and_nothing_is_lost(
    shared: redis.asyncio.Redis,
) -> None:
    gone = redis.asyncio.Redis.from_url("redis://127.0.0.1:1/0")
    limiter = RateLimiter(3, gone)
    now = time.time()
    limiter.check("k", now)
    await limiter.sync()
    limiter.check("k", now)
    await limiter.sync()
    assert limiter.check("k", now).remaining == 0
    assert not limiter.check("k", now).allowed
    await gone.aclose()
    limiter._redis = shared
    await limiter.sync()
    assert await shared.get("ratelimit:k") == b"3"


async def test_a_hung_redis_holds_up_nothing() -> None:
    silent = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = redis.asyncio.Redis(host="127.0.0.1", port=port)
    limiter = RateLimiter(3, client)
    limiter.check("k", time.time())
    await asyncio.wait_for(limiter.sync(), 5)
    assert limiter.check("k", time.time()).remaining == 1
    silent.set()
    await client.aclose()
    server.close()


async def test_without_a_client_there_is_nothing_to_do() -> None:
    limiter = RateLimiter(3)
    await limiter.run(asyncio.Event())
    await limiter.sync()
