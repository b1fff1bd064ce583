"""Decisions on the attachments of an entry: given what happened, when, then."""

from __future__ import annotations

import datetime
from uuid import UUID

import pytest

from domain.event import Event
from domain.journal.attachment import (
    MAX_ATTACHMENTS,
    Attachment,
    Measured,
    NewAttachment,
    TooManyAttachments,
    mismatches,
)
from domain.journal.entry import Draft, Entry
from domain.journal.events import AttachmentAdded, AttachmentRemoved, EntryDeleted, ThumbnailMade

ENTRY, USER, FILE = UUID(int=1), UUID(int=2), UUID(int=3)
NOW = datetime.datetime(2026, 3, 1, 20, tzinfo=datetime.UTC)
WRITTEN = Entry.write(ENTRY, USER, Draft(date=NOW.date(), title="t", content="c"))
REMOVED = AttachmentRemoved(entry_id=ENTRY, user_id=USER, attachment_id=FILE)
PICTURED = ThumbnailMade(entry_id=ENTRY, user_id=USER, attachment_id=FILE, object_id=UUID(int=9))


def file(attachment_id: UUID = FILE) -> Attachment:
    return Attachment(
        attachment_id=attachment_id,
        object_id=UUID(int=4),
        filename="x.png",
        content_type="image/png",
        size_bytes=1,
        sha256="0" * 64,
    )


def added(attachment_id: UUID = FILE) -> AttachmentAdded:
    event = given_events(WRITTEN).attach(file(attachment_id))
    assert event is not None
    return event


def given_events(*events: Event) -> Entry:
    entry: Entry | None = None
    for version, event in enumerate(events, 1):
        entry = Entry.after(entry, event, version, NOW + datetime.timedelta(hours=version))
    assert entry is not None
    return entry


def test_a_file_is_added_once() -> None:
    entry = given_events(WRITTEN, added())
    assert entry.attachments == (file(),)
    assert (entry.version, entry.decided_on) == (2, 2)
    assert entry.attach(file()) is None


def test_a_picture_is_no_decision_of_a_person() -> None:
    entry = given_events(WRITTEN, added(), added(UUID(int=5)), PICTURED)
    pictured, other = entry.attachments
    assert (pictured.thumbnail_id, pictured.version) == (PICTURED.object_id, 2)
    assert (other.thumbnail_id, other.version) == (None, 1)
    assert (entry.version, entry.decided_on) == (4, 3)
    assert entry.updated_at == given_events(WRITTEN, added(), added(UUID(int=5))).updated_at
    assert entry.picture(FILE, UUID(int=8)) is None
    assert entry.picture(UUID(int=77), UUID(int=8)) is None


def test_a_file_is_removed_once() -> None:
    entry = given_events(WRITTEN, added())
    assert entry.detach(FILE) == REMOVED
    gone = given_events(WRITTEN, added(), REMOVED)
    assert gone.attachments == ()
    assert gone.detach(FILE) is None
    # A picture that comes late finds nothing to belong to.
    assert given_events(WRITTEN, added(), REMOVED, PICTURED).attachments == ()


def test_an_entry_that_begins_again_has_no_files() -> None:
    deleted = EntryDeleted(entry_id=ENTRY, user_id=USER, date=NOW.date())
    assert given_events(WRITTEN, added(), deleted).attachments == (file(),)
    assert given_events(WRITTEN, added(), deleted, WRITTEN).attachments == ()


def test_there_is_an_end_to_it() -> None:
    many = [added(UUID(int=100 + number)) for number in range(MAX_ATTACHMENTS)]
    entry = given_events(WRITTEN, *many)
    with pytest.raises(TooManyAttachments):
        entry.attach(file())


def test_nothing_happens_to_an_entry_before_it_is_written() -> None:
    for event in (added(), PICTURED, REMOVED):
        with pytest.raises(TypeError):
            given_events(event)


@pytest.mark.parametrize(
    ("size", "sha256", "kind", "codes"),
    [
        (3, "a" * 64, "image/png", []),
        (2, "a" * 64, "image/png", ["SIZE_MISMATCH"]),
        (3, "b" * 64, "image/png", ["CHECKSUM_MISMATCH"]),
        (3, "a" * 64, "image/gif", ["CONTENT_TYPE_MISMATCH"]),
        (9, "b" * 64, "x/y", ["SIZE_MISMATCH", "CHECKSUM_MISMATCH", "CONTENT_TYPE_MISMATCH"]),
    ],
)
def test_what_was_announced_is_compared(
    size: int, sha256: str, kind: str, codes: list[str]
) -> None:
    declared = NewAttachment(filename="x", content_type="image/png", size_bytes=3, sha256="A" * 64)
    found = Measured(size_bytes=size, sha256=sha256, content_type=kind)
    assert [each.code for each in mismatches(declared, found)] == codes
    if codes == ["CHECKSUM_MISMATCH"]:
        unsummed = NewAttachment(filename="x", content_type="image/png", size_bytes=3)
        assert mismatches(unsummed, found) == ()
