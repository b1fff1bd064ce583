"""The event store in memory: the fake that the contract suite holds to the real one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from uuid_utils.compat import uuid7

from commands.ports import (
    A,
    Append,
    Claim,
    ClaimTaken,
    Committed,
    Context,
    Idempotency,
    KeyReused,
    Replayed,
    Response,
    VersionConflict,
)
from domain.event import Metadata, Recorded


class MemoryEventStore:
    """Everything in lists and dicts; ``events`` is the total order."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self.claims: dict[tuple[str, str], str] = {}
        self.answers: dict[tuple[str, str], tuple[bytes, Response, int]] = {}

    async def load(self, aggregate: type[A], stream_id: str) -> A | None:
        state: A | None = None
        for recorded in self.events:
            if recorded.stream_id == stream_id:
                state = aggregate.evolve(state, recorded)
        return state

    async def load_many(self, aggregate: type[A], stream_ids: Iterable[str]) -> dict[str, A]:
        loaded = {stream_id: await self.load(aggregate, stream_id) for stream_id in stream_ids}
        return {stream_id: state for stream_id, state in loaded.items() if state is not None}

    async def read(self, stream_id: str, *, after: int = 0) -> Sequence[Recorded]:
        return [e for e in self.events if e.stream_id == stream_id and e.stream_version > after]

    async def holders(self, kind: str, keys: Iterable[str]) -> dict[str, str]:
        return {key: self.claims[kind, key] for key in keys if (kind, key) in self.claims}

    async def append(
        self,
        context: Context,
        *appends: Append,
        claims: Sequence[Claim] = (),
        result: Any = None,
    ) -> Committed:
        idempotency = context.idempotency
        if idempotency is not None:
            await self.answered(idempotency.principal, idempotency.key, idempotency.request_hash)
        for one in appends:
            if one.events and len(await self.read(one.stream_id)) != one.expected_version:
                raise VersionConflict(one.stream_id)
        for claim in claims:
            holder = self.claims.get((claim.kind, claim.key))
            if holder != claim.expected:
                raise ClaimTaken(claim.kind, claim.key, holder)
        response = idempotency.render(result) if idempotency is not None else None
        for one in appends:
            for version, event in enumerate(one.events, one.expected_version + 1):
                self.events.append(
                    Recorded(
                        position=len(self.events) + 1,
                        stream_id=one.stream_id,
                        stream_version=version,
                        tenant_id=context.tenant_id,
                        recorded_at=context.now,
                        event=event,
                        metadata=Metadata(
                            event_id=uuid7(),
                            correlation_id=context.correlation_id,
                            causation_id=context.causation_id,
                            actor=context.actor,
                            trace_id=context.trace_id,
                        ),
                    )
                )
        for claim in claims:
            if claim.holder is None:
                self.claims.pop((claim.kind, claim.key), None)
            else:
                self.claims[claim.kind, claim.key] = claim.holder
        if idempotency is not None and response is not None:
            self._keep(idempotency, response)
        return Committed(len(self.events))

    async def answered(self, principal: str, key: str, request_hash: bytes) -> None:
        if (principal, key) in self.answers:
            stored, response, position = self.answers[principal, key]
            if stored != request_hash:
                raise KeyReused("the idempotency key belongs to another request")
            raise Replayed(response, position)

    async def remember(
        self, context: Context, idempotency: Idempotency, response: Response
    ) -> None:
        await self.answered(idempotency.principal, idempotency.key, idempotency.request_hash)
        self._keep(idempotency, response)

    def _keep(self, idempotency: Idempotency, response: Response) -> None:
        self.answers[idempotency.principal, idempotency.key] = (
            idempotency.request_hash,
            response,
            len(self.events),
        )
