"""Which files are swept when: against the events, with time told by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from commands.journal_attachments import Stored
from domain.event import Event, Recorded
from domain.journal.attachment import ObjectName
from domain.journal.events import (
    AttachmentAdded,
    AttachmentRemoved,
    EntryDeleted,
    EntryWritten,
    ThumbnailMade,
)
from workers.journal_files import EVERY, REMOVED, UNKNOWN, UPLOADED, FileSweeps

pytestmark = pytest.mark.anyio

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(minutes=15)
USER, ENTRY = uuid7(), uuid7()
DAY = timedelta(days=1)


class Kept:
    """Objects and uploads as far as sweeps see them."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self.before: list[datetime] = []
        self.listed = 0

    async def all(self) -> AsyncIterator[Stored]:
        self.listed += 1
        for stored in list(self.stored):
            yield stored

    async def delete(self, *names: ObjectName) -> None:
        self.stored = [stored for stored in self.stored if stored.name not in names]

    async def drop_uploads(self, before: datetime) -> int:
        self.before.append(before)
        return 1

    async def sweep(self, before: datetime) -> int:
        self.before.append(before)
        return 2


class History:
    """One entry's stream."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []

    def add(self, event: Event, at: datetime) -> None:
        version = len(self.events) + 1
        self.events.append(
            Recorded(
                position=version,
                stream_id=f"journal.entry-{ENTRY}",
                stream_version=version,
                tenant_id=USER,
                recorded_at=at,
                event=event,
            )
        )

    async def read_many(self, stream_ids: object) -> list[Recorded]:
        return self.events


def written() -> EntryWritten:
    return EntryWritten(
        entry_id=ENTRY,
        user_id=USER,
        date=BEGIN.date(),
        title="t",
        content="c",
        mood=None,
        location=None,
        weather=None,
        tags=(),
        is_private=False,
        word_count=1,
    )


def added(attachment_id: UUID, object_id: UUID) -> AttachmentAdded:
    return AttachmentAdded(
        entry_id=ENTRY,
        user_id=USER,
        attachment_id=attachment_id,
        object_id=object_id,
        filename="x",
        content_type="image/png",
        size_bytes=1,
        sha256="",
    )


class House:
    def __init__(self) -> None:
        self.kept, self.history, self.now = Kept(), History(), BEGIN
        self.history.add(written(), BEGIN)
        sweeps: object = FileSweeps
        self.sweeps = sweeps(self.kept, self.kept, self.history, TTL, lambda: self.now)  # type: ignore[operator]

    def keep(self, attachment_id: UUID, object_id: UUID, since: datetime = BEGIN) -> ObjectName:
        name = ObjectName(USER, ENTRY, attachment_id, object_id)
        self.kept.stored.append(Stored(name, since))
        return name

    async def left(self, at: datetime) -> list[ObjectName]:
        await self.sweeps.compare(at)
        return [stored.name for stored in self.kept.stored]


async def test_what_an_entry_has_stays_and_what_no_event_tells_of_goes_after_a_day() -> None:
    house = House()
    attachment_id, file, small, lost = (uuid7() for _ in range(4))
    house.history.add(added(attachment_id, file), BEGIN)
    house.history.add(
        ThumbnailMade(entry_id=ENTRY, user_id=USER, attachment_id=attachment_id, object_id=small),
        BEGIN,
    )
    kept = [house.keep(attachment_id, each) for each in (file, small)]
    orphan = house.keep(attachment_id, lost)
    assert await house.left(BEGIN + UNKNOWN) == [*kept, orphan]
    assert await house.left(BEGIN + UNKNOWN + timedelta(seconds=1)) == kept
    house.history.add(EntryDeleted(entry_id=ENTRY, user_id=USER, date=BEGIN.date()), BEGIN + DAY)
    assert await house.left(BEGIN + 400 * DAY) == kept  # it can be restored


@pytest.mark.parametrize("how", ["removed", "written anew"])
async def test_what_an_entry_lost_goes_after_thirty_days(how: str) -> None:
    house = House()
    attachment_id, file, other_id, other = (uuid7() for _ in range(4))
    house.history.add(added(attachment_id, file), BEGIN)
    name = house.keep(attachment_id, file)
    lost_at = BEGIN + 100 * DAY
    if how == "removed":
        removed = AttachmentRemoved(entry_id=ENTRY, user_id=USER, attachment_id=attachment_id)
        house.history.add(removed, lost_at)
    else:
        house.history.add(EntryDeleted(entry_id=ENTRY, user_id=USER, date=BEGIN.date()), BEGIN)
        house.history.add(written(), lost_at)
    house.history.add(added(other_id, other), lost_at)
    stays = house.keep(other_id, other, lost_at)
    assert await house.left(lost_at + REMOVED) == [name, stays]
    assert await house.left(lost_at + REMOVED + timedelta(seconds=1)) == [stays]


async def test_everything_is_compared_now_and_then_and_uploads_are_swept_each_time() -> None:
    house = House()
    await house.sweeps.forget_files()
    await house.sweeps.forget_files()
    assert house.kept.listed == 1
    house.now += EVERY
    await house.sweeps.forget_files()
    assert house.kept.listed == 2
    assert await house.sweeps.forget_uploads() == 3
    assert house.kept.before == [house.now - UPLOADED, house.now - UPLOADED - TTL]
