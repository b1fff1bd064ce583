"""How positions and gaps moved of late, as far as somebody was looking.

Owns the samples: taken when a page is drawn, a few minutes of them, in this process alone. A line
that is drawn of them begins when somebody first looks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

KEPT = 600.0
"""Seconds."""
LEAST = 1.0
"""Seconds between two samples: several who look share them."""


class Trends:
    """Samples of the head and of every gap; ``clock`` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int, dict[str, int]]] = deque()

    def note(self, head: int, gaps: Iterable[tuple[str, int]]) -> None:
        """Take a sample, unless one was just taken."""
        now = self._clock()
        if self._samples and now - self._samples[-1][0] < LEAST:
            return
        self._samples.append((now, head, dict(gaps)))
        while now - self._samples[0][0] > KEPT:
            self._samples.popleft()

    def gaps(self, name: str) -> list[tuple[float, float]]:
        """Seconds and gap in events, oldest first."""
        return [(at, gaps[name]) for at, _, gaps in self._samples if name in gaps]

    def rates(self) -> list[tuple[float, float]]:
        """Seconds and appended events a second between two samples, oldest first."""
        pairs = zip(self._samples, list(self._samples)[1:], strict=False)
        return [(at, (head - before) / (at - then)) for (then, before, _), (at, head, _) in pairs]

    def events_per_second(self, within: float = 60.0) -> float | None:
        """Over the last minute, None as long as there is one sample only."""
        if len(self._samples) < 2:
            return None
        now, head, _ = self._samples[-1]
        then, before, _ = next(each for each in self._samples if now - each[0] <= within)
        if now == then:
            then, before, _ = self._samples[-2]
        return (head - before) / (now - then)
