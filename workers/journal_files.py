"""Sweeps of the files of attachments: what nobody completed, and what no entry has any more.

Owns how long bytes are kept that nobody can reach. What is kept is compared with the events, which
are the truth: an attachment that was removed keeps its bytes for a while, should somebody come to
regret it; bytes of which no event tells are left over from a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from commands.journal_attachments import Objects, Stored
from domain.event import Recorded
from domain.journal.attachment import ObjectName
from domain.journal.entry import stream_of
from domain.journal.events import (
    AttachmentAdded,
    AttachmentRemoved,
    EntryWritten,
    ThumbnailMade,
)

UPLOADED = timedelta(hours=1)
"""How long an upload is kept after its link has expired, to be completed."""
UNKNOWN = timedelta(days=1)
"""How long bytes are kept of which no event tells: they may be on their way into one."""
REMOVED = timedelta(days=30)
EVERY = timedelta(hours=6)
"""How often everything that is kept is compared with the events."""
AT_ONCE = 200
"""Objects that are compared together."""


class Uploads(Protocol):
    """The uploads that were announced."""

    async def sweep(self, before: datetime) -> int:
        """Forget those whose links expired before that time; how many."""
        ...


class Streams(Protocol):
    """Reads the event store."""

    async def read_many(self, stream_ids: Sequence[str]) -> Sequence[Recorded]:
        """All events of these streams, by stream and version."""
        ...


class FileSweeps:
    """The sweeps. ``ttl`` is how long links live."""

    def __init__(
        self,
        objects: Objects,
        uploads: Uploads,
        streams: Streams,
        ttl: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._objects = objects
        self._uploads = uploads
        self._streams = streams
        self._ttl = ttl
        self._clock = clock
        self._compared: datetime | None = None

    async def forget_uploads(self) -> int:
        """Drop uploads that nobody has completed, with whatever has come of them."""
        before = self._clock() - UPLOADED
        rows = await self._uploads.sweep(before)
        # Its link was good for so long: nothing that is older can still be coming in.
        return rows + await self._objects.drop_uploads(before - self._ttl)

    async def forget_files(self) -> int:
        """Delete bytes that have had their time, if it is time to look."""
        now = self._clock()
        if self._compared is not None and now - self._compared < EVERY:
            return 0
        self._compared = now
        return await self.compare(now)

    async def compare(self, now: datetime) -> int:
        """Delete bytes that no entry has, and none had of late; how many there were."""
        count = 0
        batch: list[Stored] = []
        async for stored in self._objects.all():
            batch.append(stored)
            if len(batch) >= AT_ONCE:
                count += await self._delete(batch, now)
                batch = []
        return count + await self._delete(batch, now)

    async def _delete(self, batch: Sequence[Stored], now: datetime) -> int:
        if not batch:
            return 0
        streams = {stream_of(stored.name.entry_id) for stored in batch}
        events: dict[str, list[Recorded]] = {stream: [] for stream in streams}
        for recorded in await self._streams.read_many(sorted(streams)):
            events[recorded.stream_id].append(recorded)
        ends = {stream: ends_of(stream_events) for stream, stream_events in events.items()}
        gone = [
            stored.name
            for stored in batch
            if _over(stored, ends[stream_of(stored.name.entry_id)], now)
        ]
        await self._objects.delete(*gone)
        return len(gone)


def _over(stored: Stored, ends: dict[tuple[UUID, UUID], datetime | None], now: datetime) -> bool:
    name: ObjectName = stored.name
    known = (name.attachment_id, name.object_id)
    if known not in ends:
        return now - stored.since > UNKNOWN
    end = ends[known]
    return end is not None and now - end > REMOVED


def ends_of(events: Sequence[Recorded]) -> dict[tuple[UUID, UUID], datetime | None]:
    """By attachment and object: when an entry lost it; None while it has it.

    A deleted entry has its attachments still, since it can be restored; one that was written anew
    has them no longer.
    """
    ends: dict[tuple[UUID, UUID], datetime | None] = {}

    def end(at: datetime, attachment_id: UUID | None = None) -> None:
        for key, ended in ends.items():
            if ended is None and attachment_id in (None, key[0]):
                ends[key] = at

    for recorded in events:
        event = recorded.event
        if isinstance(event, AttachmentAdded | ThumbnailMade):
            ends[event.attachment_id, event.object_id] = None
        elif isinstance(event, AttachmentRemoved):
            end(recorded.recorded_at, event.attachment_id)
        elif isinstance(event, EntryWritten):
            end(recorded.recorded_at)
    return ends
