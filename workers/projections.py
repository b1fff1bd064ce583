"""What operators ask of projections, done by a worker: rebuild, verify, roll back, pause, resume.

Owns the life of such an operation: it is claimed, its lease is kept, and it ends with a result or a
reason, or is given back for another try. A rebuild survives its worker: whoever is next goes on
from the shadow. What goes between it and the engine is ``rebuilding``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import dramatiq
import msgspec
import structlog

from domain.operation import (
    PAUSE,
    REBUILD,
    RESUME,
    ROLLBACK,
    VERIFY,
    Claimed,
    Failure,
)
from projections.engine import rebuild as engine_of
from workers.broker import declare
from workers.operations import (
    LEASE,
    MAX_ATTEMPTS,
    Cancelled,
    LeaseLost,
    Run,
    owner_name,
)
from workers.rebuilding import Busy, Params, Party, Tending, fold, whole

__all__ = ["KINDS", "Tending", "TooLate", "declare_projections", "tend"]

log = structlog.get_logger()

KINDS = (REBUILD, VERIFY, ROLLBACK, PAUSE, RESUME)
AGAIN = 2.0
"""Seconds before an operation that failed on the way (no database, say) is taken again."""
BUSY = 1.0
"""Seconds before it is tried again whether another one has left the projection alone."""
LOOK_EVERY = 0.1
"""Seconds between looks whether a pause has shown."""


class TooLate(Exception):
    """The rebuild that was to be paused has ended."""


def declare_projections(broker: dramatiq.Broker, tending: Callable[[], Awaitable[Tending]]) -> None:
    """Declare one actor a kind; ``tending`` opens what they need, on the worker's event loop."""

    async def work_on(operation_id: UUID) -> None:
        await tend(operation_id, await tending())

    for kind in KINDS:
        declare(broker, kind, work_on)


async def tend(operation_id: UUID, tending: Tending) -> None:
    """Work on an operation until it ends, is cancelled, or is somebody else's.

    Rebuilds that nobody has begun yet are taken along, so that they share a reading of the events.
    """
    operations, owner = tending.operations, owner_name()
    claimed = await operations.claim(operation_id, owner, LEASE)
    if claimed is None:
        return
    company = [claimed]
    if whole(claimed):
        others = await operations.unclaimed_rebuilds(claimed.params["projection"])
        claims = [await operations.claim(other, owner, LEASE) for other in others]
        company += [each for each in claims if each is not None]
    party = Party(tending, len(company))
    tended = (_tend(each, tending, party, owner) for each in company)
    # One whose end cannot be written does not stop the others.
    for left in await asyncio.gather(*tended, return_exceptions=True):
        if isinstance(left, BaseException):
            raise left


async def _tend(claimed: Claimed, tending: Tending, party: Party, owner: str) -> None:
    operations, operation_id = tending.operations, claimed.id
    try:
        if claimed.attempts > MAX_ATTEMPTS:
            error = Failure("GAVE_UP", f"It was begun {MAX_ATTEMPTS} times and got no further.")
            await operations.finish(operation_id, owner, "failed", error=error)
            return
        async with Run(operations, claimed, owner) as run:
            result = await _do(claimed, tending, party, run, owner)
        await operations.finish(operation_id, owner, "succeeded", result=result)
    except (Cancelled, engine_of.Cancelled):
        await operations.finish(operation_id, owner, "cancelled")
    except Busy:
        await operations.release(operation_id, owner, BUSY, failed=False)
    except asyncio.CancelledError:  # the worker shuts down: another may go on at once
        await operations.release(operation_id, owner, 0)
        raise
    except LeaseLost:
        log.info("operation_lost", operation_id=str(operation_id))
    except Exception as error:  # noqa: BLE001  whatever it was, it is told, or tried again
        failure = _failure(error)
        if failure is None:
            log.warning(
                "operation_interrupted",
                operation_id=str(operation_id),
                kind=claimed.kind,
                reason=type(error).__name__,
            )
            await operations.release(operation_id, owner, AGAIN)
        else:
            why, found = failure
            await operations.finish(operation_id, owner, "failed", result=found, error=why)
    finally:
        party.leave(operation_id)


def _failure(error: Exception) -> tuple[Failure, Any] | None:
    """Why it cannot be done at all, and what is known; None where another try may do it."""
    match error:
        case engine_of.Differences():
            report = msgspec.to_builtins(error.report)
            found = {**report, "differences": msgspec.to_builtins(error.differences)}
            message = (
                f"{error.report.projection} differs from its events; with accept_differences it"
                " is swapped all the same."
            )
            return Failure("DIFFERENCES", message), found
        case engine_of.PoisonMet():
            first = error.items[0]
            message = (
                f"{error}, the first at position {first['position']} ({first['topic']}):"
                f" {first['error']}. The live rows are as they were. Mend what is wrong with it; a"
                " rebuild with accept_differences leaves it out, and has it wait in quarantine."
            )
            return Failure("POISON_MET", message), {"poisoned": error.items}
        case engine_of.NothingKept():
            return Failure("NOTHING_KEPT", "There is no older generation to go back to."), None
        case engine_of.RangeNotSupported():
            return Failure("RANGE_NOT_SUPPORTED", "Its rows do not belong to a time."), None
        case engine_of.UnknownKey():
            return Failure("UNKNOWN_KEY", "This is no key of the projection."), None
        case TooLate():
            return Failure("TOO_LATE", "The rebuild ended before it could be paused."), None
        case KeyError() | msgspec.ValidationError():
            return Failure("UNKNOWN_PROJECTION", "There is no such projection any more."), None
    return None


async def _do(claimed: Claimed, tending: Tending, party: Party, run: Run, owner: str) -> Any:
    params = msgspec.convert(claimed.params, Params)
    if claimed.kind in (PAUSE, RESUME):
        if claimed.cancel_requested:
            raise Cancelled
        return await _pause(params.projection, claimed.kind == PAUSE, tending, run)
    if claimed.cancel_requested and (claimed.kind == ROLLBACK or not claimed.again):
        raise Cancelled
    return await fold(claimed, params, tending, party, run, owner)


async def _pause(name: str, paused: bool, tending: Tending, run: Run) -> dict[str, Any]:
    """Pause or resume the rebuild that is under way, else the projection; until it shows."""
    engine = tending.engine
    wish = "paused" if paused else "running"
    if await tending.operations.pause_rebuilds(name, paused):
        while await tending.operations.pause_rebuilds(name, paused):
            status = await asyncio.to_thread(engine.status, name)
            if status is not None and status.rebuild and status.rebuild.get("state") == wish:
                await _told(run, f"the rebuild is {wish}")
                return {"projection": name, "status": status.status, "rebuild": wish}
            await run.step(0.5, f"waits until the rebuild is {wish}")
            await asyncio.sleep(LOOK_EVERY)
        if paused:
            raise TooLate(name)
        await _told(run, "the rebuild has ended")
        return {"projection": name, "status": None, "rebuild": None}
    if not await asyncio.to_thread(engine.set_paused, name, paused):
        raise KeyError(name)
    await run.step(0.5, "waits for the projector")
    await asyncio.sleep(engine.notices_within)
    now = await asyncio.to_thread(engine.status, name)
    await _told(run, wish)
    return {"projection": name, "status": None if now is None else now.status, "rebuild": None}


async def _told(run: Run, detail: str) -> None:
    """Say what came of it; who wished for its end by now wished too late."""
    with contextlib.suppress(Cancelled):
        await run.step(1.0, detail, last=True, eta_seconds=0)
