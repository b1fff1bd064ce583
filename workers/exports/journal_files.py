"""The files of a person's entries, for their export: each as it was uploaded.

The list of them is in ``journal/entries.json``; ``path_in_export`` says where one lies.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Protocol
from uuid import UUID

from domain.journal.attachment import ObjectName
from projections.journal.entries import (
    AttachmentDocument,
    Entries,
    EntryDocument,
    entries_with_files,
)
from projections.reading import Reader
from workers.exports.sources import Exported, File, Owner, Share

_OTHER = re.compile(r"[^\w .,()+-]")
_LONGEST = 120


class Objects(Protocol):
    """Where bytes lie."""

    async def size(self, name: ObjectName) -> int | None:
        """How many there are, None if they are not there."""
        ...

    def read(
        self, name: ObjectName, first: int = 0, count: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes in pieces."""
        ...


class JournalFiles(Exported):
    """The source."""

    def __init__(self, reader: Reader, objects: Objects) -> None:
        self._reader = reader
        self._objects = objects

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of the projections that it reads."""
        return (Entries.name,)

    async def share(self, owner: Owner) -> Share:
        """One part for each file; the bytes are read when its turn comes."""
        found = _files(await entries_with_files(self._reader, owner.user_id))
        parts = [
            File(
                path_in_export(entry, each),
                f"Attached to your entry of {entry.date}.",
                self._objects.read(name),
            )
            for entry, each in found
            if await self._objects.size(name := _name_of(owner, entry, each)) is not None
        ]
        return Share(parts=parts, size=len(parts))


def path_in_export(entry: EntryDocument, attachment: AttachmentDocument) -> str:
    """Where a file lies in the ZIP: by its entry's date, with its id, since names repeat."""
    name = _OTHER.sub("_", attachment.filename)[-_LONGEST:].strip(" .") or "file"
    return f"journal/attachments/{entry.date}/{attachment.id}/{name}"


def _files(entries: list[EntryDocument]) -> Iterator[tuple[EntryDocument, AttachmentDocument]]:
    for entry in entries:
        for each in entry.attachments:
            yield entry, each


def _name_of(owner: Owner, entry: EntryDocument, attachment: AttachmentDocument) -> ObjectName:
    # In the read model, ids stand where readers get links.
    return ObjectName(owner.user_id, entry.id, attachment.id, UUID(attachment.download_url))
