"""What the journal knows of a person: every entry with every version of it, and the tags.

Entries are folded from their own streams, the deleted ones too; the read model tells which, and its
quarantine which are missing there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import msgspec

from domain.journal.entry import Entry, stream_of
from projections.journal.entries import Entries, EntryDocument, document_of, entry_ids
from projections.journal.history import HistoryItem, history
from projections.journal.tags import Tag, Tags, tags
from projections.reading import Reader
from workers.exports.journal_files import path_in_export
from workers.exports.sources import (
    Exported,
    Listing,
    Owner,
    Share,
    Streams,
    streams_of,
    uuids,
    with_left_out,
)

_TAGS = 500
"""Tags that are read together."""


class ExportedEntry(msgspec.Struct, frozen=True):
    """An entry as the API shows it, and its versions as its history shows them."""

    entry: EntryDocument
    history: list[HistoryItem]


class Journal(Exported):
    """The source."""

    def __init__(self, reader: Reader, streams: Streams) -> None:
        self._reader = reader
        self._streams = streams

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of the projections that it reads."""
        return (Entries.name, Tags.name)

    async def share(self, owner: Owner) -> Share:
        """The diary."""
        ids = await entry_ids(self._reader, owner.user_id)
        streams = await with_left_out(
            self._reader, owner, Entries.name, lambda: map(stream_of, uuids(ids))
        )
        return Share(
            parts=(
                Listing(
                    "journal/entries.json",
                    "Your entries by date, deleted ones too, each with every version that it had."
                    " The download_url of an attachment is its path in here.",
                    self._entries(owner, streams()),
                ),
                Listing(
                    "journal/tags.json",
                    "The tags of your entries and how many have each, most used first.",
                    self._tags(owner),
                ),
            ),
            streams=streams(),
            size=len(ids) // 16,
        )

    async def _entries(self, owner: Owner, streams: Iterable[str]) -> AsyncIterator[ExportedEntry]:
        async for events in streams_of(owner, self._streams, streams):
            entry: Entry | None = None
            for recorded in events:
                entry = Entry.evolve(entry, recorded)
            if entry is not None:
                yield ExportedEntry(_with_paths(document_of(entry)), history(events))

    async def _tags(self, owner: Owner) -> AsyncIterator[Tag]:
        after: Tag | None = None
        while True:
            page, after = await tags(self._reader, owner.user_id, after=after, limit=_TAGS)
            for tag in page:
                yield tag
            if after is None:
                return


def _with_paths(entry: EntryDocument) -> EntryDocument:
    """The entry with paths in this file in the place of links, which would expire."""
    entry.attachments = tuple(
        msgspec.structs.replace(each, download_url=path_in_export(entry, each), thumbnail_url=None)
        for each in entry.attachments
    )
    return entry
