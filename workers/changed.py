"""Rebuilding what another version of the code has built, by itself, where that is wanted.

Owns when such a rebuild is accepted: once for each version of a view, however many schedulers look
and whatever becomes of it. One that failed waits for an operator, as it would without this. A newer
version of the code is at work elsewhere where the rows are newer than the code: they are let alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from domain.operation import REBUILD, NewOperation, Operation
from projections.engine.telemetry import ProjectionStatus

log = structlog.get_logger()

NOBODY = UUID(int=0)
"""Whose operations these are: no person's."""


class Accepting(Protocol):
    """Takes operations; ``adapters.operations.PostgresOperations`` does."""

    async def accept(self, new: NewOperation) -> Operation:
        """Accept it; with a known idempotency key the operation that was accepted under it."""
        ...


async def rebuild_changed(
    statuses: Callable[[], Awaitable[Sequence[ProjectionStatus]]],
    versions: Mapping[str, int],
    operations: Accepting,
    new_id: Callable[[], UUID],
    now: Callable[[], datetime],
) -> int:
    """Accept a rebuild of each projection whose rows an older version has built; how many wait."""
    waiting = 0
    for status in await statuses():
        version = versions.get(status.name, status.version)
        if status.version >= version or status.rebuild is not None:
            continue
        # As long as the same rows serve, it is one wish, answered once.
        key = f"changed/{status.name}/{version}/{status.generation}"
        operation_id = new_id()
        new = NewOperation(
            id=operation_id,
            kind=REBUILD,
            user_id=NOBODY,
            tenant_id=NOBODY,
            correlation_id=f"changed-{operation_id.hex}",
            created_at=now(),
            idempotency_key=key,
            request_hash=key.encode(),
            params={"projection": status.name, "options": {}},
        )
        accepted = await operations.accept(new)
        if accepted.id == operation_id:
            log.info("changed_projection_is_rebuilt", projection=status.name, version=version)
        waiting += accepted.finished_at is None
    return waiting
