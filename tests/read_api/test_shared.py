"""Reading through the shared cache: nothing twice at once, and nobody waits for it for long."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import msgspec
import pytest
from prometheus_client import REGISTRY

from domain.journal.events import EntryWritten
from projections.caching import Kept, Kind, Missed, Place, Voided
from read_api.shared import BUDGET, Form, Shared
from tests.support.memory_cache import MemoryCache
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

ANN = UUID(int=1)
KIND = Kind("tested", "tested:{user}", 60, ("v",), (EntryWritten,))
PLACE = Place(KIND, ANN)
FORM = Form(int)


class Changes:
    """What was heard, as the test wants it."""

    def __init__(self) -> None:
        self.position: int | None = 0
        self.on: str | None = "b"
        self.last_told = 0

    def since(self, user_id: UUID) -> int | None:
        return self.position

    def told(self, user_id: UUID) -> int:
        return self.last_told

    def basis(self, *projections: str) -> str | None:
        return self.on


class Counting:
    """A read model that counts how often it is read."""

    def __init__(self) -> None:
        self.times = 0
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self) -> int:
        self.times += 1
        time_of_mine = self.times
        await self.may.wait()
        return time_of_mine

    async def has_begun(self, times: int) -> None:
        async def so_often() -> bool:
            return self.times == times

        await eventually_async(so_often)


class Hung(MemoryCache):
    """Accepts questions and never answers."""

    asked = 0

    async def fetch(self, place: Place, needed: int, basis: str, lease: str) -> Kept | Missed:
        self.asked += 1
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
async def cache() -> MemoryCache:
    made = MemoryCache()
    await made.restart(0)
    return made


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def load() -> Counting:
    return Counting()


def counted(what: str) -> float:
    return REGISTRY.get_sample_value(f"mindstream_cache_{what}_total", {"cache": "tested"}) or 0.0


async def test_what_one_process_read_another_has(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    hits, misses = counted("hits"), counted("misses")
    first, second = Shared(cache, changes), Shared(cache, changes)
    assert await first.read(PLACE, 0, load, FORM) == 1
    await first.close()
    assert await second.read(PLACE, 0, load, FORM) == 1
    assert (counted("hits") - hits, counted("misses") - misses) == (1, 1)


async def test_what_changed_since_is_read_again(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    shared = Shared(cache, changes)
    assert await shared.read(PLACE, 0, load, FORM) == 1
    await shared.close()
    changes.position = 3  # heard before the cache was told
    assert await shared.read(PLACE, 3, load, FORM) == 2
    await shared.close()
    await cache.void(0, 3, [Voided(KIND, ANN, 3)])
    assert await shared.read(PLACE, 3, load, FORM) == 2
    changes.on = "swapped"
    assert await shared.read(PLACE, 3, load, FORM) == 3


async def test_for_what_is_cheap_nobody_asks_right_after_a_change(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    place = Place(msgspec.structs.replace(KIND, cheap=True), ANN)
    shared = Shared(cache, changes)
    assert await shared.read(place, 0, load, FORM) == 1
    await shared.close()
    hits, misses = counted("hits"), counted("misses")
    changes.position = changes.last_told = 3
    assert await shared.read(place, 3, load, FORM) == 2
    assert (counted("hits"), counted("misses")) == (hits, misses)
    assert await shared.read(place, 3, load, FORM) == 3  # nobody kept it
    await shared.close()
    assert await shared.read(place, 3, load, FORM) == 3
    assert (counted("hits") - hits, counted("misses") - misses) == (1, 1)


async def test_many_at_once_read_once(cache: MemoryCache, changes: Changes, load: Counting) -> None:
    shared = Shared(cache, changes)
    load.may.clear()
    readers = [asyncio.create_task(shared.read(PLACE, 0, load, FORM)) for _ in range(50)]
    await load.has_begun(1)
    # Not even who began it is needed to the end.
    readers[0].cancel()
    load.may.set()
    assert await asyncio.gather(*readers[1:]) == [1] * 49


async def test_who_needs_more_than_is_being_read_reads_anew(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    shared = Shared(cache, changes)
    load.may.clear()
    early = asyncio.create_task(shared.read(PLACE, 0, load, FORM))
    await load.has_begun(1)
    changes.position = 1
    late = asyncio.create_task(shared.read(PLACE, 1, load, FORM))
    await load.has_begun(2)
    load.may.set()
    assert await asyncio.gather(early, late) == [1, 2]
    await shared.close()
    # The newer one is kept, in whichever order they came.
    assert await Shared(cache, changes).read(PLACE, 1, load, FORM) == 2


async def test_another_process_is_waited_for(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    leader, follower = Shared(cache, changes), Shared(cache, changes, budget=10)
    load.may.clear()
    leading = asyncio.create_task(leader.read(PLACE, 0, load, FORM))
    await load.has_begun(1)
    following = asyncio.create_task(follower.read(PLACE, 0, load, FORM))
    await asyncio.wait({following}, timeout=0.05)
    load.may.set()
    assert await asyncio.gather(leading, following) == [1, 1]


async def test_a_process_that_died_reading_is_waited_for_a_moment_only(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    await cache.fetch(PLACE, 0, "b", "died")  # has the lease and never fills
    shared = Shared(cache, changes)
    began = time.monotonic()
    assert await shared.read(PLACE, 0, load, FORM) == 1
    assert time.monotonic() - began < 0.4, "before the lease was over"
    await shared.close()
    assert await Shared(cache, changes).read(PLACE, 0, load, FORM) == 1


async def test_a_hung_cache_costs_one_reader_a_moment_and_the_others_nothing(
    changes: Changes, load: Counting
) -> None:
    cache = Hung()
    shared = Shared(cache, changes)
    errors, bypassed = counted("errors"), counted("bypassed")
    began = time.monotonic()
    assert await shared.read(PLACE, 0, load, FORM) == 1
    assert BUDGET <= time.monotonic() - began < 10 * BUDGET
    assert await shared.read(PLACE, 0, load, FORM) == 2
    assert cache.asked == 1
    assert (counted("errors") - errors, counted("bypassed") - bypassed) == (1, 1)


async def test_a_cache_that_is_back_is_asked_again(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    shared = Shared(cache, changes)
    await shared.read(PLACE, 0, load, FORM)
    await shared.close()
    cache.away = True
    assert await shared.read(PLACE, 0, load, FORM) == 2
    cache.away = False

    async def is_a_hit() -> bool:
        return await shared.read(PLACE, 0, load, FORM) == 1

    await eventually_async(is_a_hit)


@pytest.mark.parametrize("what", ["position", "on"])
async def test_without_news_everybody_reads(
    cache: MemoryCache, changes: Changes, load: Counting, what: str
) -> None:
    shared = Shared(cache, changes)
    await shared.read(PLACE, 0, load, FORM)
    await shared.close()
    setattr(changes, what, None)
    assert await shared.read(PLACE, 0, load, FORM) == 2


async def test_a_value_may_be_refused_and_is_replaced(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    shared = Shared(cache, changes)
    await shared.read(PLACE, 0, load, FORM)
    await shared.close()
    assert await shared.read(PLACE, 0, load, FORM, good=lambda kept: kept > 1) == 2
    await shared.close()
    assert await shared.read(PLACE, 0, load, FORM, good=lambda kept: kept > 1) == 2


async def test_a_value_of_another_version_of_the_code_is_read_again(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    shared = Shared(cache, changes)

    async def older() -> str:
        return "another form"

    await shared.read(PLACE, 0, older, Form(str))
    await shared.close()
    assert await shared.read(PLACE, 0, load, FORM) == 1


async def test_who_joins_may_refuse_what_is_being_read(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    shared = Shared(cache, changes)
    load.may.clear()
    first = asyncio.create_task(shared.read(PLACE, 0, load, FORM))
    await load.has_begun(1)
    second = asyncio.create_task(shared.read(PLACE, 0, load, FORM, good=lambda kept: kept > 1))
    await asyncio.wait({second}, timeout=0.02)
    load.may.set()
    assert await asyncio.gather(first, second) == [1, 2]


async def test_what_reading_raises_reaches_everybody_and_is_not_kept(
    cache: MemoryCache, changes: Changes, load: Counting
) -> None:
    shared = Shared(cache, changes)

    async def fails() -> int:
        raise msgspec.ValidationError("nobody there")

    both = await asyncio.gather(
        shared.read(PLACE, 0, fails, FORM),
        shared.read(PLACE, 0, fails, FORM),
        return_exceptions=True,
    )
    assert [type(each) for each in both] == [msgspec.ValidationError] * 2
    assert await shared.read(PLACE, 0, load, FORM) == 1
