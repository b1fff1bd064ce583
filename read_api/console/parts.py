"""What the server draws for an operator: the overview and the projections.

Owns the call ``/v1/ops/console/{page}`` that the frame's script makes. It needs ``ops:read`` and is
checked each time, so that a login that ends sees no more.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from jinja2 import Environment
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import require
from adapters.http.handlers import get
from adapters.http.health import Readiness, health_of
from adapters.http.operation import OPT, Operation
from adapters.http.problems import Problem
from adapters.http.responses import Answer, page
from adapters.http.validation import query
from domain.operation import ANSWERS, REBUILD
from domain.operation import Operation as Done
from projections.engine.telemetry import ProjectionStatus
from projections.ops.audit import AuditFilter, AuditLog, Requested, RequestFilter
from projections.oversight import ItemFilter, OperationFilter, Oversight, Plans
from read_api.console import pages
from read_api.console.trends import Trends

AnyRequest = Request[Any, Any, Any]

PERMISSION, WRITE = "ops:read", "ops:write"
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
ENOUGH = 100
"""More open items than that are counted as so many and more."""
_LEFT_OUT = ("/v1/stream", "/v1/ws", pages.PARTS)


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part without parameters."""


class PlanQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which projection is to be rebuilt."""

    name: Text


class ProjectionsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which projection, or all of them."""

    name: Text | None = None


Drawing = Callable[[AnyRequest, Any], Awaitable[dict[str, Any]]]


class Part(msgspec.Struct, frozen=True):
    """A part: its name and its template's, the parameters it takes, what gathers its values."""

    name: str
    asked: Any
    draw: Drawing


def handler(templates: Environment, parts: Iterable[Part]) -> HTTPRouteHandler:
    """The handler of all parts."""
    by_name = {part.name: part for part in parts}

    @get(
        pages.PARTS + "{page:str}",
        opt={
            OPT: Operation(
                summary="What a page of the console shows",
                description="A piece of HTML for the console's script.",
                tags=pages.TAGS,
                enveloped=False,
                response=str,
                response_media_type="text/html",
                problems=("NOT_FOUND", "VALIDATION_FAILED"),
                permission=PERMISSION,
                keys=False,
                operation_id="console_part",
            )
        },
    )
    async def show(request: AnyRequest) -> Answer:
        principal = require(request, PERMISSION)
        part = by_name.get(request.path_params["page"])
        if part is None:
            raise Problem("NOT_FOUND")
        values = await part.draw(request, query(request, part.asked))
        html = templates.get_template(f"{part.name}.html").render(
            may_write=WRITE in principal.permissions, **values
        )
        return page(html, csp=CSP)

    return show


def parts(
    oversight: Oversight,
    plans: Plans,
    audit: AuditLog,
    readiness: Readiness,
    trends: Trends,
) -> list[Part]:
    """Overview, projections, and what a rebuild would touch."""

    async def statuses() -> Sequence[ProjectionStatus]:
        found = await oversight.projections()
        head = max((each.head for each in found), default=0)
        trends.note(head, ((each.name, each.gap_events) for each in found))
        return found

    async def overview(request: AnyRequest, asked: NoQuery) -> dict[str, Any]:
        since = datetime.now(UTC) - timedelta(minutes=5)
        found = await statuses()
        health, parked, retrying, failed, requests, recent = await asyncio.gather(
            health_of(readiness),
            oversight.quarantine(ItemFilter(state="parked"), below=None, limit=ENOUGH),
            oversight.quarantine(ItemFilter(state="retrying"), below=None, limit=ENOUGH),
            oversight.operations(OperationFilter(state="failed"), below=None, limit=ENOUGH),
            audit.requests(RequestFilter(since=since), below=None, limit=2000),
            audit.items(AuditFilter(), below=None, limit=8, personal=False),
        )
        day = datetime.now(UTC) - timedelta(days=1)
        return {
            "health": health,
            "projections": found,
            "troubled": [each for each in found if each.status in ("stalled", "stopped")],
            "parked": parked,
            "retrying": retrying,
            "failed": [each for each in failed if each.created_at >= day and _is_trouble(each)],
            "enough": ENOUGH,
            "traffic": traffic(requests),
            "recent": recent,
            "events_per_second": trends.events_per_second(),
            "rates": trends.rates(),
            "head": max((each.head for each in found), default=0),
            "farthest": max(found, key=lambda each: each.gap_events, default=None),
        }

    async def projections(request: AnyRequest, asked: ProjectionsQuery) -> dict[str, Any]:
        found = await statuses()
        if asked.name is None:
            return {
                "one": None,
                "projections": found,
                "reactions": await oversight.reactions(),
                "trends": trends,
            }
        one = next((each for each in found if each.name == asked.name), None)
        if one is None:
            raise Problem("NOT_FOUND", "There is no projection of this name.")
        rebuilds = await oversight.operations(
            OperationFilter(kind=REBUILD), below=None, limit=ENOUGH
        )
        results = [each for each in map(_read, rebuilds) if _is_about(each.result, one.name)]
        return {
            "one": one,
            "trends": trends,
            "rebuilds": results[:5],
        }

    async def plan(request: AnyRequest, asked: PlanQuery) -> dict[str, Any]:
        found = await plans.plan(asked.name)
        if found is None:
            raise Problem("NOT_FOUND", "There is no projection of this name.")
        return {"plan": found}

    return [
        Part("overview", NoQuery, overview),
        Part("projections", ProjectionsQuery, projections),
        Part("plan", PlanQuery, plan),
    ]


class Traffic(msgspec.Struct, frozen=True):
    """Requests of the last minutes; times in milliseconds, None where there were none."""

    requests: int
    p50: float | None
    p95: float | None
    failed: int


def traffic(requests: Sequence[Requested]) -> Traffic:
    """What clients met with; streams that stay open and the console's own calls left out."""
    counted = [each for each in requests if not each.route.startswith(_LEFT_OUT)]
    times = sorted(each.duration_ms for each in counted)
    return Traffic(
        len(times),
        _quantile(times, 0.5),
        _quantile(times, 0.95),
        sum(each.status >= 500 for each in counted),
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest of the values that ``share`` of them do not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def _read(operation: Done) -> Done:
    """The operation with its result as values; the store hands it out as it lies there."""
    if not isinstance(operation.result, msgspec.Raw):
        return operation
    return msgspec.structs.replace(operation, result=msgspec.json.decode(operation.result))


def _is_trouble(operation: Done) -> bool:
    """Whether its failure needs somebody, and is not what its asker was told."""
    return operation.error is None or operation.error.code not in ANSWERS


def _is_about(result: object, name: str) -> bool:
    return isinstance(result, dict) and result.get("projection") == name
