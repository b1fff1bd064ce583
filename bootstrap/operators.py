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

from adapters.operations import PostgresOperations
from adapters.oversight import PostgresCare, PostgresOversight
from adapters.postgres.pipeline import Pipeline
from bootstrap.settings import Settings
from bootstrap.views import VIEWS
from domain.operation import NewOperation, Operation
from workers.broker import Offers, redis_broker

LOOK_EVERY = 0.2
"""Seconds between looks at an operation."""
NOBODY = UUID(int=0)
"""Whose operations those of the command line are: no person's."""


class Desk:
    """Everything that operators see and do."""

    def __init__(self, pipeline: Pipeline, offers: Offers) -> None:
        known = [(view.name, view.version) for view in VIEWS]
        self.oversight = PostgresOversight(pipeline, known)
        self.care = PostgresCare(pipeline)
        self._operations = PostgresOperations(pipeline)
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

    async def ask(self, kind: str, params: dict[str, Any]) -> Operation:
        """Accept work for a worker."""
        operation = await self._operations.accept(self.new(kind, params))
        await self._offers.offer(kind, operation.id)
        return operation

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
        return next(iter(await self._operations.cancel_rebuilds(projection)), None)


@asynccontextmanager
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """A desk on the write database, as long as the context lasts.

    Raises:
        psycopg.OperationalError: the database does not answer.
    """
    pipeline = Pipeline(settings.write_dsn or "", role="mindstream_write")
    try:
        await pipeline.open()
        yield Desk(pipeline, Offers(redis_broker(settings.redis_url or "", works=False)))
    finally:
        await pipeline.close()
