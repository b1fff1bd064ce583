"""POST /v1/me/erasure: a person asks to be erased, for good.

Owns the acceptance: every login ends and the password goes at once; what follows is an operation
(``workers/erasure.py``), which the same token shows for a day.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.bodies import body_of
from adapters.http.context import header, principal_of
from adapters.http.handlers import post
from adapters.http.idempotency import hash_of, key_of
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok
from commands.ports import EventStore
from domain.operation import ERASURE, NewOperation, Operation
from write_api.accepting import accept_once
from write_api.answering import Answering
from write_api.logins import TAGS, login_of
from write_api.operations import Accepting, Offering, location_of

AnyRequest = Request[Any, Any, Any]


class Closing(Protocol):
    """Ends what lets somebody in; ``adapters.credentials.PostgresCredentials`` does."""

    async def end_all(self, user_id: UUID) -> int:
        """End every login of the person."""
        ...

    async def drop_password(self, user_id: UUID) -> int:
        """Delete their password; how many there were."""
        ...


def routes(
    answering: Answering,
    store: EventStore,
    operations: Accepting,
    offers: Offering,
    credentials: Closing,
    new_id: Callable[[], UUID],
    digest: Callable[[str], str],
) -> list[HTTPRouteHandler]:
    """The handler; ``digest`` is how an operation remembers the token that asked for it."""

    @post(
        "/v1/me/erasure",
        opt={
            "operation": Described(
                summary="Erase oneself, for good",
                description="There is no way back. Every login ends at once; the operation stays"
                " readable with the asking token for 24 hours. Its result is a report of what was"
                " erased where, signed by a key of the JWKS. Takes no body.",
                tags=TAGS,
                response=Operation,
                statuses=(202,),
                problems=("FORBIDDEN", "MALFORMED_REQUEST"),
                operation_id="erase_me",
            )
        },
    )
    async def erase_me(request: AnyRequest) -> Answer:
        login_of(principal_of(request))
        if await body_of(request) not in (b"", b"{}"):
            raise Problem("MALFORMED_REQUEST", "This takes no body.")
        context = answering.context(request)
        key = key_of(request)
        new = NewOperation(
            id=new_id(),
            kind=ERASURE,
            user_id=context.user_id,
            tenant_id=context.tenant_id,
            correlation_id=context.correlation_id,
            created_at=context.now,
            idempotency_key=key,
            request_hash=hash_of(request, b"") if key is not None else None,
            params={
                "asked_by": digest(header(request, b"authorization") or ""),
                "requested_at": context.now,
            },
        )

        async def accept(new: NewOperation) -> Operation:
            # Nobody is to come in again before the work begins. The report counts this, too.
            dropped = {"accounts_credentials": await credentials.drop_password(context.user_id)}
            params = {**(new.params or {}), "erased": dropped}
            return await operations.accept(msgspec.structs.replace(new, params=params))

        async def accepted(operation: Operation) -> Answer:
            # Should it crash before this: ending the logins is the work's first step as well.
            await credentials.end_all(context.user_id)
            offers.offer_soon(operation.kind, operation.id)
            return ok(
                request,
                operation,
                status=202,
                message="Erasure accepted",
                location=location_of(operation),
                token=await operations.head(),
            )

        return await accept_once(request, context, store, new, accept, accepted)

    return [erase_me]
