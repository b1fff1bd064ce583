"""One contract for the count of wrong passwords, held to both implementations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from adapters.attempts import ALLOWED, WINDOW, LocalAttempts, RedisAttempts
from commands.credentials import Attempts, Unavailable

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA, HERE, THERE = "ada@example.com", "192.0.2.1", "192.0.2.2"


@pytest.fixture(params=["local", "redis"])
async def attempts(request: pytest.FixtureRequest) -> AsyncIterator[Attempts]:
    if request.param == "local":
        yield LocalAttempts()
        return
    redis = Redis.from_url(request.getfixturevalue("redis_url"))
    await redis.flushdb()
    yield RedisAttempts(redis)
    await redis.aclose()


async def test_ten_close_the_account_to_one_address(attempts: Attempts) -> None:
    for _ in range(ALLOWED):
        assert await attempts.blocked(ADA, HERE, NOON) is None
        await attempts.failed(ADA, HERE, NOON)
    assert await attempts.blocked(ADA, HERE, NOON) == WINDOW
    assert await attempts.blocked(ADA, THERE, NOON) is None
    assert await attempts.blocked("eve@example.com", HERE, NOON) is None


async def test_the_addresses_of_one_ipv6_client_count_as_one(attempts: Attempts) -> None:
    for number in range(ALLOWED):
        await attempts.failed(ADA, f"2001:db8::{number:x}", NOON)
    assert await attempts.blocked(ADA, "2001:db8::ffff", NOON) == WINDOW
    assert await attempts.blocked(ADA, "2001:db8:0:1::1", NOON) is None


async def test_the_window_slides(attempts: Attempts) -> None:
    for minute in range(ALLOWED):
        await attempts.failed(ADA, HERE, NOON + timedelta(minutes=minute))
    assert await attempts.blocked(ADA, HERE, NOON + timedelta(minutes=10)) == 5 * 60
    at = NOON + timedelta(minutes=15, seconds=1)
    assert await attempts.blocked(ADA, HERE, at) is None
    await attempts.failed(ADA, HERE, at)
    assert await attempts.blocked(ADA, HERE, at) == 59


async def test_the_right_password_clears(attempts: Attempts) -> None:
    for _ in range(ALLOWED):
        await attempts.failed(ADA, HERE, NOON)
    await attempts.cleared(ADA, HERE)
    assert await attempts.blocked(ADA, HERE, NOON) is None


async def test_without_redis_no_attempt_is_counted_and_none_allowed() -> None:
    gone = RedisAttempts(Redis(host="127.0.0.1", port=1))
    with pytest.raises(Unavailable):
        await gone.blocked(ADA, HERE, NOON)


async def test_a_hung_redis_is_given_up() -> None:
    release = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    redis = Redis(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    with pytest.raises(Unavailable):
        await RedisAttempts(redis, patience=0.1).blocked(ADA, HERE, NOON)
    release.set()
    await redis.aclose()
    server.close()
