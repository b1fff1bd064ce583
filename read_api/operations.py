"""Long work over HTTP: how far it is and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import principal_of
from adapters.http.handlers import get
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem, retry_after
from adapters.http.responses import Answer, ok
from domain.operation import Operation, Targeted

AnyRequest = Request[Any, Any, Any]


class Showing(Protocol):
    """Shows operations; ``adapters.operations.PostgresOperations`` does."""

    async def head(self) -> int:
        """The position of the last event."""
        ...

    async def get(self, operation_id: UUID, user_id: UUID) -> Operation | None:
        """This person's operation, None if there is none such."""
        ...

    async def get_any(self, operation_id: UUID) -> Targeted | None:
        """Anybody's operation, for operators."""
        ...


def routes(
    operations: Showing, for_owner: Callable[[Operation], Operation] = lambda operation: operation
) -> list[HTTPRouteHandler]:
    """The handlers; ``for_owner`` adds to an operation what only its owner may see."""

    @get(
        "/v1/operations/{operation_id:str}",
        opt={
            "operation": Described(
                summary="How far an operation is",
                description="Its owner and operators see it; ask again after Retry-After while it"
                " runs.",
                tags=("Operations",),
                response=Operation,
                problems=("NOT_FOUND",),
                keys=True,
                operation_id="get_operation",
            )
        },
    )
    async def get_operation(request: AnyRequest) -> Answer:
        operation_id: str = request.path_params["operation_id"]
        principal = principal_of(request)
        try:
            known = UUID(operation_id)
        except ValueError:
            raise Problem("NOT_FOUND") from None
        operation = await operations.get(known, principal.user_id)
        if operation is not None:
            operation = for_owner(operation)
        elif "ops:read" in principal.permissions:
            anybodys = await operations.get_any(known)
            operation = None if anybodys is None else anybodys.as_owned()
        if operation is None:
            raise Problem("NOT_FOUND")
        headers = None if operation.finished_at is not None else retry_after(1)
        token = await operations.head()  # with it the read models show what the operation did
        return ok(request, operation, message="Operation", headers=headers, token=token)

    return [get_operation]
