"""The shared cache: one contract for the fake and for Redis, whatever comes in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar, cast
from uuid import UUID

import pytest
import redis.asyncio as redis
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    multiple,
    rule,
    run_state_machine_as_test,
)

from adapters.cache import RedisCache
from adapters.sealing import Sealer
from domain.journal.events import EntryWritten
from projections.caching import Cache, CacheAway, Kept, Kind, Missed, Place, Stamp, Voided
from tests.support.memory_cache import MemoryCache
from tests.support.waiting import eventually_async

T = TypeVar("T")

ANN, BEN = UUID(int=1), UUID(int=2)
PAGE = Kind("page", "pages:{user}", 60, ("v",), (EntryWritten,))
MOODS = Kind("moods", "moods:{user}:{part}", 60, ("v",), (EntryWritten,), ("7", "30"))
KINDS = (PAGE, MOODS)
ANNS = Place(PAGE, ANN)
BASIS = "b"
SEALER = Sealer(bytes(32))


def redis_cache(url: str) -> tuple[redis.Redis, RedisCache]:
    client = redis.Redis.from_url(url, socket_timeout=5)
    return client, RedisCache(client, KINDS, SEALER)


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    if request.param == "memory":
        made = MemoryCache()
        made.kinds = tuple(kind.name for kind in KINDS)
        yield made
    else:
        client, cache = redis_cache(request.getfixturevalue("redis_url"))
        await client.flushdb()
        yield cache
        await client.aclose()


async def missed(cache: Cache, place: Place, needed: int = 0, caller: str = "me") -> Missed:
    found = await cache.fetch(place, needed, BASIS, caller)
    assert isinstance(found, Missed)
    return found


async def keep(cache: Cache, place: Place, position: int, value: bytes) -> bool:
    """Read at a position, and keep at once."""
    epoch = (await missed(cache, place, 1 << 40)).epoch
    assert epoch is not None
    return await cache.fill(place, Stamp(position, BASIS, epoch), value, "me")


async def kept(cache: Cache, place: Place, needed: int = 0, basis: str = BASIS) -> bytes | None:
    found = await cache.fetch(place, needed, basis, "somebody else")
    return found.value if isinstance(found, Kept) else None


@pytest.mark.anyio
class TestContract:
    async def test_knows_nothing_until_somebody_tells_it_where_to_begin(self, cache: Cache) -> None:
        assert await cache.reached() is None
        assert await missed(cache, ANNS) == Missed(None, mine=True)
        assert await cache.void(0, 5, []) is None
        await cache.restart(5)
        assert await cache.reached() == 5

    async def test_gives_what_was_kept(self, cache: Cache) -> None:
        await cache.restart(10)
        assert await keep(cache, ANNS, 10, b"\x00 bytes \xff")
        assert await kept(cache, ANNS) == b"\x00 bytes \xff"
        assert await kept(cache, Place(PAGE, BEN)) is None
        assert await kept(cache, Place(MOODS, ANN, "7")) is None

    async def test_an_event_makes_void_what_was_read_before_it(self, cache: Cache) -> None:
        await cache.restart(10)
        for place in (ANNS, Place(MOODS, ANN, "7"), Place(MOODS, ANN, "30"), Place(PAGE, BEN)):
            await keep(cache, place, 10, b"old")
        assert await cache.void(10, 12, [Voided(MOODS, ANN, 11)]) == 12
        assert await kept(cache, Place(MOODS, ANN, "7")) is None
        assert await kept(cache, Place(MOODS, ANN, "30")) is None
        assert await kept(cache, ANNS, 12) == b"old"
        assert await kept(cache, Place(PAGE, BEN), 12) == b"old"

    async def test_what_was_read_before_an_event_cannot_be_kept_after_it(
        self, cache: Cache
    ) -> None:
        await cache.restart(10)
        epoch = (await missed(cache, ANNS)).epoch or ""
        await cache.void(10, 11, [Voided(PAGE, ANN, 11)])
        assert not await cache.fill(ANNS, Stamp(10, BASIS, epoch), b"late", "me")
        assert await kept(cache, ANNS) is None

    async def test_what_was_read_after_an_event_outlives_its_telling(self, cache: Cache) -> None:
        await cache.restart(10)
        await keep(cache, ANNS, 11, b"new")
        await cache.void(10, 11, [Voided(PAGE, ANN, 11)])
        assert await kept(cache, ANNS, 11) == b"new"

    async def test_a_value_is_good_as_far_as_was_told_and_no_farther(self, cache: Cache) -> None:
        await cache.restart(10)
        await keep(cache, ANNS, 10, b"old")
        assert await kept(cache, ANNS, 11) is None
        await cache.void(10, 15, [])
        assert await kept(cache, ANNS, 15) == b"old"
        assert await kept(cache, ANNS, 16) is None

    async def test_what_was_read_before_the_beginning_is_not_kept(self, cache: Cache) -> None:
        await cache.restart(10)
        # Nobody told what happened between 8 and 10.
        assert not await keep(cache, ANNS, 8, b"behind")
        assert await kept(cache, ANNS, 8) is None

    async def test_the_newer_of_two_stays(self, cache: Cache) -> None:
        await cache.restart(10)
        await keep(cache, ANNS, 12, b"new")
        assert not await keep(cache, ANNS, 11, b"old")
        assert await keep(cache, ANNS, 12, b"again")
        assert await kept(cache, ANNS) == b"again"

    async def test_another_basis_is_another_value(self, cache: Cache) -> None:
        await cache.restart(10)
        await keep(cache, ANNS, 12, b"before the swap")
        assert await kept(cache, ANNS, basis="after") is None
        epoch = (await missed(cache, ANNS, 1 << 40)).epoch or ""
        assert await cache.fill(ANNS, Stamp(11, "after", epoch), b"after", "me")
        assert await kept(cache, ANNS, basis="after") == b"after"

    async def test_a_new_beginning_forgets_what_was_kept_and_refuses_what_was_on_its_way(
        self, cache: Cache
    ) -> None:
        await cache.restart(10)
        await keep(cache, ANNS, 10, b"old")
        epoch = (await missed(cache, Place(PAGE, BEN))).epoch or ""
        await cache.restart(10)
        assert await kept(cache, ANNS) is None
        assert not await cache.fill(Place(PAGE, BEN), Stamp(10, BASIS, epoch), b"late", "me")

    async def test_who_tells_from_elsewhere_is_told_where_it_is(self, cache: Cache) -> None:
        await cache.restart(10)
        await keep(cache, ANNS, 10, b"old")
        assert await cache.void(9, 11, [Voided(PAGE, ANN, 11)]) == 10
        assert await kept(cache, ANNS) == b"old"

    async def test_one_reads_while_others_wait(self, cache: Cache) -> None:
        await cache.restart(10)
        assert (await missed(cache, ANNS, caller="first")).mine
        second = await missed(cache, ANNS, caller="second")
        assert not second.mine
        # The second may read all the same; the first's turn does not end by that.
        await cache.fill(ANNS, Stamp(10, BASIS, second.epoch or ""), b"value", "second")
        assert not (await missed(cache, ANNS, 11, "third")).mine
        await cache.fill(ANNS, Stamp(10, BASIS, second.epoch or ""), b"value", "first")
        assert (await missed(cache, ANNS, 11, "third")).mine

    async def test_a_reader_that_died_is_waited_for_half_a_second(self, cache: Cache) -> None:
        await cache.restart(10)
        assert (await missed(cache, ANNS, caller="dies")).mine

        async def is_another() -> bool:
            return (await missed(cache, ANNS, caller="lives")).mine

        assert not await is_another()
        await eventually_async(is_another)

    async def test_who_was_forgotten_is_not_kept_again(self, cache: Cache) -> None:
        await cache.restart(10)
        await keep(cache, ANNS, 10, b"words")
        await keep(cache, Place(MOODS, ANN, "7"), 10, b"words")
        assert await cache.forget(ANN) == 2
        assert await kept(cache, ANNS) is None
        assert not await keep(cache, ANNS, 99, b"words")
        assert await cache.forget(ANN) == 0


@pytest.mark.anyio
async def test_nothing_in_redis_can_be_read_by_others(redis_url: str) -> None:
    client, cache = redis_cache(redis_url)
    await client.flushdb()
    await cache.restart(1)
    await keep(cache, ANNS, 1, b"dear diary")
    lies = await client.hgetall("pages:" + str(ANN))
    assert b"dear diary" not in b"".join(lies.values())
    assert 0 < await client.ttl("pages:" + str(ANN)) <= PAGE.lifetime
    # A value that was moved to somebody else's place opens there for nobody.
    await client.hset("pages:" + str(BEN), mapping=lies)
    assert await kept(cache, Place(PAGE, BEN)) is None
    await client.aclose()


@pytest.mark.anyio
async def test_what_became_void_is_remembered_for_so_many_events(redis_url: str) -> None:
    client, _ = redis_cache(redis_url)
    await client.flushdb()
    cache = RedisCache(client, KINDS, SEALER, remember=5)
    await cache.restart(10)
    await keep(cache, Place(PAGE, BEN), 10, b"old")
    await cache.void(10, 12, [Voided(PAGE, ANN, 11)])
    await cache.void(12, 20, [Voided(MOODS, ANN, 19)])
    # Nobody knows any more whether there was something at 13; since 15 it is known.
    assert not await keep(cache, ANNS, 14, b"late")
    assert await keep(cache, ANNS, 15, b"in time")
    assert await client.zcard("cache:state") == 4
    # What was kept before that is not forgotten: it would have been deleted.
    assert await kept(cache, Place(PAGE, BEN), 20) == b"old"
    await client.aclose()


@pytest.mark.anyio
async def test_without_its_state_nothing_is_kept_or_given(redis_url: str) -> None:
    client, cache = redis_cache(redis_url)
    await client.flushdb()
    assert await cache.forget(ANN) == 0
    assert await cache.reached() is None
    await cache.restart(10)
    await keep(cache, ANNS, 10, b"old")
    await client.delete("cache:state")  # as a server does that runs out of memory
    assert await missed(cache, ANNS) == Missed(None, mine=True)
    assert await cache.void(10, 11, []) is None
    await cache.restart(10)
    assert await kept(cache, ANNS) is None
    await client.aclose()


@pytest.mark.anyio
async def test_whatever_redis_answers_amiss_is_the_cache_being_away() -> None:
    client = redis.Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=1)
    cache = RedisCache(client, KINDS, SEALER)
    for question in (
        cache.fetch(ANNS, 0, BASIS, "me"),
        cache.reached(),
        cache.restart(1),
        cache.void(0, 1, []),
        cache.forget(ANN),
    ):
        with pytest.raises(CacheAway):
            await cast("Coroutine[Any, Any, Any]", question)
    await client.aclose()


SHARE = strategies.sampled_from([1.0, 1.0, 0.5])


class Interleaved(RuleBasedStateMachine):
    """Events, read models that lag, readers that dawdle, a teller, and losses, in any order.

    A value is the list of the person's events that it includes; whatever is given must include
    all up to the position that it is given for, be read on the basis that is asked for, and tell
    nothing that did not happen.
    """

    cache: Cache

    readings = Bundle("readings")

    def __init__(self) -> None:
        super().__init__()
        self.events: list[UUID] = []
        self.folded = 0
        self.swaps = 0
        self.do(self.cache.restart(0))

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        return LOOP.run_until_complete(what)

    def includes(self, user: UUID, position: int) -> list[int]:
        return [at for at, whose in enumerate(self.events[:position], 1) if whose == user]

    @rule(users=strategies.lists(strategies.sampled_from([ANN, BEN]), min_size=1, max_size=3))
    def something_happens(self, users: list[UUID]) -> None:
        self.events.extend(users)

    @rule(share=SHARE)
    def the_read_model_goes_on(self, share: float) -> None:
        self.folded += round(share * (len(self.events) - self.folded))

    @rule(share=SHARE)
    def the_cache_is_told(self, share: float) -> None:
        at = self.do(self.cache.reached())
        assert at is not None
        to = at + round(share * (len(self.events) - at))
        voided = [
            Voided(PAGE, user, position) for position, user in enumerate(self.events[at:to], at + 1)
        ]
        assert self.do(self.cache.void(at, to, voided)) == to

    @rule(what=strategies.sampled_from(["nothing"] * 8 + ["a swap", "a loss"]))
    def what_is_rare(self, what: str) -> None:
        if what == "a swap":
            self.swaps += 1
        elif what == "a loss":
            self.do(self.cache.restart(len(self.events)))

    @rule(
        target=readings,
        user=strategies.sampled_from([ANN, ANN, BEN]),
        needed=strategies.sampled_from([0, 0, 1, 3, 8]),
        heard=strategies.sampled_from([0, 0, 1, 3]),
    )
    def somebody_asks(self, user: UUID, needed: int, heard: int) -> Any:
        """On a miss they read: rows as they are, stamped with what they had heard by then."""
        basis = f"swap {self.swaps}"
        found = self.do(self.cache.fetch(Place(PAGE, user), needed, basis, "me"))
        if isinstance(found, Missed):
            assert found.epoch is not None
            stamp = Stamp(max(0, self.folded - heard), basis, found.epoch)
            told = f"{basis}:{self.includes(user, self.folded)}".encode()
            return user, stamp, told
        read_on, _, listed = found.value.decode().partition(":")
        assert read_on == basis
        positions = [int(each) for each in listed.strip("[]").split(", ") if each]
        assert found.position >= needed
        assert [each for each in positions if each <= found.position] == self.includes(
            user, found.position
        )
        assert positions == self.includes(user, max(positions, default=0))
        return multiple()

    @rule(reading=consumes(readings))
    def they_keep_it(self, reading: Any) -> None:
        user, stamp, value = reading
        self.do(self.cache.fill(Place(PAGE, user), stamp, value, "me"))


LOOP = asyncio.new_event_loop()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_nothing_stale_is_ever_given(kind: str, redis_url: str) -> None:
    client, over_redis = redis_cache(redis_url)

    class Machine(Interleaved):
        def __init__(self) -> None:
            self.cache = MemoryCache() if kind == "memory" else over_redis
            if kind == "redis":
                self.do(client.flushdb())
            super().__init__()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=200 if kind == "memory" else 100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    LOOP.run_until_complete(client.aclose())
