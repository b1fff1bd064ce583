"""Reading pages of events, the next one while the last is written.

PostgreSQL then works on reading and writing at once. Owns the pages that may be under way, one for
each choice of streams; the source has one connection, so whoever wants something else of it calls
``settle`` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import msgspec

from domain.event import Recorded
from projections.engine.source import WHOLE, EventSource, Slice

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
        if ahead is not None and ahead.after == behind and ahead.topics == topics:
            page, to = ahead.page.result(), ahead.through
        else:
            page = self._source.page(behind, to, self._size, topics, streams)
        if len(page) == self._size and page[-1].position < to:
            to, through = page[-1].position, to
            reading = self._reader.submit(
                self._source.page, to, through, self._size, topics, streams
            )
            self._ahead[streams] = _Ahead(to, through, topics, reading)
        return page, to

    def settle(self) -> None:
        """Wait until the source is free."""
        wait([each.page for each in self._ahead.values()])

    def forget(self) -> None:
        """Wait, and drop what was read ahead."""
        self.settle()
        self._ahead = {}
