"""The days on which a person wrote: calendar, streaks and totals.

One narrow row for each entry, so that a streak over decades reads little. Runs of consecutive days
are found when asked for, not kept: a late entry, a deletion or a restoration may join or split any
of them.

Owns the table ``journal_days``.
"""

from __future__ import annotations

import datetime
from calendar import monthrange
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from domain.event import Event, Recorded
from domain.journal.entry import stream_of
from domain.journal.events import (
    EntryDeleted,
    EntryRestored,
    EntryRevised,
    EntryWritten,
    Mood,
)
from projections.engine.view import RowView
from projections.reading import Query, Reader

MONTH = Query(
    "journal_month",
    "SELECT date, mood, word_count FROM journal_days"
    " WHERE user_id = $1 AND active AND date >= $2 AND date <= $3",
    ("uuid", "date", "date"),
)

# Consecutive dates less their rank are the same date: one island for each run.
STATISTICS = Query(
    "journal_statistics",
    """
    WITH days AS (
        SELECT date, word_count FROM journal_days WHERE user_id = $1 AND active
    ), runs AS (
        SELECT min(date) AS first, max(date) AS last, count(*) AS length
        FROM (SELECT date, (date - '0001-01-01'::date) - row_number() OVER (ORDER BY date) AS island
              FROM days) AS numbered
        GROUP BY island
    ), current AS (
        -- The one run that has begun and is not over: it stays current through the day after its
        -- last entry, and one that is dated ahead is not current yet.
        SELECT first, length FROM runs WHERE last >= $2::date - 1 AND first <= $2
    )
    SELECT (SELECT length FROM current), (SELECT first FROM current),
           (SELECT max(length) FROM runs), (SELECT max(last) FROM runs),
           (SELECT count(*) FROM days), (SELECT sum(word_count)::bigint FROM days)
    """,
    ("uuid", "date"),
)

TIMEZONE = Query(
    "journal_timezone", "SELECT timezone FROM accounts_people WHERE user_id = $1", ("uuid",)
)


class DayRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``journal_days``: an entry's day."""

    entry_id: UUID
    user_id: UUID
    date: datetime.date
    mood: Mood | None
    word_count: int
    active: bool


class CalendarDay(msgspec.Struct, frozen=True):
    """A day of a month; without an entry ``mood`` is None and ``word_count`` 0."""

    date: datetime.date
    mood: Mood | None
    has_entry: bool
    word_count: int


class Streak(msgspec.Struct, frozen=True):
    """Runs of consecutive days; ``streak_start_date`` is None where ``current`` is 0."""

    current: int
    longest: int
    last_entry_date: datetime.date | None
    streak_start_date: datetime.date | None


class Statistics(msgspec.Struct, frozen=True):
    """A person's totals, over active entries, private ones included."""

    current_streak: int
    longest_streak: int
    total_entries: int
    total_words: int
    avg_words_per_entry: int


class Days(RowView[DayRow]):
    """The view ``journal.days``."""

    name: ClassVar[str] = "journal.days"
    takes: ClassVar[tuple[type[Event], ...]] = (
        EntryWritten,
        EntryRevised,
        EntryDeleted,
        EntryRestored,
    )
    table: ClassVar[str] = "journal_days"
    row: ClassVar[type[msgspec.Struct]] = DayRow
    key: ClassVar[tuple[str, ...]] = ("entry_id",)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The entry's stream."""
        return stream_of(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The entry."""
        return ((recorded.event.entry_id,),)  # type: ignore[attr-defined]

    def fold(self, key: tuple[Any, ...], row: DayRow | None, recorded: Recorded) -> DayRow | None:
        """The row after one more event."""
        event = recorded.event
        if type(event) is EntryWritten:
            return DayRow(
                event.entry_id, event.user_id, event.date, event.mood, event.word_count, True
            )
        if row is None:
            raise ValueError(f"{recorded.stream_id} does not begin with EntryWritten")
        if type(event) is EntryRevised:
            return DayRow(
                entry_id=row.entry_id,
                user_id=row.user_id,
                date=row.date if event.date is UNSET else event.date,
                mood=row.mood if event.mood is UNSET else event.mood,
                word_count=row.word_count if event.word_count is UNSET else event.word_count,
                active=row.active,
            )
        return msgspec.structs.replace(row, active=type(event) is EntryRestored)


async def month(reader: Reader, user_id: UUID, year: int, number: int) -> list[CalendarDay]:
    """Every day of a month of the years 1 to 9999."""
    length = monthrange(year, number)[1]
    dates = [datetime.date(year, number, day + 1) for day in range(length)]
    rows = await reader.rows(MONTH, user_id, dates[0], dates[-1], user_id=user_id)
    written = {row[0]: CalendarDay(row[0], row[1], True, row[2]) for row in rows}
    return [written.get(date) or CalendarDay(date, None, False, 0) for date in dates]


async def streak_and_statistics(
    reader: Reader, user_id: UUID, today: datetime.date
) -> tuple[Streak, Statistics]:
    """A person's runs and totals; ``today`` is the date where that person is."""
    [row] = await reader.rows(STATISTICS, user_id, today, user_id=user_id)
    current, first, longest, last, entries, words = row
    average = words // entries if entries else 0
    return (
        Streak(current or 0, longest or 0, last, first),
        Statistics(current or 0, longest or 0, entries, words or 0, average),
    )


async def timezone(reader: Reader, user_id: UUID) -> str:
    """The person's time zone, an IANA name; UTC for somebody not known (yet)."""
    rows = await reader.rows(TIMEZONE, user_id, user_id=user_id)
    return rows[0][0] if rows else "UTC"
