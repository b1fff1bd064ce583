"""The audit log and the log of requests over HTTP, for operators.

Owns the translation between requests and ``projections.ops.audit``. What people wrote, addresses
and agents are shown only with ``ops:personal``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import require
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation as Described
from adapters.http.responses import Answer, ok
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from projections.ops.audit import (
    Audit,
    AuditFilter,
    AuditLog,
    Category,
    Item,
    Requested,
    RequestFilter,
)
from projections.reading import Freshness
from read_api.fresh import fresh

AnyRequest = Request[Any, Any, Any]

PERMISSION, PERSONAL = "ops:read", "ops:personal"
AUDIT, REQUESTS = "/v1/ops/audit", "/v1/ops/requests"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


class AuditQuery(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}
):
    """Parameters of the audit log; ``from`` is inclusive, ``to`` exclusive."""

    actor: Text | None = None
    action: Text | None = None
    target: Text | None = None
    category: Category | None = None
    from_: Moment | None = None
    to: Moment | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class RequestsQuery(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}
):
    """Parameters of the log of requests; ``status`` is the least one, 400 for what was refused."""

    request_id: Text | None = None
    status: Status | None = None
    from_: Moment | None = None
    to: Moment | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


def _described(
    summary: str, operation_id: str, response: Any, description: str, asked: Any, *, fresh: bool
) -> dict[str, Any]:
    return {
        "operation": Described(
            summary=summary,
            description=description,
            tags=("Operators",),
            response=response,
            page=True,
            query=asked,
            problems=("INVALID_CURSOR",),
            permission=PERMISSION,
            fresh=fresh,
            operation_id=operation_id,
        )
    }


def routes(log: AuditLog, freshness: Freshness, cursors: Cursors) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get(
        AUDIT,
        opt=_described(
            "Who did what",
            "list_audit",
            Item,
            "Every command of everybody and every action of an operator, newest first. What is"
            ' personal, the address included, is `{"sealed": true}` without `ops:personal`.',
            AuditQuery,
            fresh=True,
        ),
    )
    async def list_audit(request: AnyRequest) -> Answer:
        principal = require(request, PERMISSION)
        asked = query(request, AuditQuery)
        wanted = AuditFilter(
            actor=asked.actor,
            action=asked.action,
            target=asked.target,
            category=asked.category,
            since=asked.from_,
            until=asked.to,
        )
        bound = msgspec.structs.astuple(wanted)
        below: int | None = None
        if asked.cursor is not None:
            opened = cursors.open(AUDIT, principal.user_id, asked.cursor, bound, tuple[int])
            below = opened[0]
        token = await fresh(request, freshness, Audit.name)
        found = await log.items(
            wanted,
            below=below,
            limit=asked.limit + 1,
            personal=PERSONAL in principal.permissions,
        )
        page, cursor = found[: asked.limit], None
        if len(found) > asked.limit:
            cursor = cursors.seal(AUDIT, principal.user_id, (page[-1].position,), bound)
        meta = PageMeta(cursor, asked.limit)
        return ok(request, page, message="Audit log", meta=meta, token=token)

    @get(
        REQUESTS,
        opt=_described(
            "Requests as they were answered",
            "list_requests",
            Requested,
            "Newest first, for 90 days, without query strings, bodies and whole addresses. Under"
            " great load some are left out.",
            RequestsQuery,
            fresh=False,
        ),
    )
    async def list_requests(request: AnyRequest) -> Answer:
        principal = require(request, PERMISSION)
        asked = query(request, RequestsQuery)
        wanted = RequestFilter(
            request_id=asked.request_id, status=asked.status, since=asked.from_, until=asked.to
        )
        bound = msgspec.structs.astuple(wanted)
        below: tuple[datetime, int] | None = None
        if asked.cursor is not None:
            below = cursors.open(
                REQUESTS, principal.user_id, asked.cursor, bound, tuple[datetime, int]
            )
        found = await log.requests(wanted, below=below, limit=asked.limit + 1)
        page, cursor = found[: asked.limit], None
        if len(found) > asked.limit:
            last = page[-1]
            cursor = cursors.seal(REQUESTS, principal.user_id, (last.at, last.id), bound)
        return ok(request, page, message="Requests", meta=PageMeta(cursor, asked.limit))

    return [list_audit, list_requests]
