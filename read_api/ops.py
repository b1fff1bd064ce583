"""What operators look at over HTTP: projections, quarantine, events, and everybody's operations.

Owns the translation between requests and ``projections.oversight``. Everything needs ``ops:read``;
what people wrote is shown only with ``ops:personal`` as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import require
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from domain.operation import Operation
from domain.operation import State as OperationState
from domain.reaction import ReactionStatus
from projections.engine.quarantine import Item, State
from projections.engine.telemetry import ProjectionStatus
from projections.oversight import (
    EventFilter,
    EventShown,
    ItemFilter,
    OperationFilter,
    Oversight,
)

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")

PERMISSION = "ops:read"
PERSONAL = "ops:personal"
TAGS = ("Operators",)

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Position = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call without parameters."""


class QuarantineQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the list of quarantined events."""

    state: State | None = None
    projection: Text | None = None
    stream_id: Text | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the list of events; both positions are exclusive."""

    after: Position = 0
    before: Position | None = None
    stream_id: Text | None = None
    topic: Text | None = None
    correlation_id: Text | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class OperationsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the list of operations."""

    state: OperationState | None = None
    kind: Text | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


def _described(
    summary: str,
    operation_id: str,
    response: Any,
    *,
    description: str = "",
    asked: Any = NoQuery,
    page: bool = False,
    problems: tuple[str, ...] = (),
) -> dict[str, Any]:
    return {
        "operation": Described(
            summary=summary,
            description=description,
            tags=TAGS,
            response=response,
            page=page,
            query=asked,
            problems=problems,
            permission=PERMISSION,
            operation_id=operation_id,
        )
    }


def routes(oversight: Oversight, cursors: Cursors) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get(
        "/v1/ops/projections",
        opt=_described(
            "How the projections are",
            "list_projections",
            ProjectionStatus,
            description="All that can be rebuilt, by name, on one page.",
            page=True,
        ),
    )
    async def list_projections(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        query(request, NoQuery)
        found = await oversight.projections()
        return _whole(request, found, "Projections", await oversight.head())

    @get(
        "/v1/ops/projections/{name:str}",
        opt=_described(
            "How a projection is", "get_projection", ProjectionStatus, problems=("NOT_FOUND",)
        ),
    )
    async def get_projection(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        name: str = request.path_params["name"]
        found = [each for each in await oversight.projections() if each.name == name]
        if not found:
            raise Problem("NOT_FOUND")
        query(request, NoQuery)
        return ok(request, found[0], message="Projection", token=found[0].head)

    @get(
        "/v1/ops/reactions",
        opt=_described(
            "How the reactions are",
            "list_reactions",
            ReactionStatus,
            description="By name, on one page. What a reaction could not do lies in quarantine,"
            " its name in the place of a projection's.",
            page=True,
        ),
    )
    async def list_reactions(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        query(request, NoQuery)
        found = await oversight.reactions()
        return _whole(request, found, "Reactions", await oversight.head())

    @get(
        "/v1/ops/reactions/{name:str}",
        opt=_described(
            "How a reaction is", "get_reaction", ReactionStatus, problems=("NOT_FOUND",)
        ),
    )
    async def get_reaction(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        name: str = request.path_params["name"]
        found = [each for each in await oversight.reactions() if each.name == name]
        if not found:
            raise Problem("NOT_FOUND")
        query(request, NoQuery)
        return ok(request, found[0], message="Reaction", token=found[0].head)

    @get(
        "/v1/ops/quarantine",
        opt=_described(
            "Events that could not be folded",
            "list_quarantine",
            Item,
            description="In every state, newest event first.",
            asked=QuarantineQuery,
            page=True,
            problems=("INVALID_CURSOR",),
        ),
    )
    async def list_quarantine(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        asked = query(request, QuarantineQuery)
        bound = (asked.state, asked.projection, asked.stream_id)
        paging = _Paging(cursors, "/v1/ops/quarantine", user_id, bound, asked.limit)
        wanted = ItemFilter(
            state=asked.state, projection=asked.projection, stream_id=asked.stream_id
        )
        found = await oversight.quarantine(
            wanted, below=paging.open(asked.cursor, tuple[int, UUID]), limit=asked.limit + 1
        )
        page, meta = paging.page(found, lambda item: (item.position, item.id))
        token = await oversight.head()
        return ok(request, page, message="Quarantine", meta=meta, token=token)

    @get(
        "/v1/ops/events",
        opt=_described(
            "The events as they lie in the store",
            "list_events",
            EventShown,
            description='In order. A personal field is `{"sealed": true}` without `ops:personal`.'
            " `after` and `before` are positions, exclusive.",
            asked=EventsQuery,
            page=True,
            problems=("INVALID_CURSOR",),
        ),
    )
    async def list_events(request: AnyRequest) -> Answer:
        principal = require(request, PERMISSION)
        asked = query(request, EventsQuery)
        bound = (asked.after, asked.before, asked.stream_id, asked.topic, asked.correlation_id)
        paging = _Paging(cursors, "/v1/ops/events", principal.user_id, bound, asked.limit)
        seen = paging.open(asked.cursor, tuple[int])
        wanted = EventFilter(
            after=asked.after if seen is None else seen[0],
            before=asked.before,
            stream_id=asked.stream_id,
            topic=asked.topic,
            correlation_id=asked.correlation_id,
        )
        found = await oversight.events(
            wanted, personal=PERSONAL in principal.permissions, limit=asked.limit + 1
        )
        page, meta = paging.page(found, lambda event: (event.position,))
        token = await oversight.head()
        return ok(request, page, message="Events", meta=meta, token=token)

    def operations_at(path: str, operation_id: str, summary: str) -> HTTPRouteHandler:
        @get(
            path,
            opt=_described(
                summary,
                operation_id,
                Operation,
                description="Everybody's, newest first.",
                asked=OperationsQuery,
                page=True,
                problems=("INVALID_CURSOR",),
            ),
        )
        async def list_operations(request: AnyRequest) -> Answer:
            user_id = require(request, PERMISSION).user_id
            asked = query(request, OperationsQuery)
            paging = _Paging(cursors, path, user_id, (asked.state, asked.kind), asked.limit)
            found = await oversight.operations(
                OperationFilter(state=asked.state, kind=asked.kind),
                below=paging.open(asked.cursor, tuple[datetime, UUID]),
                limit=asked.limit + 1,
            )
            page, meta = paging.page(
                [each.as_owned() for each in found], lambda each: (each.created_at, each.id)
            )
            token = await oversight.head()
            return ok(request, page, message="Operations", meta=meta, token=token)

        return list_operations

    return [
        list_projections,
        get_projection,
        list_reactions,
        get_reaction,
        list_quarantine,
        list_events,
        operations_at("/v1/ops/operations", "list_operations", "Long work of all kinds"),
        operations_at("/v1/ops/jobs", "list_jobs", "What workers have done and are to do"),
    ]


def _whole(request: AnyRequest, items: Sequence[Any], message: str, head: int) -> Answer:
    """A list that is always one page."""
    meta = PageMeta(None, max(len(items), DEFAULT_LIMIT))
    return ok(request, items, message=message, meta=meta, token=head)


class _Paging:
    """Pages of one list, for one operator and their filters."""

    def __init__(
        self, cursors: Cursors, path: str, user_id: UUID, bound: tuple[Any, ...], limit: int
    ) -> None:
        self._cursors = cursors
        self._about = (path, user_id)
        self._bound = bound
        self._limit = limit

    def open(self, cursor: str | None, kind: Any) -> Any:
        """The key of the last item seen, None on the first page."""
        return (
            None if cursor is None else self._cursors.open(*self._about, cursor, self._bound, kind)
        )

    def page(self, found: Sequence[T], key: Any) -> tuple[Sequence[T], PageMeta]:
        """The items of this page, of one more that were asked for, and where it goes on."""
        page = found[: self._limit]
        cursor = None
        if len(found) > self._limit:
            cursor = self._cursors.seal(*self._about, key(page[-1]), self._bound)
        return page, PageMeta(cursor, self._limit)
