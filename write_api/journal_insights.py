"""The request for an insight into one's own journal.

Owns its acceptance: the operation first, which is idempotent, then the event under the same id.
``workers/insights.py`` does the work, and appends the event itself should it have been lost between
the two. ``read_api/journal_insights.py`` shows what came of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.bodies import body_of
from adapters.http.context import require
from adapters.http.errors import Mapper
from adapters.http.handlers import post
from adapters.http.idempotency import hash_of, key_of
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem, register
from adapters.http.responses import Answer, ok
from commands.analyst import Hint, no_hint
from commands.insights import RequestInsight, check_open
from commands.ports import EventStore
from domain.faults import Fault
from domain.journal.insight import INSIGHT, InsightRequest, PrivateMode, faults_of
from domain.operation import NewOperation, Operation
from write_api.accepting import accept_once
from write_api.answering import Answering, Dispatch
from write_api.bodies import decode_checked
from write_api.journal import PERMISSION, TAGS
from write_api.operations import Accepting, Offering, location_of

AnyRequest = Request[Any, Any, Any]

register(
    "PRIVATE_MODE",
    409,
    "This account is in private mode",
    "In private mode no machine reads what you write, so there are no insights. Switch it off with"
    " PATCH /v1/me and ask again.",
)

ERRORS: dict[type[Exception], Mapper] = {PrivateMode: lambda error: Problem("PRIVATE_MODE")}
"""How the refusals of insights are answered."""


def routes(
    answering: Answering,
    dispatch: Dispatch,
    store: EventStore,
    operations: Accepting,
    offers: Offering,
    new_id: Callable[[], UUID],
    hint: Hint = no_hint,
) -> list[HTTPRouteHandler]:
    """The handlers; ``new_id`` draws the ids of insights (UUIDv7), which are their operations'."""

    @post(
        "/v1/journal/insights",
        opt={
            "operation": Described(
                summary="Ask what a time was like",
                description="Both dates are inclusive; a weekly insight is about a week at most,"
                " and so on. Private entries are left out. The operation's `result` is"
                " `{insight_id}`.",
                tags=TAGS,
                body=InsightRequest,
                response=Operation,
                statuses=(202,),
                problems=("PRIVATE_MODE",),
                permission=PERMISSION,
                examples={
                    "month": {
                        "insight_type": "monthly",
                        "start_date": "2026-03-01",
                        "end_date": "2026-03-31",
                    }
                },
                operation_id="request_insight",
            )
        },
    )
    async def request_insight(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        body = await body_of(request)
        asked = await decode_checked(request, body, InsightRequest, _faults)
        key = key_of(request)
        context = answering.context(request)
        new = NewOperation(
            id=new_id(),
            kind=INSIGHT,
            user_id=context.user_id,
            tenant_id=context.tenant_id,
            correlation_id=context.correlation_id,
            created_at=context.now,
            idempotency_key=key,
            request_hash=hash_of(request, body) if key is not None else None,
            params=msgspec.to_builtins(asked),
        )

        async def accept(new: NewOperation) -> Operation:
            await check_open(new.user_id, store)
            return await operations.accept(new)

        async def accepted(operation: Operation) -> Answer:
            outcome = await dispatch(RequestInsight(operation.id, asked), context)
            hint(operation.id, "queued")
            offers.offer_soon(operation.kind, operation.id)
            return ok(
                request,
                operation,
                status=202,
                message="Insight accepted",
                location=location_of(operation),
                token=outcome.position,
            )

        return await accept_once(request, context, store, new, accept, accepted)

    return [request_insight]


async def _faults(fields: Mapping[str, Any]) -> list[Fault]:
    start, end = (_date(fields.get(name)) for name in ("start_date", "end_date"))
    if start is None or end is None:
        return []
    return faults_of(fields.get("insight_type"), start, end)


def _date(value: Any) -> datetime.date | None:
    """A date as it was decoded, or as it was sent beside something that is wrong."""
    if isinstance(value, datetime.date):
        return value
    try:
        return msgspec.convert(value, datetime.date)
    except msgspec.ValidationError:
        return None
