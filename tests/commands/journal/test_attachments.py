"""Uploads and attachments, whatever is done in whichever order: files and events agree."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from uuid_utils.compat import uuid7

from adapters.inspection import Inspector
from adapters.objects.folder import FolderObjects
from commands.bus import Bus
from commands.journal import DeleteEntry, RestoreEntry, ReviseEntry, WriteEntry
from commands.journal_attachments import AddThumbnail, Attaching, RemoveAttachment
from commands.ports import Context
from domain.errors import NotFound, Stale
from domain.journal.attachment import Mismatched, NewAttachment, NotUploaded, Upload
from domain.journal.entry import Changes, Draft, Entry, stream_of
from tests.support.memory_store import MemoryEventStore
from tests.support.pictures import FILES, HTML
from workers.journal_files import FileSweeps

USER, ENTRY = uuid7(), uuid7()
PNG = FILES["image/png"]
CONTENTS = {"png": PNG, "gif": FILES["image/gif"], "html": HTML, "half": PNG[: len(PNG) // 2]}
KEY = AESGCM(bytes(32))


class MemoryUploads:
    """``Uploads`` in a dict."""

    def __init__(self) -> None:
        self.rows: dict[UUID, tuple[Upload, datetime]] = {}

    async def announce(self, upload: Upload, expires_at: datetime) -> None:
        self.rows[upload.attachment_id] = upload, expires_at

    async def find(self, attachment_id: UUID, entry_id: UUID, user_id: UUID) -> Upload | None:
        upload, _ = self.rows.get(attachment_id, (None, None))
        same = upload and (upload.entry_id, upload.user_id) == (entry_id, user_id)
        return upload if same else None

    async def forget(self, attachment_id: UUID) -> None:
        self.rows.pop(attachment_id, None)

    async def sweep(self, before: datetime) -> int:
        old = [key for key, (_, until) in self.rows.items() if until < before]
        for key in old:
            del self.rows[key]
        return len(old)


class ReadMany(MemoryEventStore):
    async def read_many(self, stream_ids: Any) -> list[Any]:
        return [event for event in self.events if event.stream_id in stream_ids]


class Attachments(RuleBasedStateMachine):
    """A person, one entry, and any number of files; the model is a dict."""

    pending = Bundle("pending")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = datetime.now(UTC)
        self.store, self.uploads = ReadMany(), MemoryUploads()
        self.bus = Bus(self.store)

        async def cipher(user_id: UUID) -> AESGCM:
            return KEY

        self.objects = FolderObjects(Path(self.folder.name), cipher)
        self.attaching = Attaching(
            store=self.store,
            dispatch=self.bus.dispatch,
            uploads=self.uploads,
            objects=self.objects,
            inspector=Inspector(),
            new_id=uuid7,
        )
        self.declared: dict[UUID, bytes] = {}
        self.sent: dict[UUID, bytes] = {}
        self.ready: dict[UUID, bytes] = {}
        self.active = True
        self.loop = asyncio.new_event_loop()
        self.do(WriteEntry(ENTRY, Draft(date=date(2026, 1, 1), title="t", content="c")))

    def teardown(self) -> None:
        self.loop.close()
        self.folder.cleanup()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @property
    def context(self) -> Context:
        return Context(user_id=USER, tenant_id=USER, actor="user", now=self.now, correlation_id="r")

    def do(self, command: object) -> Any:
        return self.run(self.bus.dispatch(command, self.context)).result

    def refused(self, kind: type[Exception], work: Any) -> None:
        try:
            self.run(work)
        except kind:
            return
        raise AssertionError(f"{kind.__name__} was not raised")

    @rule(target=pending, kind=st.sampled_from(["png", "png", "html", "half"]))
    def announce(self, kind: str) -> Any:
        attachment_id, content = uuid7(), CONTENTS[kind]
        declared = NewAttachment(
            filename=f"{kind}.png", content_type="image/png", size_bytes=len(content)
        )
        upload = Upload(
            user_id=USER, entry_id=ENTRY, attachment_id=attachment_id, declared=declared
        )
        until = self.now + timedelta(minutes=15)
        work = self.attaching.announce(upload, until, self.context)
        if not self.active:
            self.refused(NotFound, work)
            return multiple()
        self.run(work)
        self.declared[attachment_id] = content
        return attachment_id

    @rule(attachment_id=pending, other=st.none() | st.sampled_from(sorted(CONTENTS)))
    def send(self, attachment_id: UUID, other: str | None) -> None:
        content = self.declared.get(attachment_id, b"") if other is None else CONTENTS[other]

        async def pieces() -> AsyncIterator[bytes]:
            yield content

        async def sending() -> None:
            upload = await self.attaching.open_upload(attachment_id, ENTRY, USER)
            await self.attaching.receive(upload, pieces())

        if not self.active or attachment_id not in self.declared:
            self.refused(NotFound, sending())
        else:
            self.run(sending())
            self.sent[attachment_id] = content

    @rule(attachment_id=pending)
    def complete(self, attachment_id: UUID) -> None:
        work = self.attaching.complete(attachment_id, ENTRY, self.context)
        if not self.active:
            self.refused(NotFound, work)
        elif attachment_id in self.ready:
            assert self.run(work).result.sha256 == sha(self.ready[attachment_id])
        elif attachment_id not in self.declared:
            self.refused(NotFound, work)
        elif attachment_id not in self.sent:
            self.refused(NotUploaded, work)
        elif self.sent[attachment_id] == self.declared[attachment_id] == PNG:
            assert self.run(work).result.size_bytes == len(PNG)
            self.ready[attachment_id] = self.sent.pop(attachment_id)
            del self.declared[attachment_id]
        else:
            self.refused(Mismatched, work)
            del self.declared[attachment_id], self.sent[attachment_id]

    @rule(attachment_id=pending, version=st.sampled_from([None, 1, 9]))
    def remove(self, attachment_id: UUID, version: int | None) -> None:
        work = self.bus.dispatch(RemoveAttachment(ENTRY, attachment_id, version), self.context)
        if not self.active or attachment_id not in self.ready:
            self.refused(NotFound, work)
        elif version == 9:
            self.refused(Stale, work)
        else:
            self.run(work)
            del self.ready[attachment_id]

    @rule(attachment_id=pending)
    def picture(self, attachment_id: UUID) -> None:
        """What was decided on the version before it still holds."""
        before = self.entry
        self.do(AddThumbnail(ENTRY, attachment_id, uuid7()))
        if self.active:
            self.do(ReviseEntry(ENTRY, before.version, Changes(title=str(uuid7()))))

    @rule()
    def delete_or_restore(self) -> None:
        self.do(DeleteEntry(ENTRY, None) if self.active else RestoreEntry(ENTRY))
        self.active = not self.active

    @rule(days=st.sampled_from([0, 2, 40]))
    def time_passes(self, days: int) -> None:
        """Sweeps take what nobody can reach, and nothing else."""
        self.now += timedelta(days=days)
        sweeps = FileSweeps(
            self.objects, self.uploads, self.store, timedelta(minutes=15), lambda: self.now
        )
        self.run(sweeps.forget_uploads())
        self.run(sweeps.forget_files())
        if days:
            self.declared.clear()
            self.sent.clear()
            kept = {stored.name.attachment_id for stored in self.run(self.all_kept())}
            if days == 40:
                lost_just_now = {
                    event.event.attachment_id
                    for event in self.store.events
                    if type(event.event).__name__ == "AttachmentRemoved"
                    and self.now - event.recorded_at <= timedelta(days=30)
                }
                assert kept <= set(self.ready) | lost_just_now

    async def all_kept(self) -> list[Any]:
        return [stored async for stored in self.objects.all()]

    @property
    def entry(self) -> Entry:
        entry: Entry | None = self.run(self.store.load(Entry, stream_of(ENTRY)))
        assert entry is not None
        return entry

    @invariant()
    def the_entry_has_what_was_found_good(self) -> None:
        listed = {each.attachment_id: each for each in self.entry.attachments}
        assert set(listed) == set(self.ready)
        for attachment_id, attachment in listed.items():
            upload = Upload(
                user_id=USER,
                entry_id=ENTRY,
                attachment_id=attachment_id,
                declared=NewAttachment(filename="x", content_type="image/png", size_bytes=1),
            )
            content = self.run(self.whole(upload.named(attachment.object_id)))
            assert content == self.ready[attachment_id]
            assert attachment.sha256 == sha(content)

    async def whole(self, name: Any) -> bytes:
        return b"".join([piece async for piece in self.objects.read(name)])


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


Attachments.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestAttachments = Attachments.TestCase
