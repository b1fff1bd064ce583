"""The export of a person: one operation, one file, whoever dies on the way.

Owns the order: wait for the read models, ask every source, write the file, end the operation. An
attempt begins anew and writes under an id of its own, so that one which was overtaken (its worker
stood still and went on) can neither add to the file of another nor make itself the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import dramatiq
import msgspec
import structlog

from domain.export import EXPORT, ExportFile, ExportResult, OpenedEvent
from domain.operation import Claimed, Failure
from projections.reading import Freshness
from workers.broker import declare
from workers.exports.bundle import Bundle
from workers.exports.sources import (
    Exported,
    Listing,
    Owner,
    OwnerGone,
    Part,
    Share,
    in_order,
)
from workers.operations import (
    LEASE,
    MAX_ATTEMPTS,
    Cancelled,
    LeaseLost,
    Operations,
    Run,
    owner_name,
)

log = structlog.get_logger()

KEPT = timedelta(hours=24)
"""How long a file can be had."""
PAUSE = 2.0
"""Seconds before an operation that failed on the way (no database, say) is taken again."""
CAUGHT_UP_WITHIN = 10.0
"""Seconds that the read models have, before the operation makes room for others and waits."""


class Exports(Protocol):
    """Where the files lie; ``adapters.exports.PostgresExports`` implements it."""

    async def begin(self, export_id: UUID, user_id: UUID, run: UUID) -> None:
        """Begin a file, in place of one that another attempt has begun."""
        ...

    async def add(
        self, export_id: UUID, user_id: UUID, run: UUID, number: int, piece: bytes
    ) -> None:
        """Keep the next piece; ``number`` counts from 0.

        Raises:
            domain.export.Overtaken: another attempt has begun since, or the file was erased.
        """
        ...

    async def complete(
        self, export_id: UUID, run: UUID, result: ExportResult, expires_at: datetime
    ) -> None:
        """The file is whole.

        Raises:
            domain.export.Overtaken: as above.
        """
        ...

    async def ready(self, export_id: UUID) -> ExportFile | None:
        """The file, if it is whole and can be had."""
        ...

    async def drop(self, export_id: UUID) -> None:
        """Forget a file."""
        ...


class Events(Protocol):
    """Reads events as they are stored; ``adapters.exports.OpenedEvents`` implements it."""

    async def opened(self, stream_ids: Sequence[str]) -> Sequence[OpenedEvent]:
        """All events of these streams, by stream and version."""
        ...


class Head(Protocol):
    """Tells how long the store is."""

    async def head(self) -> int:
        """The position of the last event."""
        ...


class Exporting(msgspec.Struct, frozen=True):
    """What an export needs; ``new_id`` draws the ids of attempts."""

    operations: Operations
    head: Head
    exports: Exports
    sources: Sequence[Exported]
    events: Events
    freshness: Freshness
    new_id: Callable[[], UUID]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


class Behind(Exception):
    """A read model does not show all that was there when the export began."""


def declare_export(
    broker: dramatiq.Broker, exporting: Callable[[], Awaitable[Exporting]]
) -> dramatiq.Actor[[str], None]:
    """Declare the actor; ``exporting`` opens what it needs, on the worker's event loop, once."""

    async def work_on(operation_id: UUID) -> None:
        await export_person(operation_id, await exporting())

    return declare(broker, EXPORT, work_on)


async def export_person(operation_id: UUID, exporting: Exporting) -> None:
    """Work on an export until it ends, is cancelled, or is somebody else's."""
    operations, owner = exporting.operations, owner_name()
    claimed = await operations.claim(operation_id, owner, LEASE)
    if claimed is None:
        return
    try:
        if claimed.cancel_requested:
            raise Cancelled
        if claimed.attempts > MAX_ATTEMPTS:
            error = Failure("GAVE_UP", f"It was begun {MAX_ATTEMPTS} times and got no further.")
            await _fail(operation_id, exporting, owner, error)
            return
        async with Run(operations, claimed, owner) as run:
            result = await _result(claimed, exporting, run)
        await operations.finish(operation_id, owner, "succeeded", result=result)
    except Cancelled:
        await exporting.exports.drop(operation_id)
        await operations.finish(operation_id, owner, "cancelled")
    except OwnerGone:
        error = Failure("NOT_FOUND", "There is nobody whose data could be exported.")
        await _fail(operation_id, exporting, owner, error)
    except asyncio.CancelledError:  # the worker shuts down: another may begin at once
        await operations.release(operation_id, owner, 0)
        raise
    except Behind:
        await operations.release(operation_id, owner, PAUSE, failed=False)
    except LeaseLost:
        log.info("operation_lost", operation_id=str(operation_id))
    except Exception as error:  # noqa: BLE001  whatever it was, another attempt may get further
        log.warning(
            "export_interrupted", operation_id=str(operation_id), reason=type(error).__name__
        )
        await operations.release(operation_id, owner, PAUSE)


async def _fail(operation_id: UUID, exporting: Exporting, owner: str, error: Failure) -> None:
    await exporting.exports.drop(operation_id)
    await exporting.operations.finish(operation_id, owner, "failed", error=error)


async def _result(claimed: Claimed, exporting: Exporting, run: Run) -> Any:
    """Write the file, unless an attempt before this one did all but say so."""
    done = await exporting.exports.ready(claimed.id) if claimed.again else None
    if done is not None:
        return done.result
    position = await exporting.head.head()
    await _caught_up(position, exporting, run)
    owner = Owner(claimed.user_id, claimed.tenant_id, exporting.clock())
    shares = [await source.share(owner) for source in exporting.sources]
    return await _write(claimed, exporting, run, owner, shares, position)


async def _caught_up(position: int, exporting: Exporting, run: Run) -> None:
    """Wait until whatever is read has seen all that happened before."""
    wanted = sorted({name for source in exporting.sources for name in source.projections})
    if wanted and exporting.freshness.position(*wanted) < position:
        await run.step(0.0, "waiting for the read models")
        if await exporting.freshness.passed(position, *wanted, within=CAUGHT_UP_WITHIN):
            raise Behind


async def _write(
    claimed: Claimed,
    exporting: Exporting,
    run: Run,
    owner: Owner,
    shares: Sequence[Share],
    position: int,
) -> ExportResult:
    attempt = exporting.new_id()
    exports = exporting.exports
    await exports.begin(claimed.id, owner.user_id, attempt)
    # Each stream is read twice: as what it came to, and as events.
    total = 2 * sum(share.size for share in shares) + 1
    done = number = 0

    async def step(*, last: bool = False) -> None:
        await run.step(min(done / total, 0.99), f"{done} items written", last=last)

    async def counted() -> None:
        nonlocal done
        done += 1
        await step()

    async def keep(piece: bytes) -> None:
        nonlocal number
        await exports.add(claimed.id, owner.user_id, attempt, number, piece)
        number += 1
        await step()

    bundle = Bundle(owner, position, keep, counted)
    await bundle.begin()
    for part in _parts(owner, exporting, shares):
        await bundle.add(part)
    await bundle.end()
    await step(last=True)
    expires_at = exporting.clock() + KEPT
    result = ExportResult(
        expires_at=expires_at,
        size_bytes=bundle.size_bytes,
        sha256=bundle.sha256,
        files=len(bundle.entries),
        counts={one.path: one.items for one in bundle.entries if one.items is not None},
    )
    await exports.complete(claimed.id, attempt, result, expires_at)
    return result


def _parts(owner: Owner, exporting: Exporting, shares: Sequence[Share]) -> list[Part]:
    parts = [part for share in shares for part in share.parts]
    about = "Every event about you, stream by stream: the record that all the rest is made of."
    return [*parts, Listing("events.json", about, _events(owner, exporting.events, shares))]


async def _events(
    owner: Owner, events: Events, shares: Sequence[Share]
) -> AsyncIterator[OpenedEvent]:
    """All events of all the person's streams."""
    user_id = str(owner.user_id)

    def own(event: OpenedEvent) -> bool:
        return event.data.get("user_id") == user_id

    for share in shares:
        async for stream in in_order(events.opened, own, share.streams):
            for event in stream:
                yield for_owner(event, owner)


def for_owner(event: OpenedEvent, owner: Owner) -> OpenedEvent:
    """The event without the id of any other person who did it: an operator, say."""
    if event.actor.startswith("user:") and event.actor != f"user:{owner.user_id}":
        return msgspec.structs.replace(event, actor="user")
    return event
