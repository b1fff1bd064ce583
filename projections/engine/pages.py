"""Reading pages of events, the next one while the last is written.

PostgreSQL then works on reading and writing at once. A page is as large as can be folded in half a
second: what is dear to fold, on a machine that is busy, still commits often enough to be seen to go
on, and to heed whoever asks it to pause.

Owns the pages that may be under way, one for each choice of streams; the source has one connection,
so whoever wants something else of it calls ``settle`` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import msgspec

from domain.event import Recorded
from projections.engine.source import WHOLE, EventSource, Slice

PAGE = 5_000
"""Events read and folded at once, at most."""
LEAST = 100
"""Events at once that are dear to fold, and in the first page. More than the poisoned ones by which
a view is found to be at fault itself (``mending.MOST``)."""
PAGE_SECONDS = 0.5
"""What a page may take from reading to commit before the next ones are made smaller."""


class _Ahead(msgspec.Struct, frozen=True):
    after: int
    through: int
    topics: Sequence[str]
    size: int
    page: Future[Sequence[Recorded]]


class Pace:
    """How many events make a page, ``most`` at most: learned from how long the last ones took."""

    def __init__(self, most: int = PAGE) -> None:
        self._most = most
        self.size = min(LEAST, most)

    def took(self, count: int, seconds: float) -> None:
        """A page of ``count`` events took so long; there may be more than one of the same size."""
        if seconds > PAGE_SECONDS:
            self.size = max(min(self.size, count) // 2, min(LEAST, self._most))
        elif count >= self.size and seconds < PAGE_SECONDS / 2:
            self.size = min(self.size * 2, self._most)


class PagesAhead:
    """Pages of ``most`` events at most, read ahead on a thread of their own."""

    def __init__(self, source: EventSource, most: int = PAGE) -> None:
        self._source = source
        self._pace = Pace(most)
        self._ahead: dict[Slice, _Ahead] = {}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="projector-reads")

    @property
    def pending(self) -> bool:
        """Whether a page was begun that nobody has asked for yet."""
        return bool(self._ahead)

    def read(
        self, behind: int, to: int, topics: Sequence[str], streams: Slice = WHOLE
    ) -> tuple[Sequence[Recorded], int]:
        """A page after ``behind``, and the position that it reaches (``to`` at most)."""
        self.settle()
        ahead = self._ahead.pop(streams, None)
        size = self._pace.size
        if ahead is not None and ahead.after == behind and ahead.topics == topics:
            page, to, asked = ahead.page.result(), ahead.through, ahead.size
        else:
            page, asked = self._source.page(behind, to, size, topics, streams), size
        if len(page) == asked and page[-1].position < to:
            to, through = page[-1].position, to
            reading = self._reader.submit(self._source.page, to, through, size, topics, streams)
            self._ahead[streams] = _Ahead(to, through, topics, size, reading)
        return page, to

    def took(self, count: int, seconds: float) -> None:
        """Learn how long a page of ``count`` events took, from asking for it to its commit."""
        self._pace.took(count, seconds)

    def settle(self) -> None:
        """Wait until the source is free."""
        wait([each.page for each in self._ahead.values()])

    def forget(self) -> None:
        """Wait, and drop what was read ahead."""
        self.settle()
        self._ahead = {}
