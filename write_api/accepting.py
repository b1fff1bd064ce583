"""Taking in long work under an idempotency key: once, and the first answer for every repetition.

Owns the order of looking for an earlier answer, accepting, and keeping the answer. What is accepted
is for the caller to say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request

from adapters.http.fresh import token
from adapters.http.idempotency import principal_name, replay, stored
from adapters.http.responses import Answer
from commands.ports import Context, EventStore, Idempotency, Replayed
from domain.operation import NewOperation, Operation

AnyRequest = Request[Any, Any, Any]


async def accept_once(
    request: AnyRequest,
    context: Context,
    store: EventStore,
    new: NewOperation,
    accept: Callable[[NewOperation], Awaitable[Operation]],
    accepted: Callable[[Operation], Awaitable[Answer]],
) -> Answer:
    """The answer to this request, or to the first one with its key.

    Raises:
        KeyReused: the key belongs to another request.
    """
    key, request_hash = new.idempotency_key, new.request_hash
    if key is None or request_hash is None:
        return await accepted(await accept(new))
    principal = principal_name(request)
    try:
        await store.answered(principal, key, request_hash)
        answer = await accepted(await accept(new))
        kept = stored(answer)
        await store.remember(
            context, Idempotency(principal, key, request_hash, lambda _: kept), kept
        )
    except Replayed as first:
        return replay(first.response, token(first.position))
    return answer
