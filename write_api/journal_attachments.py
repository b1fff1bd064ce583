"""The attachments of entries over HTTP: announce, send, complete, remove.

Owns the translation between requests and ``commands.journal_attachments``, and the limits of an
upload, whose bytes are refused as soon as they are more than was announced. Where uploads go to
another host (S3), its links say so and nothing comes here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.attachment_links import AttachmentLinks, UploadLink
from adapters.http.bodies import body_of, pieces_of
from adapters.http.conditional import required_version
from adapters.http.context import header, require
from adapters.http.errors import Mapper
from adapters.http.handlers import delete, post, put
from adapters.http.links import Links
from adapters.http.operation import Operation
from adapters.http.problems import Problem, register
from adapters.http.responses import Answer, no_content, ok
from adapters.http.validation import decode_body
from commands.bus import Outcome
from commands.journal_attachments import Attaching, RemoveAttachment
from commands.ports import Context
from domain.errors import NotFound
from domain.faults import Fault
from domain.journal.attachment import (
    MAX_BYTES,
    Attachment,
    Mismatched,
    NewAttachment,
    NotUploaded,
    TooManyAttachments,
    Upload,
)
from projections.journal.entries import AttachmentDocument, attachment_document
from write_api.answering import Answering
from write_api.journal import PERMISSION, TAGS

AnyRequest = Request[Any, Any, Any]

ATTACHMENTS = "/v1/journal/entries/{entry_id:str}/attachments"
UPLOAD = "/v1/files/{user_id:str}/{entry_id:str}/{attachment_id:str}"
BODY_LIMITS = {UPLOAD.replace(":str", ""): MAX_BYTES}
"""For ``adapters.http.conventions``: this path takes more than others."""

register(
    "NOT_UPLOADED",
    409,
    "Nothing has been uploaded yet",
    "Send the file to the upload's url first, then complete it. The upload stays open until its url"
    " expires.",
)
register(
    "TOO_MANY_ATTACHMENTS",
    409,
    "The entry has as many attachments as one can have",
    "Remove some of its attachments, or add the file to another entry.",
)
for _code, _title in (
    ("SIZE_MISMATCH", "The file has another size than was announced"),
    ("CHECKSUM_MISMATCH", "The file has another checksum than was announced"),
    ("CONTENT_TYPE_MISMATCH", "The file is of another type than was announced"),
):
    register(
        _code,
        422,
        _title,
        "What was uploaded is not what was announced, and was dropped. `declared` and `found` say"
        " what differs. Announce the file anew, as it is.",
    )


def _mismatched(error: Mismatched) -> Problem:
    first = error.mismatches[0]
    return Problem(
        first.code,
        errors=tuple(
            Fault(
                each.field, each.code.lower(), f"Announced: {each.declared}, found: {each.found}."
            )
            for each in error.mismatches
        ),
        extra={"declared": first.declared, "found": first.found},
    )


ERRORS: dict[type[Exception], Mapper] = {
    NotUploaded: lambda error: Problem("NOT_UPLOADED"),
    TooManyAttachments: lambda error: Problem("TOO_MANY_ATTACHMENTS"),
    Mismatched: _mismatched,
}
"""How refusals of attachments are answered."""


class Announced(msgspec.Struct, frozen=True):
    """An attachment that waits for its bytes, and where to send them."""

    id: UUID
    state: Literal["pending"]
    upload: UploadLink


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object."""


class LinkQuery(msgspec.Struct, frozen=True):
    """What makes a path a link; it is checked as a whole."""

    expires: int
    signature: str


_EXAMPLE = {
    "filename": "river at dusk.jpg",
    "content_type": "image/jpeg",
    "size_bytes": 248_113,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}


def routes(
    answering: Answering,
    attaching: Attaching,
    links: AttachmentLinks,
    signed: Links,
    new_id: Callable[[], UUID],
) -> list[HTTPRouteHandler]:
    """The handlers; ``signed`` checks links to this host, ``new_id`` draws ids (UUIDv7)."""

    @post(
        ATTACHMENTS,
        opt={
            "operation": Operation(
                summary="Announce an attachment",
                description="Send the file's bytes as `upload` says, then complete it. An image is"
                " a JPEG, PNG, GIF or WebP; a document is a PDF; either has at most 52,428,800"
                " bytes. With `sha256` the upload is checked against it.",
                tags=TAGS,
                body=NewAttachment,
                response=Announced,
                statuses=(201,),
                problems=("NOT_FOUND", "TOO_MANY_ATTACHMENTS"),
                permission=PERMISSION,
                examples={"photo": _EXAMPLE},
                operation_id="announce_attachment",
            )
        },
    )
    async def announce(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        entry_id = _id_of(request.path_params["entry_id"])
        body = await body_of(request)
        try:
            declared = decode_body(body, header(request, b"content-type"), NewAttachment)
        except Problem:
            await attaching.entry_is_there(entry_id, user_id)
            raise
        upload = Upload(
            user_id=user_id, entry_id=entry_id, attachment_id=new_id(), declared=declared
        )
        expires_at = links.expiry()
        link = links.upload(request, upload, expires_at)

        async def run(context: Context) -> Outcome[Upload]:
            return await attaching.announce(upload, expires_at, context)

        def render(_: Upload) -> Answer:
            where = f"/v1/journal/entries/{entry_id}/attachments/{upload.attachment_id}"
            shown = Announced(upload.attachment_id, "pending", link)
            return ok(request, shown, status=201, message="Attachment announced", location=where)

        return await answering.run(request, run, render, body=body)

    @post(
        f"{ATTACHMENTS}/{{attachment_id:str}}/complete",
        opt={
            "operation": Operation(
                summary="Complete an attachment",
                description="What was uploaded is checked by its content. If it is not what was"
                " announced, it is dropped. Completing what is complete changes nothing.",
                tags=TAGS,
                body=Nothing,
                response=AttachmentDocument,
                problems=(
                    "NOT_FOUND",
                    "NOT_UPLOADED",
                    "TOO_MANY_ATTACHMENTS",
                    "SIZE_MISMATCH",
                    "CHECKSUM_MISMATCH",
                    "CONTENT_TYPE_MISMATCH",
                ),
                permission=PERMISSION,
                examples={"nothing": {}},
                operation_id="complete_attachment",
            )
        },
    )
    async def complete(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        entry_id, attachment_id = _ids(request)
        body = await body_of(request)
        try:
            decode_body(body or b"{}", header(request, b"content-type"), Nothing)
        except Problem:
            await attaching.known(attachment_id, entry_id, user_id)
            raise

        def render(attachment: Attachment) -> Answer:
            ready = attachment_document(attachment)
            shown = links.attachment(request, user_id, entry_id, ready)
            return ok(request, shown, message="Attachment ready", etag=shown.version)

        async def run(context: Context) -> Outcome[Attachment]:
            return await attaching.complete(attachment_id, entry_id, context)

        return await answering.run(request, run, render, body=body)

    @delete(
        f"{ATTACHMENTS}/{{attachment_id:str}}",
        opt={
            "operation": Operation(
                summary="Remove an attachment",
                description="Its links end at once; its bytes are kept for 30 days. An ETag from"
                " before its thumbnail was made is good, too.",
                tags=TAGS,
                statuses=(204,),
                problems=("NOT_FOUND",),
                permission=PERMISSION,
                operation_id="remove_attachment",
            )
        },
    )
    async def remove(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        entry_id, attachment_id = _ids(request)
        try:
            expected = required_version(request)
        except Problem:
            await attaching.ready(attachment_id, entry_id, user_id)
            raise
        command = RemoveAttachment(entry_id, attachment_id, expected)
        return await answering.answer(request, command, lambda _: no_content(request))

    return [announce, _upload_route(attaching, signed), complete, remove]


def _upload_route(attaching: Attaching, signed: Links) -> HTTPRouteHandler:
    @put(
        UPLOAD,
        opt={
            "operation": Operation(
                summary="Send the bytes of an attachment",
                description="By the `url` of its `upload`, which needs no login. A repeated upload"
                " takes the place of the earlier one, until the attachment is completed.",
                tags=TAGS,
                body=msgspec.Raw,
                body_media_type="application/octet-stream",
                examples={"a file": "the file's bytes"},
                query=LinkQuery,
                statuses=(204,),
                enveloped=False,
                problems=("LINK_REFUSED", "NOT_FOUND", "PAYLOAD_TOO_LARGE"),
                open=True,
                idempotent=False,
                operation_id="upload_attachment",
            )
        },
    )
    async def upload_attachment(request: AnyRequest) -> Answer:
        given = request.path_params
        user, entry, attachment = given["user_id"], given["entry_id"], given["attachment_id"]
        signed.check(request, f"/v1/files/{user}/{entry}/{attachment}", "PUT")
        # What was signed are ids of ours.
        upload = await attaching.open_upload(UUID(attachment), UUID(entry), UUID(user))
        most = upload.declared.size_bytes
        announced = header(request, b"content-length")
        if announced is not None and int(announced) > most:
            raise _too_large(most)
        await attaching.receive(upload, _at_most(pieces_of(request), most))
        return no_content(request)

    return upload_attachment


async def _at_most(stream: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """The stream.

    Raises:
        Problem: 413 as soon as it has more than ``most`` bytes.
    """
    seen = 0
    async for piece in stream:
        seen += len(piece)
        if seen > most:
            raise _too_large(most)
        yield piece


def _too_large(most: int) -> Problem:
    return Problem(
        "PAYLOAD_TOO_LARGE",
        f"This upload was announced with {most} bytes.",
        extra={"max_bytes": most},
        headers={"connection": "close"},
    )


def _ids(request: AnyRequest) -> tuple[UUID, UUID]:
    given = request.path_params
    return _id_of(given["entry_id"]), _id_of(given["attachment_id"])


def _id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("attachment") from None
