"""A source for views that ask who caused an event: pages with metadata.

Most views do not, and reading it for them would cost each page a third more. So it is fetched
beside the page, by position, for those that do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.event_store.source import PostgresSource
from domain.event import Metadata, Recorded
from projections.engine.source import WHOLE, Slice

_METADATA = """
SELECT position, event_id, correlation_id, causation_id, actor, trace_id FROM events
WHERE position = ANY (%s::bigint[])
"""


class SourceWithMetadata(PostgresSource):
    """``PostgresSource`` whose records have their ``metadata``."""

    def page(
        self,
        after: int,
        through: int,
        limit: int,
        topics: Sequence[str],
        part: Slice = WHOLE,
    ) -> Sequence[Recorded]:
        """Up to ``limit`` events, decoded."""
        return self._told(super().page(after, through, limit, topics, part))

    def stream(
        self, stream_id: str, after: int, through: int, topics: Sequence[str]
    ) -> Sequence[Recorded]:
        """All events of one stream in between, decoded."""
        return self._told(super().stream(stream_id, after, through, topics))

    def _told(self, page: Sequence[Recorded]) -> Sequence[Recorded]:
        if not page:
            return page
        cursor = self._reader().cursor(binary=True)
        cursor.execute(_METADATA, ([recorded.position for recorded in page],), prepare=True)
        found: dict[int, Any] = {row[0]: row for row in cursor}
        return [
            msgspec.structs.replace(recorded, metadata=_metadata(found[recorded.position]))
            for recorded in page
        ]


def _metadata(row: tuple[Any, ...]) -> Metadata:
    return Metadata(
        event_id=row[1],
        correlation_id=row[2],
        causation_id=row[3],
        actor=row[4],
        trace_id=row[5],
    )
