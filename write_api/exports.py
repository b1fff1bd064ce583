"""The request for everything that is known about oneself.

Owns its acceptance; ``workers/exports/`` does the work, ``read_api/exports.py`` hands out the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import principal_of
from adapters.http.handlers import post
from adapters.http.idempotency import hash_of, key_of
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem, retry_after
from adapters.http.responses import Answer, ok
from commands.ports import EventStore
from domain.export import EXPORT
from domain.operation import NewOperation, Operation
from write_api.accepting import accept_once
from write_api.answering import Answering
from write_api.logins import TAGS
from write_api.operations import Accepting, Offering, location_of

AnyRequest = Request[Any, Any, Any]

AT_MOST = 20
"""Exports that a person may ask for in a day: each is a copy of a whole diary."""
DAY = timedelta(days=1)


class Taking(Accepting, Protocol):
    """Takes work in, and knows what was taken in before."""

    async def recent(self, user_id: UUID, kind: str, since: datetime) -> Sequence[datetime]:
        """When this person asked for operations of that kind since then, oldest first."""
        ...


def routes(
    answering: Answering,
    store: EventStore,
    operations: Taking,
    offers: Offering,
    new_id: Callable[[], UUID],
) -> list[HTTPRouteHandler]:
    """The handlers; ``new_id`` draws the ids of operations (UUIDv7)."""

    @post(
        "/v1/me/export",
        opt={
            "operation": Described(
                summary="Export everything about oneself",
                description="Takes no body. The operation's result has a `download_url`, a signed"
                " path on this host that works for 24 hours: a ZIP with a manifest, as JSON, of the"
                " profile, consents, logins, every entry with every version of it, tags, long work"
                " and all events. What happened before this call is in it. Only a person's own"
                f" login may ask, {AT_MOST} times a day.",
                tags=TAGS,
                response=Operation,
                statuses=(202,),
                problems=("FORBIDDEN",),
                operation_id="export_me",
            )
        },
    )
    async def export_me(request: AnyRequest) -> Answer:
        # A key has some of its maker's rights; the export shows all there is.
        if principal_of(request).api_key_id is not None:
            raise Problem("FORBIDDEN", "This is for people: no API key may call it.")
        key = key_of(request)
        context = answering.context(request)
        new = NewOperation(
            id=new_id(),
            kind=EXPORT,
            user_id=context.user_id,
            tenant_id=context.tenant_id,
            correlation_id=context.correlation_id,
            created_at=context.now,
            idempotency_key=key,
            request_hash=hash_of(request, b"") if key is not None else None,
        )
        return await accept_once(
            request, context, store, new, accept, lambda it: accepted(request, it)
        )

    async def accept(new: NewOperation) -> Operation:
        before = await operations.recent(new.user_id, EXPORT, new.created_at - DAY)
        if len(before) >= AT_MOST:
            seconds = (before[-AT_MOST] + DAY - new.created_at).total_seconds()
            detail = f"A person may ask for {AT_MOST} exports a day."
            raise Problem("RATE_LIMITED", detail, headers=retry_after(seconds))
        return await operations.accept(new)

    async def accepted(request: AnyRequest, operation: Operation) -> Answer:
        offers.offer_soon(operation.kind, operation.id)
        return ok(
            request,
            operation,
            status=202,
            message="Export accepted",
            location=location_of(operation),
            token=await operations.head(),
        )

    return [export_me]
