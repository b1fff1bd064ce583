"""What operators ask of projections, done by a worker: rebuild, verify, roll back, pause, resume.

Owns the way between an operation and the engine: the lease is kept while the engine works in a
thread of its own, progress goes into the operation, and what operators want of it (to wait, to
end) goes back. A rebuild survives its worker: whoever takes it next goes on from the shadow.

What is done to tables is the engine's; ``bootstrap/engine.py`` implements the port.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol
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
from projections.engine.rebuild import Options, Progress, Signal
from projections.engine.telemetry import ProjectionStatus
from workers.broker import QUEUE, TIME_LIMIT
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

KINDS = (REBUILD, VERIFY, ROLLBACK, PAUSE, RESUME)
AGAIN = 2.0
"""Seconds before an operation that failed on the way (no database, say) is taken again."""
BUSY = 1.0
"""Seconds before it is tried again whether another one has left the projection alone."""
LOOK_EVERY = 0.1
"""Seconds between looks whether a pause has shown."""
LEAVES_WITHIN = 3.0
"""Seconds that the engine has to leave, when the worker shuts down."""
HEED_WITHIN = 15.0
"""Seconds that the engine waits to be told what is wanted, before it gives up its turn."""

Heed = Callable[[Progress], Signal]


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What the operation was asked for; ``generation`` is the live one when it was first begun."""

    projection: str
    options: dict[str, Any] = {}
    generation: int | None = None


class Rebuilds(Operations, Protocol):
    """The operations, and those among them that rebuild a projection."""

    async def note(self, operation_id: UUID, owner: str, params: dict[str, Any]) -> None:
        """Keep other params with it, for whoever takes it next."""
        ...

    async def pause_rebuilds(self, projection: str, paused: bool) -> Sequence[UUID]:
        """Have the open rebuilds of a projection wait, or go on; their ids."""
        ...


class Engine(Protocol):
    """What can be done to projections by name; each call blocks.

    They raise what ``projections.engine.rebuild`` raises, KeyError for an unknown name.
    """

    def rebuild(self, name: str, options: Options, operation_id: UUID, heed: Heed) -> Any:
        """Build it anew; the report."""
        ...

    def verify(self, name: str, heed: Heed) -> Any:
        """Compare it with a fold of the events; what was found."""
        ...

    def rollback(self, name: str) -> Any:
        """Serve the kept generation again; the report."""
        ...

    def set_paused(self, name: str, paused: bool) -> bool:
        """Have its projector leave it alone, or take it up; False where it was never begun."""
        ...

    def status(self, name: str) -> ProjectionStatus | None:
        """How it is, None where it was never begun."""
        ...

    @property
    def notices_within(self) -> float:
        """Seconds after which a projector has taken note of a pause, or of its end."""
        ...


class Tending(msgspec.Struct, frozen=True):
    """What the actors need; ``at_once`` bounds how many may fold at the same time."""

    operations: Rebuilds
    engine: Engine
    at_once: asyncio.Semaphore


class Interrupted(Exception):
    """The worker shuts down: the engine is to leave everything as it is, for the next one."""


class TooLate(Exception):
    """The rebuild that was to be paused has ended."""


class Busy(Exception):
    """Another operation works on the projection, or all places are taken: it must wait."""


def declare_projections(broker: dramatiq.Broker, tending: Callable[[], Awaitable[Tending]]) -> None:
    """Declare one actor a kind; ``tending`` opens what they need, on the worker's event loop."""

    async def run(operation_id: str) -> None:
        await tend(UUID(operation_id), await tending())

    for kind in KINDS:
        dramatiq.actor(
            broker=broker,
            actor_name=kind,
            queue_name=QUEUE,
            max_retries=0,
            time_limit=TIME_LIMIT,
            notify_shutdown=True,
        )(run)


async def tend(operation_id: UUID, tending: Tending) -> None:
    """Work on an operation until it ends, is cancelled, or is somebody else's."""
    operations, owner = tending.operations, owner_name()
    claimed = await operations.claim(operation_id, owner, LEASE)
    if claimed is None:
        return
    try:
        if claimed.attempts > MAX_ATTEMPTS:
            error = Failure("GAVE_UP", f"It was begun {MAX_ATTEMPTS} times and got no further.")
            await operations.finish(operation_id, owner, "failed", error=error)
            return
        async with Run(operations, claimed, owner) as run:
            result = await _do(claimed, tending, run, owner)
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
            message = f"{len(error.items)} events cannot be folded; nothing was swapped."
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


async def _do(claimed: Claimed, tending: Tending, run: Run, owner: str) -> Any:
    params = msgspec.convert(claimed.params, Params)
    if claimed.kind in (PAUSE, RESUME):
        if claimed.cancel_requested:
            raise Cancelled
        return await _pause(params.projection, claimed.kind == PAUSE, tending, run)
    if claimed.cancel_requested and (claimed.kind == ROLLBACK or not claimed.again):
        raise Cancelled
    if tending.at_once.locked():
        raise Busy
    async with tending.at_once:
        return await _fold(claimed, params, tending, run, owner)


async def _fold(claimed: Claimed, params: Params, tending: Tending, run: Run, owner: str) -> Any:
    """Let the engine work, and go between it and the operators."""
    engine, name = tending.engine, params.projection
    options = msgspec.convert(params.options, _Options).options()
    swaps = claimed.kind == ROLLBACK or (claimed.kind == REBUILD and not options.repairs)
    if swaps:
        status = await asyncio.to_thread(engine.status, name)
        if status is not None:
            if params.generation is not None and status.generation != params.generation:
                return _done_before(status)  # by a worker that died before it could say so
            noted = msgspec.structs.replace(params, generation=status.generation)
            await tending.operations.note(claimed.id, owner, msgspec.to_builtins(noted))
    heed, leave = _heed(run, claimed.cancel_requested)

    def work() -> Any:
        match claimed.kind:
            case "projection.rebuild":
                return engine.rebuild(name, options.engine, claimed.id, heed)
            case "projection.verify":
                return engine.verify(name, heed)
            case _:
                return engine.rollback(name)

    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.wait({working})
    except asyncio.CancelledError:
        leave.set()
        working.add_done_callback(lambda left: left.cancelled() or left.exception())
        await asyncio.wait({working}, timeout=LEAVES_WITHIN)
        raise
    try:
        return working.result()
    except engine_of.AlreadyRebuilding:
        raise Busy from None


def _heed(run: Run, cancelled: bool) -> tuple[Heed, threading.Event]:
    """What the engine calls from its thread, and how it is told to leave."""
    loop = asyncio.get_running_loop()
    leave = threading.Event()

    async def tell(progress: Progress) -> Signal:
        detail = f"{progress.events_done} of {progress.events_total} events"
        try:
            await run.step(progress.fraction, detail, eta_seconds=progress.eta_seconds)
        except Cancelled:
            return "cancel"
        return "pause" if run.paused else "go"

    def heed(progress: Progress) -> Signal:
        if leave.is_set():
            raise Interrupted
        if cancelled:
            return "cancel"
        return asyncio.run_coroutine_threadsafe(tell(progress), loop).result(HEED_WITHIN)

    return heed, leave


def _done_before(status: ProjectionStatus) -> dict[str, Any]:
    """The report of a swap whose worker died before it could give one: what is known of it."""
    return {
        "projection": status.name,
        "generation": status.generation,
        "position": status.position,
        "rows": None,
        "events": None,
        "seconds": None,
        "checksum_live": None,
        "checksum_shadow": None,
        "equal": None,
        "swapped": True,
    }


async def _pause(name: str, paused: bool, tending: Tending, run: Run) -> dict[str, Any]:
    """Pause or resume the rebuild that is under way, else the projection; until it shows."""
    engine = tending.engine
    wish = "paused" if paused else "running"
    if await tending.operations.pause_rebuilds(name, paused):
        while await tending.operations.pause_rebuilds(name, paused):
            status = await asyncio.to_thread(engine.status, name)
            if status is not None and status.rebuild and status.rebuild.get("state") == wish:
                return {"projection": name, "status": status.status, "rebuild": wish}
            await run.step(0.5, f"waits until the rebuild is {wish}")
            await asyncio.sleep(LOOK_EVERY)
        if paused:
            raise TooLate(name)
        return {"projection": name, "status": None, "rebuild": None}
    if not await asyncio.to_thread(engine.set_paused, name, paused):
        raise KeyError(name)
    await run.step(0.5, "waits for the projector")
    await asyncio.sleep(engine.notices_within)
    now = await asyncio.to_thread(engine.status, name)
    return {"projection": name, "status": None if now is None else now.status, "rebuild": None}


class _Options(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The options of a rebuild as they lie in the operation's params."""

    key: str | None = None
    from_: datetime | None = None
    to: datetime | None = None
    partitions: int | None = None
    max_lag_seconds: float | None = None
    accept_differences: bool = False

    def options(self) -> _Wanted:
        """For the engine."""
        engine = Options(**{name: getattr(self, name) for name in self.__struct_fields__})
        return _Wanted(engine, self.key is not None or bool(self.from_ or self.to))


class _Wanted(msgspec.Struct, frozen=True):
    engine: Options
    repairs: bool
