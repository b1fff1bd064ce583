"""Insights over HTTP: one, and by the page.

Owns the translation between requests and the readers of ``projections.journal.insights``. That
somebody looked at an insight is told to ``viewed``, which does not wait: a read writes nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.conditional import etag, not_modified
from adapters.http.context import context_of, require
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.principal import Principal
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok, unchanged
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from domain.journal.events import InsightType
from domain.journal.insight import State
from projections.journal import insights
from projections.journal.insights import InsightDocument
from projections.reading import Freshness, Reader
from read_api.fresh import fresh
from read_api.journal import PERMISSION, TAGS, id_of

AnyRequest = Request[Any, Any, Any]

INSIGHTS = insights.Insights.name
_LIST = "/v1/journal/insights"

Viewed = Callable[[UUID, Principal, str], None]
"""Takes an insight, who looked at it, and in which request."""


class InsightQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the list."""

    insight_type: InsightType | None = None
    state: State | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


def routes(
    reader: Reader, freshness: Freshness, cursors: Cursors, viewed: Viewed
) -> list[HTTPRouteHandler]:
    """The handlers of reading insights."""

    @get(
        "/v1/journal/insights/{insight_id:str}",
        opt={
            "operation": Operation(
                summary="One insight",
                description="What is told is empty until `state` is `ready`; a failed one says why"
                " in `error_code`. `generated_by` names the model, `mindstream-local` being the"
                " analyser that comes along.",
                tags=TAGS,
                response=InsightDocument,
                statuses=(200, 304),
                problems=("NOT_FOUND",),
                permission=PERMISSION,
                fresh=True,
                operation_id="get_insight",
            )
        },
    )
    async def get_insight(request: AnyRequest) -> Answer:
        insight_id: str = request.path_params["insight_id"]
        principal = require(request, PERMISSION)
        position = await fresh(request, freshness, INSIGHTS)
        known = id_of(insight_id)
        found = await insights.insight(reader, principal.user_id, known)
        if found is None:
            raise Problem("NOT_FOUND")
        viewed(known, principal, context_of(request).request_id)
        tag = etag(found[1])
        if not_modified(request, tag):
            return unchanged(request, etag=tag, token=position)
        document = msgspec.Raw(found[0])
        return ok(request, document, message="Insight", etag=tag, token=position)

    @get(
        _LIST,
        opt={
            "operation": Operation(
                summary="Insights by the page",
                description="Newest first.",
                tags=TAGS,
                response=InsightDocument,
                page=True,
                query=InsightQuery,
                problems=("INVALID_CURSOR",),
                permission=PERMISSION,
                fresh=True,
                operation_id="list_insights",
            )
        },
    )
    async def list_insights(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        asked = query(request, InsightQuery)
        position = await fresh(request, freshness, INSIGHTS)
        binding = (asked.insight_type, asked.state)
        after: insights.Keyset | None = None
        if asked.cursor is not None:
            kind: Any = tuple[datetime.datetime, UUID]
            after = cursors.open(_LIST, user_id, asked.cursor, binding, kind)
        documents, end = await insights.page(
            reader,
            user_id,
            insight_type=asked.insight_type,
            state=asked.state,
            after=after,
            limit=asked.limit,
        )
        cursor = cursors.seal(_LIST, user_id, end, binding) if end is not None else None
        listed = msgspec.Raw(b"[" + b",".join(documents) + b"]")
        meta = PageMeta(cursor, asked.limit)
        return ok(request, listed, message="Insights", token=position, meta=meta)

    return [get_insight, list_insights]
