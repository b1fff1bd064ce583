"""The entries as clients see them: one row for each, its answer rendered ahead.

``document`` is the entry's JSON as the API answers it, so that a read passes bytes through; the
columns beside it are there to find and to order by. Deleted entries keep their row, since they can
be restored, and are found by no query for the API. Where a document has URLs of files, the ids of
their bytes stand instead: links are made for whoever reads it (``with_urls``).

Owns the table ``journal_entries`` and the API's shape of an entry.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal, cast
from uuid import UUID

import msgspec

from domain.event import Event, Recorded
from domain.journal.attachment import Attachment, ContentType
from domain.journal.entry import (
    Entry,
    State,
    attachment_of,
    reading_seconds,
    revised_fields,
    stream_of,
)
from domain.journal.events import (
    AttachmentAdded,
    AttachmentRemoved,
    EntryDeleted,
    EntryRestored,
    EntryRevised,
    EntryWritten,
    Mood,
    ThumbnailMade,
)
from projections.engine.view import RowView
from projections.reading import Query, Reader

ENTRY = Query(
    "journal_entry",
    "SELECT document, version FROM journal_entries"
    " WHERE entry_id = $1 AND user_id = $2 AND state = 'active'",
    ("uuid", "uuid"),
)
# One value, so that all ids are of one moment and 100,000 of them take 1.6 MB.
ENTRY_IDS = Query(
    "journal_entry_ids",
    "SELECT string_agg(uuid_send(entry_id), ''::bytea ORDER BY date, entry_id)"
    " FROM journal_entries WHERE user_id = $1",
    ("uuid",),
)
# For an export: of those with attachments there are few, and an export reads all entries anyway.
ENTRIES_WITH_FILES = Query(
    "journal_entries_with_files",
    "SELECT document FROM journal_entries WHERE user_id = $1"
    """ AND position('"attachments":[]' IN document) = 0 ORDER BY date, entry_id""",
    ("uuid",),
)

_PAGE = """
SELECT entry_id, {column}, document FROM journal_entries
WHERE {conditions}
ORDER BY {column} {direction}, entry_id {direction}
LIMIT {limit}
"""

# Each filter that a list may have: its condition, and the type of its parameter.
_FILTERS = (
    ("date_from", "date >= {}", "date"),
    ("date_to", "date <= {}", "date"),
    ("mood", "mood = {}", "text"),
    ("tags", "tags @> {}", "text[]"),
    ("is_private", "is_private = {}", "bool"),
)
_ORDERS = {"date": "date", "updated_at": "timestamptz"}
SORTS = ("date", "-date", "updated_at", "-updated_at")
"""The orders of a list. The id breaks ties and goes the same way."""


@cache
def page_query(sort: str, filters: tuple[str, ...], *, goes_on: bool) -> Query:
    """The page in this order, with these filters in the order of ``_FILTERS``.

    One statement for each combination that is asked for: conditions that apply only at times would
    keep PostgreSQL from reading a page off the index. The parameters are the user, the filters,
    the limit and, where the list ``goes_on`` from a cursor, the value and the id that it names.
    """
    column = sort.removeprefix("-")
    descending = sort.startswith("-")
    types = ["uuid"]
    conditions = ["user_id = $1", "state = 'active'"]
    for name, condition, kind in _FILTERS:
        if name in filters:
            types.append(kind)
            conditions.append(condition.format(f"${len(types)}"))
    types.append("int8")
    limit = f"${len(types)}"
    if goes_on:
        types += [_ORDERS[column], "uuid"]
        beyond = "<" if descending else ">"
        conditions.append(f"({column}, entry_id) {beyond} (${len(types) - 1}, ${len(types)})")
    sql = _PAGE.format(
        column=column,
        conditions=" AND ".join(conditions),
        direction="DESC" if descending else "ASC",
        limit=limit,
    )
    return Query("_".join(("journal_page", sort, *filters, str(goes_on))), sql, tuple(types))


class AttachmentDocument(msgspec.Struct, frozen=True, gc=False):
    """The API's shape of an attachment; an entry's and its own are the same.

    The URLs are presigned and work for a while without a login. ``thumbnail_url`` is null until
    there is a picture, and for files that are no images.
    """

    id: UUID
    filename: str
    content_type: ContentType
    size_bytes: int
    sha256: str
    state: Literal["ready"]
    download_url: str
    thumbnail_url: str | None
    version: int


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
    attachments: tuple[AttachmentDocument, ...]
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
    document: bytes


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(EntryDocument).decode
_decode_page = msgspec.json.Decoder(list[EntryDocument]).decode


class Entries(RowView[EntryRow]):
    """The view ``journal.entries``."""

    name: ClassVar[str] = "journal.entries"
    takes: ClassVar[tuple[type[Event], ...]] = (
        EntryWritten,
        EntryRevised,
        EntryDeleted,
        EntryRestored,
        AttachmentAdded,
        AttachmentRemoved,
        ThumbnailMade,
    )
    table: ClassVar[str] = "journal_entries"
    row: ClassVar[type[msgspec.Struct]] = EntryRow
    key: ClassVar[tuple[str, ...]] = ("entry_id",)
    personal: ClassVar[tuple[str, ...]] = ("document", "tags")

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The entry's stream."""
        return stream_of(key[0])

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
                _encode(_document(event, "active", version, at, at)),
            )
        if row is None:
            raise ValueError(f"{recorded.stream_id} does not begin with EntryWritten")
        document = _decode(row.document)
        document.version = version
        if type(event) is ThumbnailMade:
            document.attachments = tuple(_pictured(it, event) for it in document.attachments)
            at = document.updated_at  # nobody has changed anything
        document.updated_at = at
        if type(event) is EntryRevised:
            for name, value in revised_fields(event).items():
                setattr(document, name, value)
            document.reading_time_seconds = reading_seconds(document.word_count)
        elif type(event) is AttachmentAdded:
            added = attachment_document(attachment_of(event))
            document.attachments = (*document.attachments, added)
        elif type(event) is AttachmentRemoved:
            gone = event.attachment_id
            document.attachments = tuple(it for it in document.attachments if it.id != gone)
        elif type(event) is EntryDeleted:
            document.state = "deleted"
        elif type(event) is EntryRestored:
            document.state = "active"
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
            document=_encode(document),
        )


def document_of(entry: Entry) -> EntryDocument:
    """The shape of an entry as its own stream says it is; the same as the view's."""
    document = _document(entry, entry.state, entry.version, entry.created_at, entry.updated_at)
    if entry.attachments:
        document.attachments = tuple(map(attachment_document, entry.attachments))
    return document


def attachment_document(attachment: Attachment) -> AttachmentDocument:
    """The shape of an attachment, with the ids of bytes in place of URLs."""
    picture = attachment.thumbnail_id
    return AttachmentDocument(
        attachment.attachment_id,
        attachment.filename,
        cast("ContentType", attachment.content_type),
        attachment.size_bytes,
        attachment.sha256,
        "ready",
        str(attachment.object_id),
        None if picture is None else str(picture),
        attachment.version,
    )


def _pictured(attachment: AttachmentDocument, event: ThumbnailMade) -> AttachmentDocument:
    if attachment.id != event.attachment_id:
        return attachment
    picture, version = str(event.object_id), attachment.version + 1
    return msgspec.structs.replace(attachment, thumbnail_url=picture, version=version)


def has_files(text: bytes) -> bool:
    """Whether JSON of one entry or of many lists attachments; in a text quotes are escaped."""
    return b'"attachments":[{' in text


ToUrls = Callable[[EntryDocument, AttachmentDocument], AttachmentDocument]
"""Makes URLs of the ids that stand for them."""


def with_urls(entry: bytes, to_urls: ToUrls) -> bytes:
    """An entry's JSON with the URLs of its files."""
    return _encode(_linked(_decode(entry), to_urls))


def page_with_urls(page: bytes, to_urls: ToUrls) -> bytes:
    """A JSON array of entries with the URLs of their files."""
    return _encode([_linked(entry, to_urls) for entry in _decode_page(page)])


def _linked(entry: EntryDocument, to_urls: ToUrls) -> EntryDocument:
    entry.attachments = tuple(to_urls(entry, each) for each in entry.attachments)
    return entry


def attachment_in(document: bytes, attachment_id: UUID) -> AttachmentDocument | None:
    """An attachment out of its entry's JSON, with ids for URLs; None if it has no such file."""
    return next((each for each in _decode(document).attachments if each.id == attachment_id), None)


async def entries_with_files(reader: Reader, user_id: UUID) -> list[EntryDocument]:
    """All entries that have attachments, by date, deleted ones too."""
    rows = await reader.rows(ENTRIES_WITH_FILES, user_id, user_id=user_id)
    return [_decode(row[0]) for row in rows]


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
        entry.mood_inferred or None,
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


async def entry_ids(reader: Reader, user_id: UUID) -> bytes:
    """The ids of all entries by date, deleted ones too: 16 bytes each, one after the other."""
    [[packed]] = await reader.rows(ENTRY_IDS, user_id, user_id=user_id)
    return packed or b""


async def page(
    reader: Reader,
    user_id: UUID,
    entries: EntryFilter,
    *,
    sort: str,
    after: Keyset | None,
    limit: int,
) -> tuple[list[bytes], Keyset | None]:
    """A page of entries' JSON, and where it ended if there are more. ``sort`` is in ``SORTS``."""
    given: dict[str, Any] = {
        name: value
        for name, _, _ in _FILTERS
        if (value := getattr(entries, name)) is not None and value != ()
    }
    query = page_query(sort, tuple(given), goes_on=after is not None)
    values = (list(value) if isinstance(value, tuple) else value for value in given.values())
    rows = await reader.rows(query, user_id, *values, limit + 1, *(after or ()), user_id=user_id)
    more = len(rows) > limit
    rows = rows[:limit]
    return [row[2].encode() for row in rows], (rows[-1][1], rows[-1][0]) if more else None
