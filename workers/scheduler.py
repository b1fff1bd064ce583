"""What must happen again and again: offering stranded work, sweeping leftovers.

Owns the rhythm. An operation is stranded when it is open and nobody has it: its worker died, or
the broker was away when it was accepted, or lost it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from workers.operations import Operations

log = structlog.get_logger()

EVERY = 1.0
"""Seconds between looks for stranded operations."""
SWEEP_EVERY = 900.0
"""Seconds between sweeps."""
LOOK_EVERY = 5.0
"""Seconds between looks at what else may be due."""
AT_ONCE = 100


class Offering(Protocol):
    """Hands operations to the broker; ``workers.broker.Offers`` is one."""

    async def offer(self, kind: str, operation_id: UUID) -> bool:
        """Whether the broker took it."""
        ...


async def offer_stranded(operations: Operations, offers: Offering) -> int:
    """Offer each stranded operation once; how many the broker took."""
    taken = 0
    for operation_id, kind in await operations.stranded(AT_ONCE):
        if not await offers.offer(kind, operation_id):
            break  # the broker is away: the others would fare no better
        await operations.offered(operation_id)
        taken += 1
    return taken


async def schedule(
    operations: Operations,
    offers: Offering,
    stop: asyncio.Event,
    *,
    sweeps: Sequence[Callable[[], Awaitable[int]]] = (),
    looks: Sequence[Callable[[], Awaitable[int]]] = (),
) -> None:
    """Run until ``stop`` is set; nothing that goes wrong ends it.

    ``sweeps`` drop what has had its time and say how many that were. ``looks`` are taken every
    ``LOOK_EVERY`` seconds and may accept operations.
    """
    swept, looked = -SWEEP_EVERY, -LOOK_EVERY
    while not stop.is_set():
        try:
            if looks and time.monotonic() - looked >= LOOK_EVERY:
                looked = time.monotonic()
                for look in looks:
                    await look()
            if taken := await offer_stranded(operations, offers):
                log.info("operations_offered_again", count=taken)
            if time.monotonic() - swept >= SWEEP_EVERY:
                swept = time.monotonic()
                for sweep in (operations.sweep, *sweeps):
                    if count := await sweep():
                        log.info("swept", what=sweep.__name__, count=count)
        except Exception as error:  # noqa: BLE001  the database may be away for a while
            log.warning("scheduler_round_failed", reason=type(error).__name__)
        try:
            async with asyncio.timeout(EVERY):
                await stop.wait()
        except TimeoutError:
            continue
