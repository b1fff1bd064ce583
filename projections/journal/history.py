"""An entry's past: its events as versions, read from its stream when asked for.

There is no table: the stream is short and is the truth. Nothing here is bound by row-level
security, so the owner is checked by whoever asks, with ``owner_of``.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.event import Recorded
from domain.journal.entry import Entry

SHOWN = (
    "date",
    "title",
    "content",
    "mood",
    "mood_inferred",
    "location",
    "weather",
    "tags",
    "is_private",
    "state",
    "attachments",
)
"""The fields that a history tells of; the others follow from these."""


class Streams(Protocol):
    """Reads the event store; ``commands.ports.EventStore`` is one."""

    async def read(self, stream_id: str, *, after: int = 0) -> Sequence[Recorded]:
        """The stream's events after that version, in order, with metadata."""
        ...


class HistoryItem(msgspec.Struct, frozen=True):
    """One version: ``type`` is the event's name, ``changes`` ``{field: {"from", "to"}}``."""

    version: int
    type: str
    at: datetime.datetime
    actor: str | None
    changes: dict[str, dict[str, Any]]


def owner_of(events: Sequence[Recorded]) -> UUID | None:
    """Whose entry this is; None where there are no events."""
    owner: UUID | None = events[0].event.user_id if events else None  # type: ignore[attr-defined]
    return owner


def history(events: Iterable[Recorded]) -> list[HistoryItem]:
    """A whole stream as versions, oldest first."""
    items: list[HistoryItem] = []
    before: Entry | None = None
    for recorded in events:
        after = Entry.evolve(before, recorded)
        items.append(
            HistoryItem(
                version=recorded.stream_version,
                type=type(recorded.event).__name__,
                at=recorded.recorded_at,
                actor=recorded.metadata.actor if recorded.metadata else None,
                changes=_changes(before, after),
            )
        )
        before = after
    return items


def as_it_was(events: Iterable[Recorded], version: int) -> Entry | None:
    """The entry at a version; None if it never had that one."""
    entry: Entry | None = None
    for recorded in events:
        entry = Entry.evolve(entry, recorded)
        if recorded.stream_version == version:
            return entry
    return None


def _changes(before: Entry | None, after: Entry) -> dict[str, dict[str, Any]]:
    changes: dict[str, dict[str, Any]] = {}
    for name in SHOWN:
        old = getattr(before, name) if before is not None else None
        new = getattr(after, name)
        if name == "attachments":
            old, new = _files(before), _files(after)
        if old != new:
            changes[name] = {"from": old, "to": new}
    return changes


def _files(entry: Entry | None) -> list[dict[str, Any]]:
    """The attachments as far as somebody chose them: a picture that a job made is no change."""
    if entry is None:
        return []
    return [
        {
            "id": each.attachment_id,
            "filename": each.filename,
            "content_type": each.content_type,
            "size_bytes": each.size_bytes,
        }
        for each in entry.attachments
    ]
