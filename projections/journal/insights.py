"""Insights as clients see them: one row for each, its answer rendered ahead.

``version`` is that of the last event that changed what is shown: a look at it is an event of
its stream, too, and changes nothing.

Owns the table ``journal_insights`` and the API's shape of an insight.
"""

from __future__ import annotations

import datetime
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.event import Event, Recorded
from domain.journal.events import (
    InsightFailed,
    InsightReady,
    InsightRequested,
    InsightType,
    Mood,
    Theme,
)
from domain.journal.insight import Insight, State
from projections.engine.view import RowView
from projections.reading import Query, Reader

INSIGHT = Query(
    "journal_insight",
    "SELECT document, version FROM journal_insights WHERE insight_id = $1 AND user_id = $2",
    ("uuid", "uuid"),
)
INSIGHT_IDS = Query(
    "journal_insight_ids",
    "SELECT string_agg(uuid_send(insight_id), ''::bytea ORDER BY time, insight_id)"
    " FROM journal_insights WHERE user_id = $1",
    ("uuid",),
)

BEFORE = Query(
    "journal_insight_before",
    """
    SELECT count(*), coalesce(sum(d.word_count), 0)::bigint, coalesce(max(d.word_count), 0)
    FROM journal_entries e JOIN journal_days d USING (entry_id)
    WHERE e.user_id = $1 AND d.user_id = $1 AND e.state = 'active' AND NOT e.is_private
      AND e.date < $2
    """,
    ("uuid", "date"),
)

_PAGE = """
SELECT insight_id, time, document FROM journal_insights
WHERE {conditions}
ORDER BY time DESC, insight_id DESC
LIMIT {limit}
"""


@cache
def page_query(filters: tuple[str, ...], *, goes_on: bool) -> Query:
    """The page with these filters; the parameters are the user, the filters, the limit, the key."""
    conditions = ["user_id = $1", *(f"{name} = ${n}" for n, name in enumerate(filters, 2))]
    types = ["uuid", *("text" for _ in filters), "int8"]
    limit = f"${len(types)}"
    if goes_on:
        types += ["timestamptz", "uuid"]
        conditions.append(f"(time, insight_id) < (${len(types) - 1}, ${len(types)})")
    sql = _PAGE.format(conditions=" AND ".join(conditions), limit=limit)
    return Query("_".join(("journal_insights_page", *filters, str(goes_on))), sql, tuple(types))


class InsightDocument(msgspec.Struct, kw_only=True):
    """The API's shape of an insight; what is told is empty until it is ready."""

    id: UUID
    insight_type: InsightType
    start_date: datetime.date
    end_date: datetime.date
    state: State
    summary: str | None = None
    entries_analyzed: int = 0
    words: int = 0
    most_productive_day: datetime.date | None = None
    mood_distribution: dict[Mood, float] = {}
    dominant_mood: Mood | None = None
    themes: tuple[Theme, ...] = ()
    milestones: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    generated_by: str | None = None
    error_code: str | None = None
    scheduled: bool = False
    version: int
    created_at: datetime.datetime


class InsightRow(msgspec.Struct, frozen=True):
    """A row of ``journal_insights``; ``document`` is JSON, ``time`` when it was asked for."""

    insight_id: UUID
    time: datetime.datetime
    user_id: UUID
    insight_type: InsightType
    start_date: datetime.date
    end_date: datetime.date
    state: State
    version: int
    document: str


_TOLD = (
    *("summary", "entries_analyzed", "words", "most_productive_day", "mood_distribution"),
    *("dominant_mood", "themes", "milestones", "suggestions", "generated_by"),
)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(InsightDocument).decode


class Insights(RowView[InsightRow]):
    """The view ``journal.insights``."""

    name: ClassVar[str] = "journal.insights"
    takes: ClassVar[tuple[type[Event], ...]] = (InsightRequested, InsightReady, InsightFailed)
    table: ClassVar[str] = "journal_insights"
    row: ClassVar[type[msgspec.Struct]] = InsightRow
    key: ClassVar[tuple[str, ...]] = ("insight_id",)
    timed: ClassVar[str | None] = "time"
    store: ClassVar[str] = "timeseries"
    personal: ClassVar[tuple[str, ...]] = ("document",)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The insight's stream."""
        return Insight.stream(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The insight."""
        event: Any = recorded.event
        return ((event.insight_id,),)

    def fold(
        self, key: tuple[Any, ...], row: InsightRow | None, recorded: Recorded
    ) -> InsightRow | None:
        """The row after one more event."""
        event, version = recorded.event, recorded.stream_version
        if isinstance(event, InsightRequested):
            document = InsightDocument(
                id=event.insight_id,
                insight_type=event.insight_type,
                start_date=event.start_date,
                end_date=event.end_date,
                state="requested",
                scheduled=event.scheduled,
                version=version,
                created_at=event.requested_at,
            )
            return _row(event.user_id, document)
        if row is None:
            raise ValueError(f"{recorded.stream_id} does not begin with InsightRequested")
        document = _decode(row.document)
        document.version = version
        if isinstance(event, InsightReady):
            document.state = "ready"
            for name in _TOLD:
                setattr(document, name, getattr(event, name))
        elif isinstance(event, InsightFailed):
            document.state = "failed"
            document.error_code = event.code
        return _row(row.user_id, document)


def _row(user_id: UUID, document: InsightDocument) -> InsightRow:
    return InsightRow(
        insight_id=document.id,
        time=document.created_at,
        user_id=user_id,
        insight_type=document.insight_type,
        start_date=document.start_date,
        end_date=document.end_date,
        state=document.state,
        version=document.version,
        document=_encode(document).decode(),
    )


Keyset = tuple[datetime.datetime, UUID]
"""Where a page ended: when the insight was asked for, and its id."""


async def insight(reader: Reader, user_id: UUID, insight_id: UUID) -> tuple[bytes, int] | None:
    """An insight's JSON and version, None if the person has no such one."""
    rows = await reader.rows(INSIGHT, insight_id, user_id, user_id=user_id)
    return (rows[0][0].encode(), rows[0][1]) if rows else None


async def insight_ids(reader: Reader, user_id: UUID) -> bytes:
    """The ids of all insights, oldest first: 16 bytes each, one after the other."""
    [[packed]] = await reader.rows(INSIGHT_IDS, user_id, user_id=user_id)
    return packed or b""


async def page(
    reader: Reader,
    user_id: UUID,
    *,
    insight_type: InsightType | None,
    state: State | None,
    after: Keyset | None,
    limit: int,
) -> tuple[list[bytes], Keyset | None]:
    """A page of insights' JSON, newest first, and where it ended if there are more."""
    given = {
        name: value
        for name, value in (("insight_type", insight_type), ("state", state))
        if value is not None
    }
    query = page_query(tuple(given), goes_on=after is not None)
    rows = await reader.rows(
        query, user_id, *given.values(), limit + 1, *(after or ()), user_id=user_id
    )
    more, rows = len(rows) > limit, rows[:limit]
    return [row[2].encode() for row in rows], (rows[-1][1], rows[-1][0]) if more else None


async def before(reader: Reader, user_id: UUID, date: datetime.date) -> tuple[int, int, int]:
    """Entries before a date that are not private: how many, their words, the longest one's."""
    [(entries, words, longest)] = await reader.rows(BEFORE, user_id, date, user_id=user_id)
    return entries, words, longest
