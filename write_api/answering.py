"""From a command to an answer, once for each idempotency key.

Owns the order of things around a dispatch: the command runs as if its key were new, the answer is
stored in the commit that makes it true, and only a refusal makes us look whether the key has an
answer already. What was refused for good (404, 409, 412) is kept as well; a request that was
invalid is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.http.context import HasScope, context_of, principal_of, unauthenticated
from adapters.http.errors import SHARED, Mapper
from adapters.http.fresh import token
from adapters.http.idempotency import (
    hash_of,
    key_of,
    principal_name,
    replay,
    reused,
    stored,
)
from adapters.http.problems import Problem
from adapters.http.responses import Answer, failed
from commands.bus import Outcome
from commands.ports import (
    Context,
    EventStore,
    Idempotency,
    KeyReused,
    Replayed,
    Response,
    SubjectErased,
    VersionConflict,
)
from domain.errors import DomainError

Dispatch = Callable[[Any, Context], Awaitable[Outcome[Any]]]
"""``commands.bus.Bus.dispatch``."""

ERRORS: dict[type[Exception], Mapper] = {
    SubjectErased: lambda error: unauthenticated(detail="This account was erased."),
    KeyReused: lambda error: reused(),
    VersionConflict: lambda error: Problem(
        "CONFLICT", "Others kept changing this at the same time. Try again."
    ),
}
"""How what commits raise is answered, beside ``adapters.http.errors.SHARED``."""


class Answering:
    """Dispatches commands for requests.

    ``errors`` maps the contexts' own refusals to problems; ``clock`` tells the time in UTC.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        store: EventStore,
        errors: Mapping[type[Exception], Mapper],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._dispatch = dispatch
        self._store = store
        self._errors = {**SHARED, **ERRORS, **errors}
        self._clock = clock

    def context(self, request: HasScope, idempotency: Idempotency | None = None) -> Context:
        """Who commands: the request's principal."""
        principal = principal_of(request)
        about = context_of(request)
        return Context(
            user_id=principal.user_id,
            tenant_id=principal.tenant_id,
            actor=principal.actor,
            now=self._clock(),
            correlation_id=about.request_id,
            address=about.client_address,
            agent=about.user_agent,
            idempotency=idempotency,
        )

    async def answer(
        self,
        request: HasScope,
        command: object,
        render: Callable[[Any], Answer],
        *,
        body: bytes = b"",
    ) -> Answer:
        """Dispatch the command and answer it, as ``run`` does.

        Raises:
            Problem, or what the command raises.
        """
        return await self.run(
            request, lambda context: self._dispatch(command, context), render, body=body
        )

    async def run(
        self,
        request: HasScope,
        run: Callable[[Context], Awaitable[Outcome[Any]]],
        render: Callable[[Any], Answer],
        *,
        body: bytes = b"",
    ) -> Answer:
        """Run what changes something and answer it; ``render`` makes the answer of its result.

        The answer gets its Consistency-Token here. ``body`` is the request's, for its hash.

        Raises:
            Problem, or what ``run`` raises.
        """
        key = key_of(request)
        if key is None:
            outcome = await run(self.context(request))
            return _with_token(render(outcome.result), outcome.position)
        rendered: list[Answer] = []

        def keep(result: Any) -> Response:
            rendered[:] = [render(result)]
            return stored(rendered[0])

        idempotency = Idempotency(principal_name(request), key, hash_of(request, body), keep)
        context = self.context(request, idempotency)
        try:
            try:
                outcome = await run(context)
            except DomainError as refusal:
                return await self._refused(request, context, idempotency, refusal)
        except Replayed as first:
            return replay(first.response, token(first.position))
        return _with_token(rendered[0], outcome.position)

    async def _refused(
        self,
        request: HasScope,
        context: Context,
        idempotency: Idempotency,
        refusal: DomainError,
    ) -> Answer:
        """Keep the refusal, unless the key has an answer: then the refusal comes of that one."""
        await self._store.answered(idempotency.principal, idempotency.key, idempotency.request_hash)
        mapper = next(
            (self._errors[kind] for kind in type(refusal).__mro__ if kind in self._errors), None
        )
        if mapper is None:
            raise refusal
        answer = failed(mapper(refusal), request)
        await self._store.remember(context, idempotency, stored(answer))
        return answer


def _with_token(answer: Answer, position: int) -> Answer:
    answer.raw_headers.append((b"consistency-token", token(position).encode("ascii")))
    return answer
