"""A shared cache in memory, for tests: ``projections.caching.Cache`` by the letter of its port."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from projections.caching import NEVER, CacheAway, Kept, Missed, Place, Stamp, Voided

LEASE = 0.5


class _Value(NamedTuple):
    stamp: Stamp
    value: bytes
    until: float


class MemoryCache:
    """``away`` makes every call fail. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.away = False
        self._clock = clock
        self._epochs = itertools.count(1)
        self.flush()

    def flush(self) -> None:
        """Lose everything."""
        self._epoch: str | None = None
        self._start = self._position = 0
        self._values: dict[Place, _Value] = {}
        self._voids: dict[tuple[str, UUID], int] = {}
        self._leases: dict[Place, tuple[str, float]] = {}

    async def fetch(self, place: Place, needed: int, basis: str, lease: str) -> Kept | Missed:
        self._answer()
        if self._epoch is None:
            return Missed(None, mine=True)
        kept = self._values.get(place)
        if (
            kept is not None
            and kept.until > self._clock()
            and (kept.stamp.epoch, kept.stamp.basis) == (self._epoch, basis)
        ):
            position = max(kept.stamp.position, self._position)
            if position >= needed:
                return Kept(kept.value, position, self._epoch)
        holder = self._leases.get(place)
        mine = holder is None or holder[1] <= self._clock()
        if mine:
            self._leases[place] = lease, self._clock() + LEASE
        return Missed(self._epoch, mine)

    async def fill(self, place: Place, stamp: Stamp, value: bytes, lease: str) -> bool:
        self._answer()
        holder = self._leases.get(place)
        if holder is not None and holder[0] == lease:
            del self._leases[place]
        kept = self._values.get(place)
        if stamp.epoch != self._epoch or stamp.position < self._start:
            return False
        if self._voids.get((place.kind.name, place.user_id), 0) > stamp.position:
            return False
        if (
            kept is not None
            and kept.until > self._clock()
            and (kept.stamp.epoch, kept.stamp.basis) == (stamp.epoch, stamp.basis)
            and kept.stamp.position > stamp.position
        ):
            return False
        self._values[place] = _Value(stamp, value, self._clock() + place.kind.lifetime)
        return True

    async def reached(self) -> int | None:
        self._answer()
        return None if self._epoch is None else self._position

    async def void(self, after: int, to: int, voided: Sequence[Voided]) -> int | None:
        self._answer()
        if self._epoch is None:
            return None
        if after == self._position:
            for kind, user_id, position in voided:
                known = self._voids.get((kind.name, user_id), 0)
                self._voids[kind.name, user_id] = max(known, position)
                for part in kind.parts:
                    kept = self._values.get(Place(kind, user_id, part))
                    if kept is not None and kept.stamp.position < position:
                        del self._values[Place(kind, user_id, part)]
            self._position = to
        return self._position

    async def restart(self, position: int) -> None:
        self._answer()
        self._epoch = str(next(self._epochs))
        self._start = self._position = position

    async def forget(self, user_id: UUID) -> int:
        self._answer()
        gone = [place for place in self._values if place.user_id == user_id]
        for place in gone:
            del self._values[place]
        self._voids.update(
            ((name, user_id), NEVER) for name in {place.kind.name for place in gone} | {*self.kinds}
        )
        return len(gone)

    kinds: tuple[str, ...] = ()
    """Names of the kinds of which nothing may come back for those who are forgotten."""

    def _answer(self) -> None:
        if self.away:
            raise CacheAway("as the test wants it")
