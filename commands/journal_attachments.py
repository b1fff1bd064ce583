"""Commands on the attachments of entries, and how an upload becomes one.

Owns the order of things: bytes are kept under a name that no link reaches, only then looked at, and
only what was found good is appended. So nobody can change them between the look and the event.
Whatever fails on the way leaves the upload as it was, to be completed again, but for bytes that are
not what was announced: those are dropped.

Errors, besides those of ``commands.journal``::

    NotFound             no such attachment or upload
    NotUploaded          no bytes have come yet
    Mismatched           other bytes came than were announced
    TooManyAttachments   the entry has no room for another
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from commands.bus import Outcome, handles
from commands.journal import ATTEMPTS, find_entry
from commands.ports import Append, Context, EventStore, VersionConflict
from domain.errors import DomainError, NotFound, Stale
from domain.journal.attachment import (
    Attachment,
    Measured,
    Mismatched,
    NotUploaded,
    ObjectName,
    Upload,
    mismatches,
)
from domain.journal.entry import stream_of


class Stored(msgspec.Struct, frozen=True):
    """Bytes that are kept, and since when."""

    name: ObjectName
    since: datetime


class ObjectGone(Exception):
    """There are no such bytes, or nobody can read them any more."""


class ObjectsUnavailable(Exception):
    """Where the bytes lie does not answer, or refuses what we may not do."""


class Objects(Protocol):
    """Keeps bytes by name, and what is being uploaded apart from them. Kept bytes never change.

    ``adapters/objects/`` has it in a folder and on S3; one contract suite runs on both. Any call
    raises ``ObjectsUnavailable`` where the store does not answer.
    """

    async def receive(self, upload: Upload, pieces: AsyncIterator[bytes]) -> None:
        """Take in an upload, in place of an earlier one; nothing is left of it if this fails.

        Raises:
            ObjectGone: the person was erased.
            Exception: what ``pieces`` raises.
        """
        ...

    async def keep(self, upload: Upload, name: ObjectName) -> bool:
        """Keep what has been uploaded under a name, and the upload as well; False without one."""
        ...

    async def put(self, name: ObjectName, data: bytes) -> None:
        """Keep bytes.

        Raises:
            ObjectGone: the person was erased.
        """
        ...

    async def size(self, name: ObjectName) -> int | None:
        """How many bytes there are under this name, None if it is not there."""
        ...

    def read(
        self, name: ObjectName, first: int = 0, count: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes in pieces: ``count`` of them from ``first`` on, or all that follow.

        Raises:
            ObjectGone: there are none to be read.
        """
        ...

    async def delete(self, *names: ObjectName) -> None:
        """Forget bytes; it is no error if they are not there."""
        ...

    async def drop(self, upload: Upload) -> None:
        """Forget what has been uploaded, if anything has."""
        ...

    async def drop_uploads(self, before: datetime) -> int:
        """Forget whatever was uploaded before that time, parts too; how many there were."""
        ...

    async def erase(self, user_id: UUID) -> int:
        """Forget everything of a person, uploads too; how many there were."""
        ...

    def all(self) -> AsyncIterator[Stored]:
        """Everything that is kept, uploads left out; of one entry all together."""
        ...


class Uploads(Protocol):
    """The uploads that were announced; ``adapters.uploads.PostgresUploads`` has them."""

    async def announce(self, upload: Upload, expires_at: datetime) -> None:
        """Remember it until it is completed or swept."""
        ...

    async def find(self, attachment_id: UUID, entry_id: UUID, user_id: UUID) -> Upload | None:
        """The upload of this person to this entry."""
        ...

    async def forget(self, attachment_id: UUID) -> None:
        """It is completed or refused."""
        ...


class Inspecting(Protocol):
    """Looks into bytes; ``adapters.inspection.Inspector`` does."""

    async def measure(self, pieces: AsyncIterator[bytes]) -> Measured:
        """Size, SHA-256, and what kind of file it is."""
        ...


class AddAttachment(msgspec.Struct, frozen=True):
    """Add a file that was found good; one that is there stays as it is."""

    entry_id: UUID
    attachment: Attachment


class RemoveAttachment(msgspec.Struct, frozen=True):
    """Remove a file; ``expected_version`` None means whichever there is."""

    entry_id: UUID
    attachment_id: UUID
    expected_version: int | None


class AddThumbnail(msgspec.Struct, frozen=True):
    """Add the small picture of a file, if that is there and has none."""

    entry_id: UUID
    attachment_id: UUID
    object_id: UUID


@handles(AddAttachment)
async def add_attachment(
    command: AddAttachment, context: Context, store: EventStore
) -> Outcome[Attachment]:
    """Add the file; of two who complete one upload, one does."""
    stream = stream_of(command.entry_id)
    for _ in range(ATTEMPTS):
        entry = await find_entry(command.entry_id, context.user_id, store)
        event = entry.attach(command.attachment)
        appends = () if event is None else (Append(stream, entry.version, (event,)),)
        found = entry.attachment(command.attachment.attachment_id) or command.attachment
        try:
            committed = await store.append(context, *appends, result=found)
        except VersionConflict:
            continue
        return Outcome(found, committed.position)
    raise VersionConflict(stream)


@handles(RemoveAttachment)
async def remove_attachment(
    command: RemoveAttachment, context: Context, store: EventStore
) -> Outcome[Attachment]:
    """Remove the file from its entry; its bytes stay for a while."""
    stream = stream_of(command.entry_id)
    for _ in range(ATTEMPTS):
        entry = await find_entry(command.entry_id, context.user_id, store)
        event = entry.detach(command.attachment_id)
        found = entry.attachment(command.attachment_id)
        if event is None or found is None:
            raise NotFound("attachment")
        expected = command.expected_version
        # Every version is as good as the current one: what came after the first, a job added.
        if expected is not None and not 1 <= expected <= found.version:
            raise Stale(expected, found.version)
        try:
            committed = await store.append(
                context, Append(stream, entry.version, (event,)), result=found
            )
        except VersionConflict:
            continue
        return Outcome(found, committed.position)
    raise VersionConflict(stream)


@handles(AddThumbnail)
async def add_thumbnail(
    command: AddThumbnail, context: Context, store: EventStore
) -> Outcome[bool]:
    """Add the picture, whatever the state of the entry; whether it was wanted."""
    stream = stream_of(command.entry_id)
    for _ in range(ATTEMPTS):
        entry = await find_entry(command.entry_id, context.user_id, store, deleted_too=True)
        event = entry.picture(command.attachment_id, command.object_id)
        appends = () if event is None else (Append(stream, entry.version, (event,)),)
        try:
            committed = await store.append(context, *appends)
        except VersionConflict:
            continue
        return Outcome(event is not None, committed.position)
    raise VersionConflict(stream)


class Attaching:
    """What needs more than the event store: announcing an upload, and completing it.

    ``dispatch`` is the bus's; ``new_id`` draws ids (UUIDv7).
    """

    def __init__(
        self,
        *,
        store: EventStore,
        dispatch: Callable[[AddAttachment, Context], Awaitable[Outcome[Attachment]]],
        uploads: Uploads,
        objects: Objects,
        inspector: Inspecting,
        new_id: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._uploads = uploads
        self._objects = objects
        self._inspector = inspector
        self._new_id = new_id

    async def announce(
        self, upload: Upload, expires_at: datetime, context: Context
    ) -> Outcome[Upload]:
        """Remember the upload, and the answer of whoever asked with an idempotency key."""
        entry = await find_entry(upload.entry_id, upload.user_id, self._store)
        entry.check_room()
        await self._uploads.announce(upload, expires_at)
        committed = await self._store.append(context, result=upload)
        return Outcome(upload, committed.position)

    async def open_upload(self, attachment_id: UUID, entry_id: UUID, user_id: UUID) -> Upload:
        """The upload that waits for its bytes.

        Raises:
            NotFound: there is none (any more), or its entry is gone.
        """
        await find_entry(entry_id, user_id, self._store)
        upload = await self._uploads.find(attachment_id, entry_id, user_id)
        if upload is None:
            raise NotFound("upload")
        return upload

    async def receive(self, upload: Upload, pieces: AsyncIterator[bytes]) -> None:
        """Take in its bytes; what was completed or swept meanwhile takes none.

        Raises:
            NotFound: as above.
            Exception: what ``pieces`` raises.
        """
        try:
            await self._objects.receive(upload, pieces)
        except ObjectGone:
            raise NotFound("upload") from None

    async def entry_is_there(self, entry_id: UUID, user_id: UUID) -> None:
        """Return if there is such an entry.

        Raises:
            NotFound: there is not.
        """
        await find_entry(entry_id, user_id, self._store)

    async def ready(self, attachment_id: UUID, entry_id: UUID, user_id: UUID) -> None:
        """Return if there is such an attachment.

        Raises:
            NotFound: there is not.
        """
        entry = await find_entry(entry_id, user_id, self._store)
        if entry.attachment(attachment_id) is None:
            raise NotFound("attachment")

    async def known(self, attachment_id: UUID, entry_id: UUID, user_id: UUID) -> None:
        """Return if there is such an attachment or upload.

        Raises:
            NotFound: there is not.
        """
        entry = await find_entry(entry_id, user_id, self._store)
        if entry.attachment(attachment_id) is None:
            await self.open_upload(attachment_id, entry_id, user_id)

    async def complete(
        self, attachment_id: UUID, entry_id: UUID, context: Context
    ) -> Outcome[Attachment]:
        """Make an attachment of the upload; of one that is made already, nothing else.

        Raises:
            NotFound, NotUploaded, Mismatched, TooManyAttachments
        """
        found = await self._found(attachment_id, entry_id, context)
        if found is None:
            try:
                return await self._complete(attachment_id, entry_id, context)
            except (NotFound, NotUploaded):
                # Another request may have completed it since we looked.
                found = await self._found(attachment_id, entry_id, context)
                if found is None:
                    raise
        return await self._dispatch(AddAttachment(entry_id, found), context)

    async def _found(
        self, attachment_id: UUID, entry_id: UUID, context: Context
    ) -> Attachment | None:
        entry = await find_entry(entry_id, context.user_id, self._store)
        return entry.attachment(attachment_id)

    async def _complete(
        self, attachment_id: UUID, entry_id: UUID, context: Context
    ) -> Outcome[Attachment]:
        upload = await self.open_upload(attachment_id, entry_id, context.user_id)
        name = upload.named(self._new_id())
        if not await self._objects.keep(upload, name):
            raise NotUploaded("nothing was uploaded")
        try:
            measured = await self._inspector.measure(self._objects.read(name))
            wrong = mismatches(upload.declared, measured)
            if wrong:
                await self._uploads.forget(attachment_id)
                await self._objects.drop(upload)
                raise Mismatched(wrong)
            attachment = Attachment(
                attachment_id=attachment_id,
                object_id=name.object_id,
                filename=upload.declared.filename,
                content_type=measured.content_type,
                size_bytes=measured.size_bytes,
                sha256=measured.sha256,
            )
            done = await self._dispatch(AddAttachment(entry_id, attachment), context)
        except (DomainError, ObjectGone, VersionConflict):
            await self._objects.delete(name)
            raise
        # Whatever else fails may have committed: what is of no use then is swept.
        if done.result.object_id != name.object_id:
            await self._objects.delete(name)
        await self._uploads.forget(attachment_id)
        await self._objects.drop(upload)
        return done
