"""Making operations of what operators ask for, once for each idempotency key.

Owns what all of their calls share: the permission, how a call describes itself, a body that may be
left out, and the operation that is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request

from adapters.http.context import context_of, header
from adapters.http.idempotency import hash_of, key_of
from adapters.http.operation import Operation as Described
from adapters.http.responses import Answer, ok
from adapters.http.validation import decode_body
from commands.ports import EventStore
from domain.operation import NewOperation, Operation
from write_api.accepting import accept_once
from write_api.answering import Answering
from write_api.noting import note
from write_api.operations import Accepting, Offering, location_of

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")

PERMISSION = "ops:write"
TAGS = ("Operators",)
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body without fields."""


def described(
    summary: str,
    operation_id: str,
    *,
    description: str = "",
    body: Any = Nothing,
    required: bool = False,
    example: Any = None,
    problems: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The ``opt`` of a handler that answers with an operation."""
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


def decoded(request: AnyRequest, body: bytes, kind: type[T]) -> T:
    """The body, which may be left out."""
    return decode_body(body, header(request, b"content-type"), kind) if body else kind()


class Desk:
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
