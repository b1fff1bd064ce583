"""What the command line does for operators: the same operations as over HTTP.

Owns the connection and the waiting. A worker does the work, so that a killed command line loses
nothing; who may do it is whoever has the address of the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from adapters.event_store.store import PostgresEventStore
from adapters.operations import PostgresOperations
from adapters.oversight import PostgresCare, PostgresOversight
from adapters.planning import PostgresPlans
from adapters.postgres.pipeline import Pipeline
from bootstrap.search import place
from bootstrap.settings import Settings
from bootstrap.views import VIEWS
from bootstrap.wiring.databases import SeriesStore
from commands.ops import NoteAction, note_action
from commands.ports import Context
from domain.operation import CANCEL, NewOperation, Operation, Targeted
from workers.broker import Offers, redis_broker
from write_api.noting import note

LOOK_EVERY = 0.2
"""Seconds between looks at an operation."""
NOBODY = UUID(int=0)
"""Whose operations those of the command line are: no person's."""
ACTOR = "system:cli"
"""Who does them, for the audit log."""


class _KeepsNoAnswers:
    """Stands for a sealer: the command line has no idempotency keys, so nothing is sealed."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Refuse."""
        raise NotImplementedError("no answers are kept for the command line")

    open = seal


class Desk:
    """Everything that operators see and do."""

    def __init__(self, pipeline: Pipeline, offers: Offers, series: SeriesStore) -> None:
        known = [(view.name, view.version) for view in VIEWS]
        self.oversight = PostgresOversight(pipeline, known, elsewhere=series.elsewhere)
        self.care = PostgresCare(pipeline, self.note, series.elsewhere)
        self.plans = PostgresPlans(pipeline, VIEWS, series.elsewhere)
        self._operations = PostgresOperations(pipeline)
        self._store = PostgresEventStore(pipeline, pipeline, _KeepsNoAnswers(), lambda _: None)
        self._offers = offers

    def new(self, kind: str, params: dict[str, Any]) -> NewOperation:
        """An operation to be accepted."""
        operation_id = uuid7()
        return NewOperation(
            id=operation_id,
            kind=kind,
            user_id=NOBODY,
            tenant_id=NOBODY,
            correlation_id=f"cli-{operation_id.hex}",
            created_at=datetime.now(UTC),
            params=params,
        )

    async def ask_all(self, kind: str, params: Sequence[dict[str, Any]]) -> list[Operation]:
        """Accept all of it before a worker hears of any, so that it can be done together."""
        accepted = []
        for each in params:
            new = self.new(kind, each)
            await self.note(new)
            accepted.append(await self._operations.accept(new))
        for operation in accepted:
            await self._offers.offer(kind, operation.id)
        return accepted

    async def note(self, new: NewOperation) -> None:
        """Note for the audit log that this is about to be done."""
        await note(self._store, _context(new.correlation_id), new)

    async def wait(self, operation: Operation, tell: Callable[[Operation], None]) -> Operation:
        """The operation when it has ended; ``tell`` is given it each time that it was looked at."""
        while operation.finished_at is None:
            await asyncio.sleep(LOOK_EVERY)
            operation = await self._operations.get_any(operation.id) or operation
            tell(operation)
        return operation

    async def rebuilds(self, projection: str) -> Sequence[Operation]:
        """The rebuilds of a projection that have not ended."""
        return await self._operations.open_rebuilds(projection)

    async def cancel(self, projection: str) -> Operation | None:
        """Ask for the end of a projection's rebuilds; the first of them, None if there is none."""
        for rebuild in await self.rebuilds(projection):
            await self._note_cancel(rebuild)
        return next(iter(await self._operations.cancel_rebuilds(projection)), None)

    async def operation(self, operation_id: UUID) -> Targeted | None:
        """Anybody's operation, None if there is none such."""
        return await self._operations.get_any(operation_id)

    async def cancel_job(self, operation: Operation) -> Operation | None:
        """Ask for the end of an operation on projections or quarantine; None if it is no such."""
        await self._note_cancel(operation)
        return await self._operations.cancel_operators(operation.id)

    async def _note_cancel(self, operation: Operation) -> None:
        action = NoteAction(
            id=uuid7(),
            action=CANCEL,
            target=str(operation.id),
            operation_id=operation.id,
            after={"kind": operation.kind},
        )
        await note_action(action, _context(f"cli-{action.id.hex}"), self._store)


def _context(correlation_id: str) -> Context:
    return Context(
        user_id=NOBODY,
        tenant_id=NOBODY,
        actor=ACTOR,
        now=datetime.now(UTC),
        correlation_id=correlation_id,
    )


@asynccontextmanager
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """A desk on the write database, as long as the context lasts.

    Raises:
        psycopg.OperationalError: the database does not answer.
    """
    place(settings)
    pipeline = Pipeline(settings.write_dsn or "", role="mindstream_write")
    series = SeriesStore(settings)
    try:
        await pipeline.open()
        async with series.opened():
            offers = Offers(redis_broker(settings.redis_url or "", works=False))
            yield Desk(pipeline, offers, series)
    finally:
        await pipeline.close()
