"""Reading pages of events, the next one while the last is written.

PostgreSQL then works on reading and writing at once. Owns the one page that may be under way; the
source has one connection, so whoever wants something else of it calls ``settle`` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import msgspec

from domain.event import Recorded
from projections.engine.source import EventSource

PAGE = 5_000
"""Events read and folded at once."""


class _Ahead(msgspec.Struct, frozen=True):
    after: int
    through: int
    topics: Sequence[str]
    page: Future[Sequence[Recorded]]


class PagesAhead:
    """Pages of ``size`` events, read ahead on a thread of their own."""

    def __init__(self, source: EventSource, size: int = PAGE) -> None:
        self._source = source
        self._size = size
        self._ahead: _Ahead | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="projector-reads")

    @property
    def pending(self) -> bool:
        """Whether a page was begun that nobody has asked for yet."""
        return self._ahead is not None

    def read(self, behind: int, to: int, topics: Sequence[str]) -> tuple[Sequence[Recorded], int]:
        """A page after ``behind``, and the position that it reaches (``to`` at most)."""
        self.settle()
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.after == behind and ahead.topics == topics:
            page, to = ahead.page.result(), ahead.through
        else:
            page = self._source.page(behind, to, self._size, topics)
        if len(page) == self._size and page[-1].position < to:
            to, through = page[-1].position, to
            reading = self._reader.submit(self._source.page, to, through, self._size, topics)
            self._ahead = _Ahead(to, through, topics, reading)
        return page, to

    def settle(self) -> None:
        """Wait until the source is free."""
        if self._ahead is not None:
            wait([self._ahead.page])

    def forget(self) -> None:
        """Wait, and drop what was read ahead."""
        self.settle()
        self._ahead = None
