"""The entries as clients see them: one row for each, its answer rendered ahead.

``document`` is the entry's JSON as the API answers it, so that a read passes bytes through; the
columns beside it are there to find and to order by. Deleted entries keep their row, since they can
be restored, and are found by no query here.

Owns the table ``journal_entries`` and the API's shape of an entry.
"""

from __future__ import annotations

import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.event import Event, Recorded
from domain.journal.entry import Entry, State, reading_seconds, revised_fields
from domain.journal.events import (
    EntryDeleted,
    EntryRestored,
    EntryRevised,
    EntryWritten,
    Mood,
)
from projections.engine.view import RowView
from projections.reading import Query, Reader

ENTRY = Query(
    "journal_entry",
    "SELECT document, version FROM journal_entries"
    " WHERE entry_id = $1 AND user_id = $2 AND state = 'active'",
    ("uuid", "uuid"),
)

_PAGE = """
SELECT entry_id, {column}, document FROM journal_entries
WHERE user_id = $1 AND state = 'active'
  AND date >= coalesce($2, '-infinity'::date) AND date <= coalesce($3, 'infinity'::date)
  AND ($4::text IS NULL OR mood = $4) AND tags @> $5
  AND ($6::boolean IS NULL OR is_private = $6)
  AND ({column}, entry_id) {beyond} (coalesce($7, '{start}'::{type}), coalesce($8, '{id}'::uuid))
ORDER BY {column} {direction}, entry_id {direction}
LIMIT $9
"""


def _page(name: str, column: str, column_type: str, *, descending: bool) -> Query:
    sql = _PAGE.format(
        column=column,
        type=column_type,
        beyond="<" if descending else ">",
        direction="DESC" if descending else "ASC",
        # From before the first row where no cursor says otherwise, so that the condition can
        # always be found in an index.
        start="infinity" if descending else "-infinity",
        id=UUID(int=2**128 - 1 if descending else 0),
    )
    of_filters = ("uuid", "date", "date", "text", "text[]", "bool")
    return Query(name, sql, (*of_filters, column_type, "uuid", "int8"))


PAGES = {
    "-date": _page("journal_entries_by_date_desc", "date", "date", descending=True),
    "date": _page("journal_entries_by_date", "date", "date", descending=False),
    "-updated_at": _page(
        "journal_entries_by_update_desc", "updated_at", "timestamptz", descending=True
    ),
    "updated_at": _page("journal_entries_by_update", "updated_at", "timestamptz", descending=False),
}
"""The page of each order. The id breaks ties and goes the same way."""


class EntryDocument(msgspec.Struct, gc=False):
    """The API's shape of an entry, its fields in the order in which they are written."""

    id: UUID
    user_id: UUID
    date: datetime.date
    title: str
    content: str
    mood: Mood | None
    mood_inferred: Mood | None
    location: str | None
    weather: str | None
    tags: tuple[str, ...]
    is_private: bool
    word_count: int
    reading_time_seconds: int
    attachments: tuple[Any, ...]
    state: State
    version: int
    created_at: datetime.datetime
    updated_at: datetime.datetime


class EntryRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``journal_entries``; ``document`` is JSON."""

    entry_id: UUID
    user_id: UUID
    date: datetime.date
    mood: Mood | None
    tags: list[str]
    is_private: bool
    state: State
    updated_at: datetime.datetime
    version: int
    document: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(EntryDocument).decode


class Entries(RowView[EntryRow]):
    """The view ``journal.entries``."""

    name: ClassVar[str] = "journal.entries"
    takes: ClassVar[tuple[type[Event], ...]] = (
        EntryWritten,
        EntryRevised,
        EntryDeleted,
        EntryRestored,
    )
    table: ClassVar[str] = "journal_entries"
    row: ClassVar[type[msgspec.Struct]] = EntryRow
    key: ClassVar[tuple[str, ...]] = ("entry_id",)

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The entry."""
        return ((recorded.event.entry_id,),)  # type: ignore[attr-defined]

    def fold(
        self, key: tuple[Any, ...], row: EntryRow | None, recorded: Recorded
    ) -> EntryRow | None:
        """The row after one more event."""
        event, at, version = recorded.event, recorded.recorded_at, recorded.stream_version
        if type(event) is EntryWritten:
            # By position here and below: names would take as long as the encoding.
            return EntryRow(
                event.entry_id,
                event.user_id,
                event.date,
                event.mood,
                list(event.tags),
                event.is_private,
                "active",
                at,
                version,
                _encode(_document(event, "active", version, at, at)).decode(),
            )
        if row is None:
            raise ValueError(f"{recorded.stream_id} does not begin with EntryWritten")
        document = _decode(row.document)
        document.version = version
        document.updated_at = at
        if type(event) is EntryRevised:
            for name, value in revised_fields(event).items():
                setattr(document, name, value)
            document.reading_time_seconds = reading_seconds(document.word_count)
        else:
            document.state = "deleted" if type(event) is EntryDeleted else "active"
        return EntryRow(
            entry_id=row.entry_id,
            user_id=row.user_id,
            date=document.date,
            mood=document.mood,
            tags=list(document.tags),
            is_private=document.is_private,
            state=document.state,
            updated_at=at,
            version=version,
            document=_encode(document).decode(),
        )


def document_of(entry: Entry) -> EntryDocument:
    """The shape of an entry as its own stream says it is; the same as the view's."""
    return _document(entry, entry.state, entry.version, entry.created_at, entry.updated_at)


def _document(
    entry: Entry | EntryWritten,
    state: State,
    version: int,
    created_at: datetime.datetime,
    updated_at: datetime.datetime,
) -> EntryDocument:
    words = entry.word_count
    return EntryDocument(
        entry.entry_id,
        entry.user_id,
        entry.date,
        entry.title,
        entry.content,
        entry.mood,
        None,
        entry.location,
        entry.weather,
        entry.tags,
        entry.is_private,
        words,
        reading_seconds(words),
        (),
        state,
        version,
        created_at,
        updated_at,
    )


class EntryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries a list shows: both dates inclusive, all of the tags."""

    date_from: datetime.date | None = None
    date_to: datetime.date | None = None
    mood: Mood | None = None
    tags: tuple[str, ...] = ()
    is_private: bool | None = None


Keyset = tuple[datetime.date | datetime.datetime, UUID]
"""Where a page ended: the value that it is ordered by, and the id."""


async def entry(reader: Reader, user_id: UUID, entry_id: UUID) -> tuple[bytes, int] | None:
    """An entry's JSON and version, None if the person has no such active entry."""
    rows = await reader.rows(ENTRY, entry_id, user_id, user_id=user_id)
    return (rows[0][0].encode(), rows[0][1]) if rows else None


async def page(
    reader: Reader,
    user_id: UUID,
    entries: EntryFilter,
    *,
    sort: str,
    after: Keyset | None,
    limit: int,
) -> tuple[list[bytes], Keyset | None]:
    """A page of entries' JSON, and where it ended if there are more. ``sort`` is in ``PAGES``."""
    value, entry_id = after or (None, None)
    rows = await reader.rows(
        PAGES[sort],
        user_id,
        entries.date_from,
        entries.date_to,
        entries.mood,
        list(entries.tags),
        entries.is_private,
        value,
        entry_id,
        limit + 1,
        user_id=user_id,
    )
    more = len(rows) > limit
    rows = rows[:limit]
    return [row[2].encode() for row in rows], (rows[-1][1], rows[-1][0]) if more else None
