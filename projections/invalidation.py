"""Tells the shared cache what became void: a projection of events onto "no longer".

It reads whom each event is about and nothing else of it, so that it needs no key. Telling is
idempotent, and how far it is lies in the cache itself, beside what it is about: both are lost, or
taken back by a restored copy, together. Where the cache knows nothing, or something of another
store, it begins anew at the head, and nothing that was kept before is good any more.

Several processes may do this at once: each step says from where it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import psycopg
import structlog
from prometheus_client import Counter, Gauge

from domain.accounts.events import SubjectErased
from domain.event import topics_of
from projections.caching import Cache, CacheAway, Kind, Voided

log = structlog.get_logger()

POLL = 1.0
"""Seconds between two looks when nobody wakes it."""
REST = 0.05
"""Seconds for what comes after the first event, so that many are told at once: nobody waits."""
PAGE = 1_000
FAR = 20_000
"""Events beyond which it is quicker to begin anew than to tell them one by one."""
AGAIN = 1.0
"""Seconds until the next try while cache or store do not answer."""

_voided = Counter("mindstream_cache_voided", "Values of people made void by events.", ["cache"])
_gap = Gauge("mindstream_cache_gap_events", "Events of which the cache has not been told.")


class Happened(NamedTuple):
    """An event as far as it matters here; ``user_id`` is None where it cannot be told."""

    position: int
    topic: str
    user_id: UUID | None


class Happenings(Protocol):
    """The store's total order, without what the events say."""

    async def head(self) -> int:
        """The position of the last event; 0 while there is none."""
        ...

    async def page(
        self, after: int, through: int, limit: int, topics: Sequence[str]
    ) -> Sequence[Happened]:
        """Up to ``limit`` events of these topics with ``after < position <= through``, in order."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when something was appended, or after that time: whichever is first."""
        ...


class Invalidator:
    """Tells ``cache`` what happens, as far as one of ``kinds`` takes it."""

    def __init__(self, events: Happenings, cache: Cache, kinds: Iterable[Kind]) -> None:
        self._events = events
        self._cache = cache
        self._kinds: dict[str, list[Kind]] = {}
        for kind in kinds:
            for topic in topics_of({*kind.takes, SubjectErased}):
                self._kinds.setdefault(topic, []).append(kind)
        self._reachable = True

    async def run(self) -> None:
        """Go on until cancelled, whatever is away meanwhile."""
        while True:
            try:
                if not await self.step():
                    await self._events.wait(POLL)
                    await asyncio.sleep(REST)
                self._reachable = True
            except (CacheAway, psycopg.Error, OSError) as error:
                if self._reachable:
                    log.warning("cache_not_told", reason=type(error).__name__)
                self._reachable = False
                await asyncio.sleep(AGAIN)

    async def step(self) -> bool:
        """Tell one page; whether there is more to do at once.

        Raises:
            CacheAway, psycopg.Error: one of the two does not answer.
        """
        at = await self._cache.reached()
        head = await self._events.head()
        if at is None or not 0 <= head - at <= FAR:
            await self._anew(head, "nothing is known" if at is None else "too far apart")
            return True
        _gap.set(head - at)
        if at == head:
            return False
        page = await self._events.page(at, head, PAGE, list(self._kinds))
        to = page[-1].position if len(page) == PAGE else head
        last: dict[tuple[Kind, UUID], int] = {}
        for event in page:
            if event.user_id is None:
                await self._anew(head, "an event about nobody known")
                return True
            for kind in self._kinds[event.topic]:
                last[kind, event.user_id] = event.position
        told = [Voided(kind, user_id, position) for (kind, user_id), position in last.items()]
        reached = await self._cache.void(at, to, told)
        if reached == to:
            for each in told:
                _voided.labels(each.kind.name).inc()
            _gap.set(head - to)
        return reached != head

    async def _anew(self, head: int, why: str) -> None:
        log.info("cache_begins_anew", why=why, position=head)
        await self._cache.restart(head)
