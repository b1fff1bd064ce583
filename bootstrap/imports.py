"""A diary file into the store, as the command line does it: the same operation as over HTTP.

Owns the reading of the file and the waiting. Who the person is, is for the caller to find out; the
file is imported by a worker, so that a killed command line loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from adapters.operations import PostgresOperations
from domain.operation import NewOperation, Operation
from workers.broker import Offers
from write_api.journal_import import IMPORT, PIECE, stage

LOOK_EVERY = 0.2
"""Seconds between looks at the operation."""


async def import_diary(
    path: Path,
    user_id: UUID,
    tenant_id: UUID,
    *,
    operations: PostgresOperations,
    offers: Offers,
    new_id: Callable[[], UUID],
    tell: Callable[[Operation], None] = lambda operation: None,
) -> Operation:
    """Import the file for this person; the operation when it has ended.

    ``operations`` acts as ``mindstream_write``; ``tell`` is given the operation when it is
    accepted, and each time that it was looked at.

    Raises:
        OSError: the file cannot be read.
        Problem: it is larger than an import may be.
    """
    operation_id = new_id()
    try:
        size, _ = await stage(operations, operation_id, _pieces(path))
    except BaseException:
        await operations.discard(operation_id)
        raise
    operation = await operations.accept(
        NewOperation(
            id=operation_id,
            kind=IMPORT,
            user_id=user_id,
            tenant_id=tenant_id,
            correlation_id=f"cli-{operation_id.hex}",
            created_at=datetime.now(UTC),
            input_bytes=size,
        )
    )
    tell(operation)
    await offers.offer(IMPORT, operation_id)
    while operation.finished_at is None:
        await asyncio.sleep(LOOK_EVERY)
        operation = await operations.get(operation_id, user_id) or operation
        tell(operation)
    return operation


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
