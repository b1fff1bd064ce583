"""The reaction that makes small pictures of attached images.

At least once, with one effect: the picture's bytes have the reaction's key as their id, and an
attachment that has a picture gets no other. An image of which none can be made has none; that holds
up nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

from commands.bus import Outcome
from commands.journal_attachments import AddThumbnail, ObjectGone, Objects, ObjectsUnavailable
from commands.ports import Context, EventStore, SubjectErased
from domain.errors import NotFound
from domain.event import Event, Recorded
from domain.journal.attachment import ObjectName, has_picture
from domain.journal.entry import Entry, stream_of
from domain.journal.events import AttachmentAdded
from domain.reaction import Effect
from workers.reactions import Reaction, Unavailable

SYSTEM = "system:thumbnails"


class Picturing(Protocol):
    """Makes small pictures; ``adapters.pictures.Pictures`` does."""

    async def small(self, image: bytes) -> bytes | None:
        """The picture as WebP; None where none can be made."""
        ...


class Dispatching(Protocol):
    """The command bus."""

    async def __call__(self, command: AddThumbnail, context: Context, /) -> Outcome[Any]:
        """Run the command."""
        ...


class Thumbnails(Reaction):
    """The reaction."""

    name: ClassVar[str] = "journal.thumbnails"
    takes: ClassVar[tuple[type[Event], ...]] = (AttachmentAdded,)

    def __init__(
        self,
        store: EventStore,
        dispatch: Dispatching,
        objects: Objects,
        pictures: Picturing,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._objects = objects
        self._pictures = pictures
        self._clock = clock

    async def react(self, recorded: Recorded, key: UUID) -> Effect | None:
        """Make the picture, and say that it is there.

        Raises:
            Unavailable: the store of files does not answer.
        """
        event = recorded.event
        assert type(event) is AttachmentAdded
        if recorded.erased or not has_picture(event.content_type):
            return None
        entry = await self._store.load(Entry, stream_of(event.entry_id))
        attachment = None if entry is None else entry.attachment(event.attachment_id)
        if attachment is None or attachment.thumbnail_id is not None:
            return None
        of = ObjectName(event.user_id, event.entry_id, event.attachment_id, event.object_id)
        name = ObjectName(event.user_id, event.entry_id, event.attachment_id, key)
        try:
            image = b"".join([piece async for piece in self._objects.read(of)])
            picture = await self._pictures.small(image)
            if picture is None:
                return None
            await self._objects.put(name, picture)
            await self._dispatch(
                AddThumbnail(event.entry_id, event.attachment_id, key),
                _context(recorded, event, self._clock()),
            )
        except ObjectsUnavailable as error:
            raise Unavailable from error
        except (ObjectGone, NotFound, SubjectErased):
            return None
        return Effect(did="thumbnail", id=str(event.attachment_id), subject_id=event.user_id)


def _context(recorded: Recorded, event: AttachmentAdded, now: datetime) -> Context:
    metadata = recorded.metadata
    assert metadata is not None, "reactions read events with their metadata"
    return Context(
        user_id=event.user_id,
        tenant_id=recorded.tenant_id,
        actor=SYSTEM,
        now=now,
        correlation_id=metadata.correlation_id,
        causation_id=metadata.event_id,
    )
