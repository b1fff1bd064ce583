"""One generation that grows: how far it is, how fast, and when it will be done.

Owns what is told of a build and what operators answer to it: go on, wait, or end. The time left is
told from the speed of the last moments, without what it took to begin and without pauses, and with
what comes after the folding: indexes, the comparison, the swap. Folding is ``folding``'s.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from projections.engine import generations
from projections.engine.checkpoints import Connection
from projections.engine.folding import HEED_EVERY, Target

WINDOW = 20.0
"""Seconds over which the speed is measured."""

Signal = Literal["go", "pause", "cancel"]


class Cancelled(Exception):
    """An operator does not want it any more."""


class Died(Exception):
    """A process of a part ended before its work did."""


class Progress(msgspec.Struct, frozen=True):
    """How far a build is; ``eta_seconds`` is None until the speed is known.

    ``finishing_seconds`` is what comes after the folding, so far as is known, and
    ``finished_seconds`` what of it has passed.
    """

    events_done: int
    events_total: int
    events_per_second: float
    eta_seconds: float | None
    state: Literal["running", "paused"] = "running"
    finishing_seconds: float = 0.0
    finished_seconds: float = 0.0

    @property
    def fraction(self) -> float:
        """From 0 to 1, in time; 1 only when nothing is left to do."""
        if not self.events_total:
            return 0.0 if self.finishing_seconds else 1.0
        done = self.events_done / self.events_total
        if self.events_per_second <= 0:
            return min(1.0, done)
        folding = self.events_total / self.events_per_second
        passed = done * folding + min(self.finished_seconds, 0.9 * self.finishing_seconds)
        return min(1.0, passed / (folding + self.finishing_seconds))


Heed = Callable[[Progress], Signal]


class Pace:
    """How fast something goes, by what was seen in the last seconds that were not rested."""

    def __init__(self, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = done
        self._began = clock()
        self._rested = 0.0
        self._resting: float | None = None
        self._seen: deque[tuple[float, int]] = deque()

    @property
    def seconds(self) -> float:
        """What has passed without rests."""
        now = self._resting if self._resting is not None else self._clock()
        return max(now - self._began - self._rested, 1e-6)

    def rest(self, resting: bool) -> None:
        """Time does not count from now on, or counts again."""
        if resting and self._resting is None:
            self._resting = self._clock()
        elif not resting and self._resting is not None:
            self._rested += self._clock() - self._resting
            self._resting = None

    def at(self, done: int) -> float:
        """Take note of how much is done; the speed by the second, 0 while it is not known.

        What it takes to begin says nothing of the speed: it counts from the first progress on.
        """
        if done <= self._first:
            return 0.0
        now = self.seconds
        if not self._seen or done > self._seen[-1][1]:
            self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW:
            self._seen.popleft()
        (since, then), (until, last) = self._seen[0], self._seen[-1]
        if last > then and until > since:
            return (last - then) / (until - since)
        return (done - self._first) / now


class Build:
    """One generation that grows; ``total`` events are expected in all, done ones included."""

    def __init__(
        self,
        target: Target,
        connection: Connection,
        heed: Heed,
        held_back: Callable[[], bool],
        *,
        finishing: Callable[[int], float] = lambda events: 0.0,
    ) -> None:
        self.target = target
        self.generation = target.generation
        self._connection = connection
        self._heed = heed
        self._held_back = held_back
        self._finishing = finishing
        self._first = self.done
        self._pace = Pace(self._first)
        self._paused = False
        self._grown: float | None = None
        self._speed = 0.0
        self.total = self._first

    @property
    def done(self) -> int:
        """Events that were folded, in all parts."""
        return sum(part.events_done for part in self.parts())

    @property
    def folded(self) -> tuple[int, float]:
        """Events that were folded since this process took it up, and the seconds it took."""
        return self.done - self._first, self._pace.seconds if self._grown is None else self._grown

    @property
    def finished(self) -> float:
        """Seconds since all was folded that was expected."""
        return 0.0 if self._grown is None else self._pace.seconds - self._grown

    def parts(self) -> list[generations.Part]:
        """How far each part is."""
        return generations.parts_of(self._connection, self.generation)

    def grown(self) -> None:
        """From now on it is compared and swapped: a few more events say nothing of the speed."""
        if self._grown is None:
            self._speed = self._pace.at(self.done)
            self._grown = self._pace.seconds

    def grows_on(self) -> None:
        """There is more to fold than a few events, after all."""
        self._grown = None

    def progress(self, *, paused: bool = False) -> Progress:
        """How far it is."""
        done = self.done
        total = max(self.total, done)
        finishing, finished = self._finishing(total), self.finished
        speed = self._pace.at(done) if self._grown is None else self._speed
        left: float | None = max(0.0, finishing - finished)
        if self._grown is None:
            left = (total - done) / speed + finishing if speed else None
        return Progress(
            done,
            total,
            round(speed, 1),
            None if left is None else round(left, 1),
            "paused" if paused else "running",
            finishing,
            finished,
        )

    def asked(self) -> bool:
        """Tell how far it is; whether it is to go on now, rather than wait.

        Raises:
            Cancelled: it is not wanted any more.
        """
        signal = self._heed(self.progress(paused=self._paused))
        if signal == "cancel":
            raise Cancelled(self.target.view.name)
        self._paused = signal == "pause"
        go = signal == "go" and not self._held_back()
        self._pace.rest(not go)
        return go

    def checked(self) -> None:
        """Tell how far it is, and return when it is to go on.

        Raises:
            Cancelled: it is not wanted any more.
        """
        while not self.asked():
            threading.Event().wait(HEED_EVERY)
