"""Answers from the cache that all processes share, or else from the read models.

Whoever asks for what somebody in this process is just reading waits for that; of several processes
one reads while the others wait for it, a moment at most. The cache has 50 ms for an answer. When
it takes longer, or is away, it is left alone for a second and everything is read as if there were
none.

Owns when the cache is asked and what is made of its answers. What is still good is decided by the
cache (``projections.caching``).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from projections.caching import Cache, CacheAway, Changes, Kept, Missed, Place, Stamp

log = structlog.get_logger()

T = TypeVar("T")

BUDGET = 0.05
"""Seconds that the cache has for an answer."""
REST = 1.0
"""Seconds for which it is left alone after it did not answer."""
SLOW = 10.0
"""Seconds of reading after which a value is not kept."""
_FILLS = 200
"""Values on their way to the cache at most; more than that are not kept."""
_REMEMBERED = 50_000
"""Cheap values of which it is remembered after which change they were read."""
_PAUSES = (0.04, 0.08, 0.16, 0.32)
"""Between looks whether another process has read it, as shares of the budget."""

_hits = Counter("mindstream_cache_hits", "Answers that the shared cache had.", ["cache"])
_misses = Counter("mindstream_cache_misses", "Answers that it had not, or not any more.", ["cache"])
_errors = Counter("mindstream_cache_errors", "Times that it did not answer.", ["cache"])
_bypassed = Counter(
    "mindstream_cache_bypassed", "Answers for which it was not asked, being away.", ["cache"]
)


class _HitRatio(Collector):
    """``cache_hit_ratio``: the share of answers that the cache had, since the process began."""

    def collect(self) -> Iterator[Metric]:
        """The samples (called by the registry); none for a cache that was never asked."""
        ratio = GaugeMetricFamily(
            "cache_hit_ratio", "Share of answers that the shared cache had.", labels=["cache"]
        )
        hits, misses = _totals(_hits), _totals(_misses)
        for cache in sorted(hits.keys() | misses.keys()):
            asked = hits.get(cache, 0.0) + misses.get(cache, 0.0)
            ratio.add_metric([cache], hits.get(cache, 0.0) / asked)
        yield ratio

    def describe(self) -> Iterator[Metric]:
        """Nothing is counted yet."""
        return iter(())


def _totals(counter: Counter) -> dict[str, float]:
    return {
        sample.labels["cache"]: sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.value
    }


REGISTRY.register(_HitRatio())


class Form(Generic[T]):
    """How a value of a type is kept: as JSON."""

    def __init__(self, type_: type[T]) -> None:
        self.encode: Callable[[T], bytes] = msgspec.json.Encoder().encode
        self.decode: Callable[[bytes], T] = msgspec.json.Decoder(type_).decode


class _Flight(msgspec.Struct, frozen=True):
    """A value that is being read, and what it is good for."""

    task: asyncio.Task[Any]
    position: int
    basis: str


class Shared:
    """Reads through ``cache``; without one it only sees to it that nothing is read twice at once.

    ``changes`` tells what a value must include to be given to anybody now, ``budget`` is how many
    seconds the cache has for an answer.
    """

    def __init__(self, cache: Cache | None, changes: Changes, *, budget: float = BUDGET) -> None:
        self._cache = cache
        self._changes = changes
        self._budget = budget
        self._flights: dict[Place, _Flight] = {}
        self._read_after: dict[Place, int] = {}
        self._fills: set[asyncio.Task[None]] = set()
        self._away_until = 0.0

    async def read(
        self,
        place: Place,
        position: int,
        load: Callable[[], Awaitable[T]],
        form: Form[T],
        *,
        good: Callable[[T], bool] = lambda value: True,
    ) -> T:
        """The value: kept, being read, or read by ``load``.

        ``position`` is what the read models have passed, as ``read_api.fresh.fresh`` told: the
        value is the truth at that position. ``good`` may refuse one that others have read. Raises
        what ``load`` raises.
        """
        needed = self._changes.since(place.user_id)
        basis = self._changes.basis(*place.kind.views)
        if needed is None or basis is None or (place.kind.cheap and self._is_void(place)):
            return await load()
        flight = self._flights.get(place)
        joined = flight
        if flight is None or flight.position < needed or flight.basis != basis:
            reading = self._fly(place, position, needed, basis, load, form, good)
            flight = _Flight(asyncio.create_task(reading), position, basis)
            self._flights[place] = flight
            flight.task.add_done_callback(lambda task: self._landed(place, task))
        # Whoever began may go away: others wait for the same.
        value: T = await asyncio.shield(flight.task)
        return value if flight is not joined or good(value) else await load()

    async def close(self) -> None:
        """Wait for what is on its way to the cache."""
        if self._fills:
            await asyncio.wait(self._fills, timeout=2 * self._budget)

    def _is_void(self, place: Place) -> bool:
        """Whether its person is known to have changed since it was last read here."""
        told = self._changes.told(place.user_id)
        if not told or self._read_after.get(place) == told:
            return False
        if len(self._read_after) >= _REMEMBERED:
            self._read_after.clear()
        self._read_after[place] = told
        return True

    def _landed(self, place: Place, task: asyncio.Task[Any]) -> None:
        flight = self._flights.get(place)
        if flight is not None and flight.task is task:
            del self._flights[place]
        if not task.cancelled():
            task.exception()  # was raised to those who waited, if anybody still did

    async def _fly(
        self,
        place: Place,
        position: int,
        needed: int,
        basis: str,
        load: Callable[[], Awaitable[T]],
        form: Form[T],
        good: Callable[[T], bool],
    ) -> T:
        name = place.kind.name
        loop = asyncio.get_running_loop()
        if self._cache is None or loop.time() < self._away_until:
            _bypassed.labels(name).inc()
            return await load()
        lease = secrets.token_hex(8)
        found = await self._found(place, needed, basis, lease)
        if isinstance(found, Kept):
            value = _decoded(form, found.value)
            if value is not None and good(value):
                _hits.labels(name).inc()
                return value
        _misses.labels(name).inc()
        began = loop.time()
        value = await load()
        if found is not None and found.epoch is not None and loop.time() - began < SLOW:
            stamp = Stamp(position, basis, found.epoch)
            self._fill_soon(place, stamp, form.encode(value), lease)
        return value

    async def _found(
        self, place: Place, needed: int, basis: str, lease: str
    ) -> Kept | Missed | None:
        """What the cache has, once nobody else reads it or for long enough; None: it is away."""
        assert self._cache is not None
        for pause in (*_PAUSES, None):
            try:
                async with asyncio.timeout(self._budget):
                    found = await self._cache.fetch(place, needed, basis, lease)
            except (TimeoutError, CacheAway):
                self._is_away(place.kind.name)
                return None
            if isinstance(found, Kept) or found.mine or pause is None:
                return found
            await asyncio.sleep(pause * self._budget)
        raise AssertionError("the last look returns")

    def _fill_soon(self, place: Place, stamp: Stamp, value: bytes, lease: str) -> None:
        """Nobody waits for it."""
        if len(self._fills) < _FILLS:
            task = asyncio.create_task(self._fill(place, stamp, value, lease))
            self._fills.add(task)
            task.add_done_callback(self._fills.discard)

    async def _fill(self, place: Place, stamp: Stamp, value: bytes, lease: str) -> None:
        assert self._cache is not None
        try:
            async with asyncio.timeout(self._budget):
                await self._cache.fill(place, stamp, value, lease)
        except (TimeoutError, CacheAway):
            self._is_away(place.kind.name)

    def _is_away(self, name: str) -> None:
        _errors.labels(name).inc()
        now = asyncio.get_running_loop().time()
        if now >= self._away_until:
            log.warning("cache_bypassed", seconds=REST)
        self._away_until = now + REST


def _decoded(form: Form[T], value: bytes) -> T | None:
    try:
        return form.decode(value)
    except msgspec.DecodeError:
        return None  # of another version of this code
