"""What operators ask for of events in quarantine: to try them again, or to leave them out.

Owns the check of what is asked. A retry or a discard is a change of a row and done at once, so that
its operation has ended when it is answered.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import msgspec
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import header, require
from adapters.http.handlers import post
from adapters.http.problems import Problem
from adapters.http.responses import Answer
from adapters.http.validation import decode_body
from domain.operation import DISCARD, RETRY, NewOperation, Operation
from write_api.ops_desk import PERMISSION, AnyRequest, Desk, Nothing, Text, decoded, described

_QUARANTINE = "/v1/ops/quarantine"


class Discard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an event is left out for good."""

    reason: Text


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which items: all that match every field given; ``error`` is how an error begins."""

    stream_id: Text | None = None
    error: Text | None = None
    projection: Text | None = None


class DiscardChoice(Choice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which items to discard, and why."""

    reason: Text


class Care(Protocol):
    """Changes items in quarantine; ``adapters.oversight.PostgresCare`` does."""

    async def exists(self, item_id: UUID) -> bool:
        """Whether there is or was such an item."""
        ...

    async def retry(
        self,
        new: NewOperation,
        *,
        item_id: UUID | None = None,
        projection: str | None = None,
        stream_id: str | None = None,
        error: str | None = None,
    ) -> Operation:
        """Have matching items tried again at once; the operation, which has ended."""
        ...

    async def discard(
        self,
        new: NewOperation,
        reason: str,
        *,
        item_id: UUID | None = None,
        projection: str | None = None,
        stream_id: str | None = None,
        error: str | None = None,
    ) -> Operation:
        """Leave matching events out for good; the operation, which has ended."""
        ...


def quarantine_routes(desk: Desk, care: Care) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def item_of(request: AnyRequest) -> UUID:
        require(request, PERMISSION)
        try:
            item_id = UUID(request.path_params["item_id"])
        except ValueError:
            raise Problem("NOT_FOUND") from None
        if not await care.exists(item_id):
            raise Problem("NOT_FOUND")
        return item_id

    @post(
        f"{_QUARANTINE}/{{item_id:str}}/retry",
        opt=described(
            "Try an event in quarantine again", "retry_quarantined", problems=("NOT_FOUND",)
        ),
    )
    async def retry(request: AnyRequest) -> Answer:
        item_id = await item_of(request)
        body = await request.body()
        decoded(request, body, Nothing)
        return await desk.do(
            request, RETRY, {"id": item_id}, body, lambda new: care.retry(new, item_id=item_id)
        )

    @post(
        f"{_QUARANTINE}/{{item_id:str}}/discard",
        opt=described(
            "Leave an event in quarantine out for good",
            "discard_quarantined",
            description="The rest of its stream goes on without it, rebuilds included.",
            body=Discard,
            required=True,
            example=Discard("written by a version with a fault"),
            problems=("NOT_FOUND",),
        ),
    )
    async def discard(request: AnyRequest) -> Answer:
        item_id = await item_of(request)
        body = await request.body()
        asked = decode_body(body, header(request, b"content-type"), Discard)
        params = {"id": item_id, "reason": asked.reason}
        return await desk.do(
            request,
            DISCARD,
            params,
            body,
            lambda new: care.discard(new, asked.reason, item_id=item_id),
        )

    @post(
        f"{_QUARANTINE}/retry",
        opt=described(
            "Try many events in quarantine again",
            "retry_all_quarantined",
            body=Choice,
            example=Choice(projection="journal.entries"),
        ),
    )
    async def retry_all(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        body = await request.body()
        asked = decoded(request, body, Choice)
        chosen = msgspec.structs.asdict(asked)
        return await desk.do(request, RETRY, chosen, body, lambda new: care.retry(new, **chosen))

    @post(
        f"{_QUARANTINE}/discard",
        opt=described(
            "Leave many events in quarantine out for good",
            "discard_all_quarantined",
            body=DiscardChoice,
            required=True,
            example=DiscardChoice(error="ValueError", reason="written by a version with a fault"),
        ),
    )
    async def discard_all(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        body = await request.body()
        asked = decode_body(body, header(request, b"content-type"), DiscardChoice)
        chosen = msgspec.structs.asdict(asked)
        return await desk.do(
            request, DISCARD, chosen, body, lambda new: care.discard(new, **chosen)
        )

    return [retry_all, discard_all, retry, discard]
