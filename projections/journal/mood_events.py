"""Moods as a time series: one row for each entry, at the time at which it was first recorded.

A row is changed in place when its entry is. Entries without a mood and deleted ones keep theirs,
since either may change, and are left out by the view ``mood_events`` that people read. Rows are
dropped a year after they were recorded, whatever day an entry is about; what is revised later than
that changes nothing here. What a day's moods came to stays (``mood_daily_summary``).

Owns the table ``journal_mood_events``. The API's series are made of a view that drops nothing.
"""

from __future__ import annotations

from datetime import datetime
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
from projections.journal.daily import TENTHS


class MoodRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``journal_mood_events``; ``score`` is None where ``mood`` is."""

    time: datetime
    entry_id: UUID
    tenant_id: UUID
    user_id: UUID
    mood: Mood | None
    score: float | None
    tags: list[str]
    word_count: int
    active: bool


class MoodEvents(RowView[MoodRow]):
    """The view ``journal.mood_events``."""

    name: ClassVar[str] = "journal.mood_events"
    takes: ClassVar[tuple[type[Event], ...]] = (
        EntryWritten,
        EntryRevised,
        EntryDeleted,
        EntryRestored,
    )
    table: ClassVar[str] = "journal_mood_events"
    row: ClassVar[type[msgspec.Struct]] = MoodRow
    key: ClassVar[tuple[str, ...]] = ("entry_id",)
    timed: ClassVar[str | None] = "time"
    store: ClassVar[str] = "timeseries"
    personal: ClassVar[tuple[str, ...]] = ("tags",)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The entry's stream."""
        return stream_of(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The entry."""
        return ((recorded.event.entry_id,),)  # type: ignore[attr-defined]

    def fold(self, key: tuple[Any, ...], row: MoodRow | None, recorded: Recorded) -> MoodRow | None:
        """The row after one more event; None where its time is over."""
        event = recorded.event
        if recorded.stream_version != 1 and row is None:
            return None
        if type(event) is EntryWritten:
            return MoodRow(
                recorded.recorded_at if row is None else row.time,
                event.entry_id,
                recorded.tenant_id,
                event.user_id,
                event.mood,
                _score(event.mood),
                list(event.tags),
                event.word_count,
                True,
            )
        if row is None:
            raise ValueError(f"{recorded.stream_id} does not begin with EntryWritten")
        if type(event) is EntryRevised:
            mood = row.mood if event.mood is UNSET else event.mood
            return MoodRow(
                row.time,
                row.entry_id,
                row.tenant_id,
                row.user_id,
                mood,
                _score(mood),
                row.tags if event.tags is UNSET else list(event.tags),
                row.word_count if event.word_count is UNSET else event.word_count,
                row.active,
            )
        return msgspec.structs.replace(row, active=type(event) is EntryRestored)


def _score(mood: Mood | None) -> float | None:
    return None if mood is None else TENTHS[mood] / 10
