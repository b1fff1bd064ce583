"""Where the engine reads events: a port. ``adapters/event_store/source.py`` implements it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from domain.event import Recorded


class Slice(NamedTuple):
    """The streams whose hash leaves one of ``partitions`` when divided by ``of``."""

    partitions: tuple[int, ...]
    of: int

    @property
    def whole(self) -> bool:
        """Whether these are all streams."""
        return len(self.partitions) == self.of


WHOLE = Slice((0,), 1)
"""All streams."""


class EventSource(Protocol):
    """The store's total order, as one synchronous reader sees it."""

    def head(self) -> int:
        """The position of the last event; 0 while there is none."""
        ...

    def page(
        self,
        after: int,
        through: int,
        limit: int,
        topics: Sequence[str],
        part: Slice = WHOLE,
    ) -> Sequence[Recorded]:
        """Up to ``limit`` events of these topics with ``after < position <= through``, in order.

        ``through`` must not be beyond a head that this source has told. Streams that are not of
        ``part`` are left out, but for ``SubjectErased``, which every partition gets.
        """
        ...

    def stream(
        self, stream_id: str, after: int, through: int, topics: Sequence[str]
    ) -> Sequence[Recorded]:
        """All events of one stream and these topics with ``after < position <= through``."""
        ...

    def streams(
        self, topics: Sequence[str], from_: datetime | None, to: datetime | None
    ) -> Iterable[tuple[str, int]]:
        """Each stream with an event of these topics recorded in [``from_``, ``to``).

        With how many events of these topics it has in all.
        """
        ...

    def count(self, after: int, through: int, topics: Sequence[str]) -> int:
        """How many events of these topics there are between the two."""
        ...

    def tally(
        self,
        topics: Sequence[str],
        from_: datetime | None = None,
        to: datetime | None = None,
        *,
        stream_id: str | None = None,
    ) -> dict[str, int]:
        """How many events of each of these topics the streams have that ``streams`` would name.

        With ``stream_id`` that one alone. A topic without any is left out.
        """
        ...

    def wait(self, seconds: float) -> None:
        """Return when something was appended, or after that time: whichever is first."""
        ...

    def close(self) -> None:
        """Give up the connection."""
        ...
