"""A whole diary over HTTP: the upload becomes the input of an operation.

Owns the taking in of the stream, piece by piece and never whole in memory, and the idempotency of
an upload. The lines are read by ``workers/journal.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import header, require
from adapters.http.handlers import post
from adapters.http.idempotency import hash_of, key_of
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok
from adapters.http.validation import media_type
from commands.ports import EventStore, KeyReused
from domain.operation import NewOperation, Operation
from write_api.accepting import accept_once
from write_api.answering import Answering
from write_api.journal import PERMISSION, TAGS
from write_api.operations import Accepting, Offering, location_of

AnyRequest = Request[Any, Any, Any]

IMPORT = "journal.import"
"""Kind of the operations; ``workers/journal.py`` has the actor of this name."""
PATH = "/v1/journal/import"
MAX_BYTES = 64 * 1024 * 1024
BODY_LIMITS = {PATH: MAX_BYTES}
"""For ``adapters.http.conventions``: this path takes more than others."""
PIECE = 256 * 1024
_EXAMPLE = """\
{"date": "2026-03-01", "title": "First warm day", "content": "Walked until dusk.", "mood": "happy"}
{"date": "2026-03-02", "title": "Rain", "content": "Read all day.", "tags": ["books"]}
"""
MEDIA_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


def routes(
    answering: Answering,
    store: EventStore,
    operations: Accepting,
    offers: Offering,
    new_id: Callable[[], UUID],
    *,
    max_bytes: int = MAX_BYTES,
) -> list[HTTPRouteHandler]:
    """The handlers; ``new_id`` draws the ids of operations (UUIDv7)."""

    @post(
        PATH,
        opt={
            "operation": Described(
                summary="Import a diary",
                description="One entry a line. The operation's result lists each line that was"
                " refused, by its number from 1. The first of several lines for one day wins, and"
                " an entry that was there before wins over all. Empty lines are passed over.",
                tags=TAGS,
                body=str,
                body_media_type=MEDIA_TYPES[0],
                examples={"two days": _EXAMPLE},
                response=Operation,
                statuses=(202,),
                problems=("UNSUPPORTED_MEDIA_TYPE", "PAYLOAD_TOO_LARGE"),
                permission=PERMISSION,
                operation_id="import_journal",
            )
        },
    )
    async def import_journal(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        key = key_of(request)
        if media_type(header(request, b"content-type")) not in MEDIA_TYPES:
            raise Problem("UNSUPPORTED_MEDIA_TYPE", f"This takes {MEDIA_TYPES[0]}.")
        operation_id = new_id()
        try:
            size, digest = await stage(
                operations, operation_id, request.stream(), max_bytes=max_bytes
            )
            return await accept(request, operation_id, size, digest, key)
        except BaseException:
            with contextlib.suppress(Exception):  # what is left behind is swept later
                await operations.discard(operation_id)
            raise

    async def accept(
        request: AnyRequest, operation_id: UUID, size: int, digest: bytes, key: str | None
    ) -> Answer:
        context = answering.context(request)
        new = NewOperation(
            id=operation_id,
            kind=IMPORT,
            user_id=context.user_id,
            tenant_id=context.tenant_id,
            correlation_id=context.correlation_id,
            created_at=context.now,
            input_bytes=size,
            idempotency_key=key,
            request_hash=hash_of(request, digest) if key is not None else None,
        )
        try:
            answer = await accept_once(
                request, context, store, new, operations.accept, lambda it: accepted(request, it)
            )
        except KeyReused:
            await operations.cancel(operation_id, context.user_id)
            raise
        if key is not None:  # another request with this key may have been first
            await operations.discard(operation_id)
        return answer

    async def accepted(request: AnyRequest, operation: Operation) -> Answer:
        offers.offer_soon(operation.kind, operation.id)
        return ok(
            request,
            operation,
            status=202,
            message="Import accepted",
            location=location_of(operation),
            token=await operations.head(),
        )

    return [import_journal]


async def stage(
    operations: Accepting,
    operation_id: UUID,
    stream: AsyncIterator[bytes],
    *,
    max_bytes: int = MAX_BYTES,
) -> tuple[int, bytes]:
    """Keep the stream as the operation's input; its size in bytes and its SHA-256.

    Raises:
        Problem: 413 beyond ``max_bytes``.
    """
    digest = hashlib.sha256()
    waiting = bytearray()
    size = number = 0
    async for data in stream:
        size += len(data)
        if size > max_bytes:
            raise Problem("PAYLOAD_TOO_LARGE", f"An import has at most {max_bytes} bytes.")
        digest.update(data)
        waiting += data
        while len(waiting) >= PIECE:
            await operations.stage(operation_id, number, bytes(waiting[:PIECE]))
            del waiting[:PIECE]
            number += 1
    if waiting:
        await operations.stage(operation_id, number, bytes(waiting))
    return size, digest.digest()
