"""The journal's commands over HTTP: write, revise, delete and restore an entry.

Owns the translation between requests and ``commands.journal``. What a sound request costs is one
decode, one append and one encode; only an invalid one is worth a look whether the entry exists,
since a 404 comes before any check of the body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, UnsetType

from adapters.http.attachment_links import AttachmentLinks
from adapters.http.bodies import body_of
from adapters.http.conditional import required_version
from adapters.http.context import HasScope, header, require
from adapters.http.errors import Mapper
from adapters.http.handlers import delete, patch, post
from adapters.http.operation import Operation
from adapters.http.problems import Problem, invalid
from adapters.http.responses import Answer, no_content, ok
from adapters.http.validation import decode_body
from commands.journal import (
    DeleteEntry,
    RestoreEntry,
    ReviseEntry,
    WriteEntry,
    find_entry,
)
from commands.journal_input import T, with_tag_faults
from commands.ports import EventStore
from domain.errors import NotFound
from domain.faults import Invalid
from domain.journal.entry import Changes, Draft, DuplicateEntryDate, Entry, Infer
from projections.journal.entries import EntryDocument, document_of
from write_api.answering import Answering

AnyRequest = Request[Any, Any, Any]

PERMISSION = "journal:write"
TAGS = ("Journal",)

ERRORS: dict[type[Exception], Mapper] = {
    DuplicateEntryDate: lambda error: Problem(
        "DUPLICATE_ENTRY_DATE",
        f"There is an entry for {error.date} already.",
        extra={"entry_id": error.entry_id},
    ),
}
"""How the journal's refusals are answered."""

_EXAMPLE = {
    "date": "2026-03-01",
    "title": "First warm day",
    "content": "Walked along the river until dusk.",
    "mood": "happy",
    "location": "Coimbra",
    "tags": ["walks", "spring"],
}


class Inferring(Protocol):
    """Knows who wants moods read from what they write, and how that is done."""

    def known(self, user_id: UUID) -> Infer | UnsetType | None:
        """How; None for who does not want it, unset for who is not known yet."""
        ...

    async def learn(self, user_id: UUID) -> Infer | None:
        """The same, found out."""
        ...


def routes(
    answering: Answering,
    store: EventStore,
    new_id: Callable[[], UUID],
    links: AttachmentLinks,
    inferring: Inferring | None = None,
) -> list[HTTPRouteHandler]:
    """The handlers; ``new_id`` draws the ids of new entries (UUIDv7)."""

    async def infer_for(user_id: UUID) -> Infer | None:
        if inferring is None:
            return None
        known = inferring.known(user_id)
        return await inferring.learn(user_id) if known is UNSET else known

    @post(
        "/v1/journal/entries",
        opt={
            "operation": Operation(
                summary="Write the entry of a day",
                description="A person has one entry for each day. On the day of a deleted entry"
                " that entry begins again.",
                tags=TAGS,
                body=Draft,
                response=EntryDocument,
                statuses=(201,),
                problems=("DUPLICATE_ENTRY_DATE",),
                permission=PERMISSION,
                examples={"entry": _EXAMPLE},
                operation_id="write_entry",
            )
        },
    )
    async def write_entry(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        body = await body_of(request)
        draft = _decode(request, body, Draft)
        # Whoever gives a mood asks nothing of anybody.
        infer = await infer_for(user_id) if draft.mood is None else None

        def render(entry: Entry) -> Answer:
            return ok(
                request,
                document_of(entry),
                status=201,
                message="Entry written",
                etag=entry.version,
                location=f"/v1/journal/entries/{entry.entry_id}",
            )

        return await answering.answer(
            request, WriteEntry(new_id(), draft, infer), render, body=body
        )

    @patch(
        "/v1/journal/entries/{entry_id:str}",
        opt={
            "operation": Operation(
                summary="Revise an entry",
                description="Fields that are not sent stay as they are; null clears.",
                tags=TAGS,
                body=Changes,
                response=EntryDocument,
                problems=("NOT_FOUND", "DUPLICATE_ENTRY_DATE"),
                permission=PERMISSION,
                examples={"mood": {"mood": "ecstatic", "tags": ["walks"]}},
                operation_id="revise_entry",
            )
        },
    )
    async def revise_entry(request: AnyRequest) -> Answer:
        entry_id: str = request.path_params["entry_id"]
        principal = require(request, PERMISSION)
        known = _id_of(entry_id)
        body = await body_of(request)
        try:
            expected = required_version(request)
            changes = _decode(request, body, Changes)
        except Problem:
            await find_entry(known, principal.user_id, store)
            raise
        infer = await infer_for(principal.user_id)
        command = ReviseEntry(known, expected, changes, infer)
        try:
            return await answering.answer(
                request, command, _shows(links, request, "Entry revised"), body=body
            )
        except Invalid:  # of the tags, found before the entry was known to exist
            await find_entry(known, principal.user_id, store)
            raise

    @delete(
        "/v1/journal/entries/{entry_id:str}",
        opt={
            "operation": Operation(
                summary="Delete an entry",
                description="It can be restored until its day is written again.",
                tags=TAGS,
                statuses=(204,),
                problems=("NOT_FOUND",),
                permission=PERMISSION,
                operation_id="delete_entry",
            )
        },
    )
    async def delete_entry(request: AnyRequest) -> Answer:
        entry_id: str = request.path_params["entry_id"]
        principal = require(request, PERMISSION)
        known = _id_of(entry_id)
        try:
            expected = required_version(request)
        except Problem:
            await find_entry(known, principal.user_id, store)
            raise
        return await answering.answer(
            request, DeleteEntry(known, expected), lambda entry: no_content(request)
        )

    @post(
        "/v1/journal/entries/{entry_id:str}/restore",
        opt={
            "operation": Operation(
                summary="Restore a deleted entry",
                tags=TAGS,
                response=EntryDocument,
                problems=("NOT_FOUND", "DUPLICATE_ENTRY_DATE"),
                permission=PERMISSION,
                operation_id="restore_entry",
            )
        },
    )
    async def restore_entry(request: AnyRequest) -> Answer:
        entry_id: str = request.path_params["entry_id"]
        require(request, PERMISSION)
        command = RestoreEntry(_id_of(entry_id))
        return await answering.answer(request, command, _shows(links, request, "Entry restored"))

    return [write_entry, revise_entry, delete_entry, restore_entry]


def _shows(links: AttachmentLinks, request: HasScope, message: str) -> Callable[[Entry], Answer]:
    def render(entry: Entry) -> Answer:
        shown = links.entry(request, document_of(entry))
        return ok(request, shown, message=message, etag=entry.version)

    return render


def _decode(request: HasScope, body: bytes, kind: type[T]) -> T:
    """The body, or a Problem with the faults of its tags among the others."""
    try:
        return decode_body(body, header(request, b"content-type"), kind)
    except Problem as problem:
        if problem.code != "VALIDATION_FAILED":
            raise
        raise invalid(*with_tag_faults(Invalid(*problem.errors), body).faults) from None


def _id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("entry") from None
