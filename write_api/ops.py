"""What operators ask for over HTTP: of projections, and of events in quarantine.

Owns the check of what is asked, and that it becomes an operation. A worker does what takes time
(``workers/projections.py``); a retry or a discard is a change of a row and done at once, so that
its operation has ended when it is answered.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import context_of, header, require
from adapters.http.handlers import post
from adapters.http.idempotency import hash_of, key_of
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem, invalid, register
from adapters.http.responses import Answer, ok
from adapters.http.validation import decode_body
from commands.ports import EventStore
from domain.faults import Fault
from domain.operation import (
    DISCARD,
    PAUSE,
    REBUILD,
    RESUME,
    RETRY,
    ROLLBACK,
    VERIFY,
    NewOperation,
    Operation,
)
from write_api.accepting import accept_once
from write_api.answering import Answering
from write_api.noting import note
from write_api.operations import Accepting, Offering, location_of

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")

PERMISSION = "ops:write"
TAGS = ("Operators",)

register(
    "RANGE_NOT_SUPPORTED",
    422,
    "This projection cannot be rebuilt for a range of time",
    "Its rows do not belong to a time. Rebuild the whole of it, or one key.",
)

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body without fields."""


class RebuildRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}
):
    """What a rebuild takes, all of it optional.

    ``key`` or a range (``from`` inclusive, ``to`` exclusive, recorded times) repairs the live
    generation. ``max_lag_seconds`` is how far live projections may fall behind meanwhile.
    """

    partitions: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    from_: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    to: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    key: Text | None = None
    max_lag_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    accept_differences: bool = False


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


_VERBS = {
    "pause": (
        PAUSE,
        "Pause a projection",
        "While it is being rebuilt, this pauses the rebuild, and the live generation goes on.",
    ),
    "resume": (
        RESUME,
        "Resume a projection",
        "While it is being rebuilt, this resumes the rebuild.",
    ),
    "verify": (
        VERIFY,
        "Compare a projection with its events",
        (
            "Nothing is touched. The operation succeeds with `equal: false` and the differences"
            " where there are some."
        ),
    ),
    "rollback": (
        ROLLBACK,
        "Serve the generation before",
        (
            "The one that a swap has kept catches up with every write since, and is served; a"
            " second rollback goes forward again."
        ),
    ),
}
_PROJECTIONS = "/v1/ops/projections/{name:str}"
_QUARANTINE = "/v1/ops/quarantine"


def _described(
    summary: str,
    operation_id: str,
    *,
    description: str = "",
    body: Any = Nothing,
    required: bool = False,
    example: Any = None,
    problems: tuple[str, ...] = (),
) -> dict[str, Any]:
    return {
        "operation": Described(
            summary=summary,
            description=description,
            tags=TAGS,
            body=body,
            body_required=required,
            examples={"example": {} if example is None else example},
            response=Operation,
            statuses=(202,),
            problems=problems,
            permission=PERMISSION,
            operation_id=operation_id,
        )
    }


def routes(
    answering: Answering,
    store: EventStore,
    operations: Accepting,
    offers: Offering,
    care: Care,
    new_id: Callable[[], UUID],
    projections: Mapping[str, bool],
) -> list[HTTPRouteHandler]:
    """The handlers; ``projections`` are those that can be rebuilt, and whether for a range."""
    desk = _Desk(answering, store, operations, offers, new_id)
    return [*_of_projections(desk, projections), *_of_quarantine(desk, care)]


def _of_projections(desk: _Desk, projections: Mapping[str, bool]) -> list[HTTPRouteHandler]:
    def known(request: AnyRequest) -> str:
        require(request, PERMISSION)
        name: str = request.path_params["name"]
        if name not in projections:
            raise Problem("NOT_FOUND")
        return name

    @post(
        f"{_PROJECTIONS}/rebuild",
        opt=_described(
            "Rebuild a projection",
            "rebuild_projection",
            description="A new generation grows beside the live one, is compared with it, and"
            " takes its place at once. One that differs is swapped in only with"
            " `accept_differences`. A key or a range repairs the live generation.",
            body=RebuildRequest,
            example={"max_lag_seconds": 1.0},
            problems=("NOT_FOUND", "RANGE_NOT_SUPPORTED"),
        ),
    )
    async def rebuild(request: AnyRequest) -> Answer:
        name = known(request)
        body = await request.body()
        asked = _decoded(request, body, RebuildRequest)
        options = options_of(asked)
        if (asked.from_ or asked.to) and not projections[name]:
            raise Problem("RANGE_NOT_SUPPORTED")
        params = {"projection": name, "options": options}
        return await desk.accept(request, REBUILD, params, body)

    def verb(path: str, kind: str, summary: str, description: str) -> HTTPRouteHandler:
        @post(
            f"{_PROJECTIONS}/{path}",
            opt=_described(
                summary, f"{path}_projection", description=description, problems=("NOT_FOUND",)
            ),
        )
        async def handle(request: AnyRequest) -> Answer:
            name = known(request)
            body = await request.body()
            _decoded(request, body, Nothing)
            return await desk.accept(request, kind, {"projection": name}, body)

        return handle

    return [rebuild, *(verb(path, *about) for path, about in _VERBS.items())]


def _of_quarantine(desk: _Desk, care: Care) -> list[HTTPRouteHandler]:
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
        opt=_described(
            "Try an event in quarantine again", "retry_quarantined", problems=("NOT_FOUND",)
        ),
    )
    async def retry(request: AnyRequest) -> Answer:
        item_id = await item_of(request)
        body = await request.body()
        _decoded(request, body, Nothing)
        return await desk.do(
            request, RETRY, {"id": item_id}, body, lambda new: care.retry(new, item_id=item_id)
        )

    @post(
        f"{_QUARANTINE}/{{item_id:str}}/discard",
        opt=_described(
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
        opt=_described(
            "Try many events in quarantine again",
            "retry_all_quarantined",
            body=Choice,
            example=Choice(projection="journal.entries"),
        ),
    )
    async def retry_all(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        body = await request.body()
        asked = _decoded(request, body, Choice)
        chosen = msgspec.structs.asdict(asked)
        return await desk.do(request, RETRY, chosen, body, lambda new: care.retry(new, **chosen))

    @post(
        f"{_QUARANTINE}/discard",
        opt=_described(
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


def options_of(asked: RebuildRequest) -> dict[str, Any]:
    """What is asked for, as the operation keeps it.

    Raises:
        Problem: 422 where the fields do not go together.
    """
    faults = []
    ranged = asked.from_ is not None or asked.to is not None
    if asked.key is not None and ranged:
        faults.append(Fault("key", "not_allowed", "Give a key or a range, not both."))
    if asked.from_ is not None and asked.to is not None and asked.to <= asked.from_:
        faults.append(Fault("to", "too_small", "This must be after from."))
    if asked.max_lag_seconds is not None and not math.isfinite(asked.max_lag_seconds):
        faults.append(Fault("max_lag_seconds", "invalid_format", "This must be a number."))
    if faults:
        raise invalid(*faults)
    options: dict[str, Any] = msgspec.to_builtins(asked)
    return {name: value for name, value in options.items() if value is not None}


def _decoded(request: AnyRequest, body: bytes, kind: type[T]) -> T:
    """The body, which may be left out."""
    return decode_body(body, header(request, b"content-type"), kind) if body else kind()


class _Desk:
    """Makes operations of requests."""

    def __init__(
        self,
        answering: Answering,
        store: EventStore,
        operations: Accepting,
        offers: Offering,
        new_id: Callable[[], UUID],
    ) -> None:
        self._answering = answering
        self._store = store
        self._operations = operations
        self._offers = offers
        self._new_id = new_id

    async def accept(
        self, request: AnyRequest, kind: str, params: dict[str, Any], body: bytes
    ) -> Answer:
        """Accept work for a worker."""
        return await self.do(request, kind, params, body, self._operations.accept)

    async def do(
        self,
        request: AnyRequest,
        kind: str,
        params: dict[str, Any],
        body: bytes,
        accept: Callable[[NewOperation], Awaitable[Operation]],
    ) -> Answer:
        """Answer with the operation that ``accept`` makes, once for each idempotency key."""
        context = self._answering.context(request)
        key = key_of(request)
        new = NewOperation(
            id=self._new_id(),
            kind=kind,
            user_id=context.user_id,
            tenant_id=context.tenant_id,
            correlation_id=context.correlation_id,
            created_at=context.now,
            idempotency_key=key,
            request_hash=hash_of(request, body) if key is not None else None,
            params=params,
        )
        about = context_of(request)

        async def noted(new: NewOperation) -> Operation:
            address, agent = about.client_address, about.user_agent
            await note(self._store, context, new, address=address, agent=agent)
            return await accept(new)

        return await accept_once(
            request, context, self._store, new, noted, lambda it: self._accepted(request, it)
        )

    async def _accepted(self, request: AnyRequest, operation: Operation) -> Answer:
        if operation.finished_at is None:
            self._offers.offer_soon(operation.kind, operation.id)
        return ok(
            request,
            operation,
            status=202,
            message="Accepted",
            location=location_of(operation),
            token=await self._operations.head(),
        )
