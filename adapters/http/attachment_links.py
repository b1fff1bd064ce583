"""Links to the files of attachments, for whoever reads an entry or an attachment.

Owns where signed links lead on this host, how long they live, and how they get into the shapes that
``projections.journal.entries`` has ready. An object store that signs links itself (S3) takes the
place of ``OwnAddresses``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from adapters.http.context import HasScope
from adapters.http.links import Base, Links
from domain.journal.attachment import NewAttachment, ObjectName, Upload
from projections.journal.entries import (
    AttachmentDocument,
    EntryDocument,
    ToUrls,
    page_with_urls,
    with_urls,
)

THUMBNAIL = ("thumbnail.webp", "image/webp")
"""Name and type of every small picture."""


class UploadLink(msgspec.Struct, frozen=True):
    """How the bytes are to be sent: with this method and these headers, until it expires."""

    method: str
    url: str
    headers: dict[str, str]
    expires_at: datetime


class Addressing(Protocol):
    """Makes presigned links; ``base`` is the address of this host as the client knows it."""

    def upload(self, base: str, upload: Upload, expires_at: datetime) -> UploadLink:
        """Where the bytes of an upload are sent."""
        ...

    def download(
        self, base: str, name: ObjectName, filename: str, content_type: str, expires_at: datetime
    ) -> str:
        """Where bytes can be had, as a file of this name and type."""
        ...


def path_of_upload(upload: Upload) -> str:
    """Where an upload is sent to, on this host."""
    return f"/v1/files/{upload.user_id}/{upload.entry_id}/{upload.attachment_id}"


def path_of(name: ObjectName) -> str:
    """Where bytes are, on this host."""
    return f"/v1/files/{name.key}"


class OwnAddresses:
    """Links to our own handlers (``write_api``, ``read_api``), which check the signature."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def upload(self, base: str, upload: Upload, expires_at: datetime) -> UploadLink:
        """A PUT to this host."""
        url = base + self._links.sign(path_of_upload(upload), expires_at, "PUT")
        return UploadLink("PUT", url, sent_with(upload.declared), expires_at)

    def download(
        self, base: str, name: ObjectName, filename: str, content_type: str, expires_at: datetime
    ) -> str:
        """A GET from this host, which finds name and type in the entry."""
        return base + self._links.sign(path_of(name), expires_at)


def sent_with(declared: NewAttachment) -> dict[str, str]:
    """The headers that an upload is sent with."""
    return {"Content-Type": declared.content_type}


class AttachmentLinks:
    """Puts links into shapes. ``ttl_seconds`` is how long they live."""

    def __init__(
        self,
        addressing: Addressing,
        base: Base,
        ttl_seconds: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._addressing = addressing
        self._base = base
        self._ttl = timedelta(seconds=ttl_seconds)
        self._clock = clock

    def expiry(self) -> datetime:
        """When links that are made now expire, to the second."""
        return (self._clock() + self._ttl).replace(microsecond=0)

    def upload(self, request: HasScope, upload: Upload, expires_at: datetime) -> UploadLink:
        """Where the client sends the bytes."""
        return self._addressing.upload(self._base.of(request), upload, expires_at)

    def attachment(
        self, request: HasScope, user_id: UUID, entry_id: UUID, ready: AttachmentDocument
    ) -> AttachmentDocument:
        """An attachment with URLs in the place of the ids that stand for them."""
        base, expires_at = self._base.of(request), self.expiry()

        def url(object_id: str, filename: str, content_type: str) -> str:
            name = ObjectName(user_id, entry_id, ready.id, UUID(object_id))
            return self._addressing.download(base, name, filename, content_type, expires_at)

        thumbnail = ready.thumbnail_url
        return msgspec.structs.replace(
            ready,
            download_url=url(ready.download_url, ready.filename, ready.content_type),
            thumbnail_url=None if thumbnail is None else url(thumbnail, *THUMBNAIL),
        )

    def entry(self, request: HasScope, entry: EntryDocument) -> EntryDocument:
        """An entry whose attachments have URLs."""
        if entry.attachments:
            entry.attachments = tuple(
                self.attachment(request, entry.user_id, entry.id, each)
                for each in entry.attachments
            )
        return entry

    def document(self, request: HasScope, entry: bytes) -> bytes:
        """An entry's JSON with URLs."""
        return with_urls(entry, self._of(request))

    def page(self, request: HasScope, page: bytes) -> bytes:
        """A JSON array of entries with URLs."""
        return page_with_urls(page, self._of(request))

    def _of(self, request: HasScope) -> ToUrls:
        return lambda entry, each: self.attachment(request, entry.user_id, entry.id, each)
