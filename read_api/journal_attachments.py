"""Attachments over HTTP: what one is, and its bytes by a link.

Owns the translation between requests, the entries' read model and the object store. A link leads to
bytes only as long as the entry is there and has them: that is asked of the event store, so that a
link works as soon as it is given, and ends when the attachment is removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.attachment_links import THUMBNAIL, AttachmentLinks
from adapters.http.conditional import etag, not_modified
from adapters.http.context import require
from adapters.http.files import file_answer
from adapters.http.handlers import get
from adapters.http.links import Links
from adapters.http.operation import Operation
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok, unchanged
from domain.event import Recorded
from domain.journal.attachment import ObjectName
from domain.journal.entry import Entry, stream_of
from projections.journal import entries
from projections.journal.entries import AttachmentDocument
from projections.journal.history import Streams
from projections.reading import Freshness, Reader
from read_api.fresh import fresh
from read_api.journal import ENTRIES, PERMISSION, TAGS, id_of

AnyRequest = Request[Any, Any, Any]

FILE = "/v1/files/{user_id:str}/{entry_id:str}/{attachment_id:str}/{object_id:str}"


class Objects(Protocol):
    """Where bytes lie; what is in ``adapters/objects/`` is it."""

    async def size(self, name: ObjectName) -> int | None:
        """How many bytes there are, None if they are not there."""
        ...

    def read(
        self, name: ObjectName, first: int = 0, count: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes in pieces."""
        ...


class LinkQuery(msgspec.Struct, frozen=True):
    """What makes a path a link; it is checked as a whole."""

    expires: int
    signature: str


def routes(
    reader: Reader,
    freshness: Freshness,
    streams: Streams,
    objects: Objects,
    links: AttachmentLinks,
    signed: Links,
) -> list[HTTPRouteHandler]:
    """The handlers; ``streams`` reads the event store, ``signed`` checks links to this host."""

    @get(
        "/v1/journal/entries/{entry_id:str}/attachments/{attachment_id:str}",
        opt={
            "operation": Operation(
                summary="One attachment",
                description="With fresh links. One that is not complete is not there yet.",
                tags=TAGS,
                response=AttachmentDocument,
                statuses=(200, 304),
                problems=("NOT_FOUND",),
                permission=PERMISSION,
                fresh=True,
                operation_id="get_attachment",
            )
        },
    )
    async def get_attachment(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        given = request.path_params
        entry_id, attachment_id = id_of(given["entry_id"]), id_of(given["attachment_id"])
        position = await fresh(request, freshness, ENTRIES)
        row = await entries.entry(reader, user_id, entry_id)
        ready = None if row is None else entries.attachment_in(row[0], attachment_id)
        if ready is None:
            raise Problem("NOT_FOUND")
        tag = etag(ready.version)
        if not_modified(request, tag):
            return unchanged(request, etag=tag, token=position)
        shown = links.attachment(request, user_id, entry_id, ready)
        return ok(request, shown, message="Attachment", etag=tag, token=position)

    @get(
        FILE,
        opt={
            "operation": Operation(
                summary="Download an attachment, or its thumbnail",
                description="By the `download_url` or the `thumbnail_url` of an attachment, which"
                " need no login. Takes a `Range`.",
                tags=TAGS,
                response=msgspec.Raw,
                response_media_type="application/octet-stream",
                enveloped=False,
                query=LinkQuery,
                statuses=(200, 206, 304),
                problems=("LINK_REFUSED", "NOT_FOUND", "RANGE_NOT_SATISFIABLE"),
                headers=(("Range", "A part of the file: `bytes=0-1023`.", False),),
                open=True,
                operation_id="download_attachment",
            )
        },
    )
    async def download_attachment(request: AnyRequest) -> Answer:
        given = request.path_params
        ids = [given[each] for each in ("user_id", "entry_id", "attachment_id", "object_id")]
        signed.check(request, "/v1/files/" + "/".join(ids))
        # What was signed are ids of ours.
        name = ObjectName(*(UUID(each) for each in ids))
        found = shown_as(await streams.read(stream_of(name.entry_id)), name)
        size = None if found is None else await objects.size(name)
        if found is None or size is None:
            raise Problem("NOT_FOUND")
        filename, content_type = found
        return file_answer(
            request,
            size,
            lambda first, count: objects.read(name, first, count),
            filename=filename,
            content_type=content_type,
            etag=f'"{name.object_id}"',  # other bytes have another id
        )

    return [get_attachment, download_attachment]


def shown_as(events: Iterable[Recorded], name: ObjectName) -> tuple[str, str] | None:
    """The file name and type of these bytes; None if their entry does not have them (any more)."""
    entry: Entry | None = None
    for recorded in events:
        entry = Entry.evolve(entry, recorded)
    if entry is None or entry.state != "active" or entry.user_id != name.user_id:
        return None
    attachment = entry.attachment(name.attachment_id)
    if attachment is None:
        return None
    if attachment.object_id == name.object_id:
        return attachment.filename, attachment.content_type
    return THUMBNAIL if attachment.thumbnail_id == name.object_id else None
