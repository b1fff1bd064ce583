"""The tags of a person's entries, with counts and completion.

One row for each entry that has tags; they are counted when asked for. A count kept for each tag
would have to know an entry's tags from before its revision or deletion, which no event says.

Owns the table ``journal_tags``.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from domain.event import Event, Recorded
from domain.journal.entry import stream_of
from domain.journal.events import EntryDeleted, EntryRestored, EntryRevised, EntryWritten
from projections.engine.view import RowView
from projections.reading import Query, Reader

TAGS = Query(
    "journal_tags_page",
    """
    SELECT tag, count(*) AS uses
    FROM journal_tags, unnest(tags) AS tag
    WHERE user_id = $1 AND active AND starts_with(tag, $2)
    GROUP BY tag
    HAVING $3::bigint IS NULL OR count(*) < $3 OR (count(*) = $3 AND tag COLLATE "C" > $4)
    ORDER BY uses DESC, tag COLLATE "C"
    LIMIT $5
    """,
    ("uuid", "text", "int8", "text", "int8"),
)


class TagsRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``journal_tags``: the tags of one entry, never none."""

    entry_id: UUID
    user_id: UUID
    tags: list[str]
    active: bool


class Tag(msgspec.Struct, frozen=True):
    """A tag and how many active entries have it."""

    tag: str
    count: int


class Tags(RowView[TagsRow]):
    """The view ``journal.tags``."""

    name: ClassVar[str] = "journal.tags"
    takes: ClassVar[tuple[type[Event], ...]] = (
        EntryWritten,
        EntryRevised,
        EntryDeleted,
        EntryRestored,
    )
    table: ClassVar[str] = "journal_tags"
    row: ClassVar[type[msgspec.Struct]] = TagsRow
    key: ClassVar[tuple[str, ...]] = ("entry_id",)
    personal: ClassVar[tuple[str, ...]] = ("tags",)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The entry's stream."""
        return stream_of(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The entry."""
        return ((recorded.event.entry_id,),)  # type: ignore[attr-defined]

    def fold(self, key: tuple[Any, ...], row: TagsRow | None, recorded: Recorded) -> TagsRow | None:
        """The row after one more event; none where the entry has no tags."""
        event = recorded.event
        if isinstance(event, EntryWritten | EntryRevised):
            if event.tags is UNSET:
                return row
            if not event.tags:
                return None
            return TagsRow(event.entry_id, event.user_id, list(event.tags), True)
        if row is None:
            return None
        return msgspec.structs.replace(row, active=isinstance(event, EntryRestored))


async def tags(
    reader: Reader, user_id: UUID, *, prefix: str = "", after: Tag | None = None, limit: int
) -> tuple[list[Tag], Tag | None]:
    """A page of tags that begin with ``prefix``, most used first, then by alphabet.

    The second value is where the page ended, if there are more.
    """
    count, tag = (after.count, after.tag) if after is not None else (None, None)
    rows = await reader.rows(TAGS, user_id, prefix, count, tag, limit + 1, user_id=user_id)
    found = [Tag(row[0], row[1]) for row in rows[:limit]]
    return found, found[-1] if len(rows) > limit else None
