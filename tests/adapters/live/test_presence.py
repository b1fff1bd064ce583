"""The sets of open WebSockets in a real Redis."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import redis.asyncio as redis
from uuid_utils.compat import uuid7

from adapters.live import presence
from adapters.live.presence import LIVES, OpenSockets, Presence, key_of
from bootstrap.embedded import free_port
from domain.accounts.person import Person
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


async def test_members_come_and_go_and_expire(redis_url: str) -> None:
    user = uuid7()
    async with redis.Redis.from_url(redis_url) as cache:

        async def has(*members: str) -> bool:
            found = await cache.smembers(key_of(user))
            return found == {member.encode() for member in members}

        here, there = Presence(cache), Presence(cache)
        async with here.shown(), there.shown():
            one, other = here.add(user), here.add(user)
            elsewhere = there.add(user)
            await eventually_async(lambda: has(one, other, elsewhere))
            assert 0 < await cache.ttl(key_of(user)) <= LIVES
            here.remove(user, one)
            await eventually_async(lambda: has(other, elsewhere))
        # What was open when a process stopped is taken back.
        assert not await cache.exists(key_of(user))


async def test_what_a_dead_process_left_is_taken_out(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "RENEW", 0.05)
    user = uuid7()
    async with redis.Redis.from_url(redis_url) as cache:
        await cache.sadd(key_of(user), "dead:1", "dead:2", "living:1")
        await cache.set("ws:process:living", 1, ex=60)
        shown = Presence(cache)
        async with shown.shown():
            member = shown.add(user)

            async def is_clean() -> bool:
                found = await cache.smembers(key_of(user))
                return found == {member.encode(), b"living:1"}

            await eventually_async(is_clean)


async def test_they_are_erased_with_their_person(redis_url: str) -> None:
    person = Person(
        id=uuid7(),
        tenant_id=uuid7(),
        email="ada@example.org",
        display_name="Ada",
        timezone="UTC",
        language="en",
        tier="basic",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        version=1,
    )
    async with redis.Redis.from_url(redis_url) as cache:
        await cache.sadd(key_of(person.id), "one:1", "one:2")
        assert await OpenSockets(cache).erase(person, uuid7()) == 2
        assert not await cache.exists(key_of(person.id))
    async with redis.Redis(port=free_port(), socket_timeout=0.1) as nobody:
        assert await OpenSockets(nobody).erase(person, uuid7()) == 0


async def test_nobody_waits_for_a_redis_that_is_away() -> None:
    async with redis.Redis(port=free_port(), socket_timeout=0.1) as nobody:
        shown = Presence(nobody)
        async with shown.shown():
            shown.remove(user := uuid7(), shown.add(user))
            shown.add(user)
