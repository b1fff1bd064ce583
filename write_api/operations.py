"""Long work over HTTP: how it is accepted, and how it is cancelled.

Owns the port through which this API accepts work, and DELETE of an operation. What an operation
does is its worker's; how far it is, is read through ``read_api/operations.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import context_of, principal_of
from adapters.http.handlers import delete
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok
from commands.ops import NoteAction, note_action
from commands.ports import Context, EventStore
from domain.operation import CANCEL, NewOperation, Operation, is_operators

AnyRequest = Request[Any, Any, Any]


class Accepting(Protocol):
    """Takes work in; ``adapters.operations.PostgresOperations`` does."""

    async def head(self) -> int:
        """The position of the last event."""
        ...

    async def stage(self, operation_id: UUID, number: int, piece: bytes) -> None:
        """Keep a piece of the input of an operation that is yet to be accepted; from 0."""
        ...

    async def discard(self, operation_id: UUID) -> None:
        """Drop the input of an operation that is not to be, or is over; an open one keeps its."""
        ...

    async def accept(self, new: NewOperation) -> Operation:
        """Accept it; with a known idempotency key the operation that was accepted under it.

        Raises:
            KeyReused: the key belongs to another request.
        """
        ...

    async def cancel(self, operation_id: UUID, user_id: UUID) -> Operation | None:
        """Ask for the end of this person's operation; None if there is none such."""
        ...

    async def cancel_operators(self, operation_id: UUID) -> Operation | None:
        """Ask for the end of anybody's operation on projections; None if there is none such."""
        ...


class Offering(Protocol):
    """Hands accepted work to the broker; ``workers.broker.Offers`` does."""

    def offer_soon(self, kind: str, operation_id: UUID) -> None:
        """Offer it without waiting."""
        ...


def location_of(operation: Operation) -> str:
    """Where an operation is watched."""
    return f"/v1/operations/{operation.id}"


def routes(
    operations: Accepting,
    store: EventStore,
    new_id: Callable[[], UUID],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def note(request: AnyRequest, operation: Operation) -> None:
        """Note that an operator ended another's work, or their own, on the system."""
        principal, about = principal_of(request), context_of(request)
        context = Context(
            user_id=principal.user_id,
            tenant_id=principal.tenant_id,
            actor=principal.actor,
            now=clock(),
            correlation_id=about.request_id,
        )
        action = NoteAction(
            id=new_id(),
            action=CANCEL,
            target=str(operation.id),
            operation_id=operation.id,
            after={"kind": operation.kind},
            address=about.client_address,
            agent=about.user_agent,
        )
        await note_action(action, context, store)

    @delete(
        "/v1/operations/{operation_id:str}",
        opt={
            "operation": Described(
                summary="Cancel an operation",
                description="What has not begun is over at once; what runs stops at its next step"
                " and keeps what it has done. One that has ended stays as it is. Operators cancel"
                " each other's work on projections.",
                tags=("Operations",),
                response=Operation,
                statuses=(202,),
                problems=("NOT_FOUND",),
                if_match=False,
                keys=True,
                operation_id="cancel_operation",
            )
        },
    )
    async def cancel_operation(request: AnyRequest) -> Answer:
        operation_id: str = request.path_params["operation_id"]
        principal = principal_of(request)
        try:
            known = UUID(operation_id)
        except ValueError:
            raise Problem("NOT_FOUND") from None
        operation = await operations.cancel(known, principal.user_id)
        if operation is None and "ops:write" in principal.permissions:
            operation = await operations.cancel_operators(known)
        elif operation is None and "ops:read" in principal.permissions:
            raise Problem("FORBIDDEN", "This needs the permission ops:write.")
        if operation is None:
            raise Problem("NOT_FOUND")
        if is_operators(operation.kind):
            await note(request, operation)
        return ok(
            request,
            operation,
            status=202,
            message="Cancellation requested",
            location=location_of(operation),
            token=await operations.head(),
        )

    return [cancel_operation]
