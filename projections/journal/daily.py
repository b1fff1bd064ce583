"""Entries by their own date: what series of moods, words and entries are made of.

One row for each entry, never dropped. A deleted entry's row stays, since a restoration brings it
back, and counts nowhere. Owns the table ``journal_daily`` and the scores of moods;
``projections/journal/series.py`` reads it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar, get_args
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

MOODS: tuple[Mood, ...] = get_args(Mood)
TENTHS: Mapping[Mood, int] = {
    "ecstatic": 10,
    "happy": 6,
    "neutral": 0,
    "anxious": -4,
    "sad": -6,
    "angry": -8,
}
"""The score of each mood, from -1 to 1, in tenths: so sums of them are exact."""


class DailyRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``journal_daily``: one entry.

    ``mood`` is the one that the person gave. ``mood_inferred`` is one that a machine read out of
    the text; no series counts it.
    """

    entry_id: UUID
    tenant_id: UUID
    user_id: UUID
    date: datetime.date
    mood: Mood | None
    mood_inferred: Mood | None
    tags: list[str]
    words: int
    is_private: bool
    active: bool


class Daily(RowView[DailyRow]):
    """The view ``journal.daily``."""

    name: ClassVar[str] = "journal.daily"
    takes: ClassVar[tuple[type[Event], ...]] = (
        EntryWritten,
        EntryRevised,
        EntryDeleted,
        EntryRestored,
    )
    table: ClassVar[str] = "journal_daily"
    store: ClassVar[str] = "timeseries"
    row: ClassVar[type[msgspec.Struct]] = DailyRow
    key: ClassVar[tuple[str, ...]] = ("entry_id",)
    personal: ClassVar[tuple[str, ...]] = ("tags",)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The entry's stream."""
        return stream_of(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The entry."""
        return ((recorded.event.entry_id,),)  # type: ignore[attr-defined]  # all that it takes have

    def fold(
        self, key: tuple[Any, ...], row: DailyRow | None, recorded: Recorded
    ) -> DailyRow | None:
        """The row after one more event."""
        event = recorded.event
        if type(event) is EntryWritten:
            return DailyRow(
                event.entry_id,
                recorded.tenant_id,
                event.user_id,
                event.date,
                event.mood,
                event.mood_inferred or None,
                list(event.tags),
                event.word_count,
                event.is_private,
                True,
            )
        if row is None:
            raise ValueError(f"{recorded.stream_id} does not begin with EntryWritten")
        if type(event) is EntryRevised:
            return DailyRow(
                row.entry_id,
                row.tenant_id,
                row.user_id,
                row.date if event.date is UNSET else event.date,
                row.mood if event.mood is UNSET else event.mood,
                row.mood_inferred if event.mood_inferred is UNSET else event.mood_inferred,
                row.tags if event.tags is UNSET else list(event.tags),
                row.words if event.word_count is UNSET else event.word_count,
                row.is_private if event.is_private is UNSET else event.is_private,
                row.active,
            )
        return msgspec.structs.replace(row, active=type(event) is EntryRestored)
