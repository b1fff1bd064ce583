"""Letting the engine fold: in a thread of its own, operators' wishes going in and progress out.

Owns the way between an operation that folds events and the engine: what is asked of it, who may use
it at the same time, and the rebuilds that share a reading of the events. How an operation ends is
``projections``'. ``bootstrap/engine.py`` implements the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.operation import REBUILD, ROLLBACK, VERIFY, Claimed
from projections.engine import rebuild as engine_of
from projections.engine.rebuild import Options, Progress, Signal
from projections.engine.telemetry import ProjectionStatus
from workers.operations import Cancelled, Operations, Run

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

    async def unclaimed_rebuilds(self, but: str) -> Sequence[UUID]:
        """Open rebuilds of whole projections that nobody works on, one for each but ``but``."""
        ...


class Asked(msgspec.Struct, frozen=True):
    """One of several rebuilds that are begun together; ``ended`` is told its report, or why not."""

    name: str
    options: Options
    operation_id: UUID
    heed: Heed
    ended: Callable[[Any], None]


class Engine(Protocol):
    """What can be done to projections by name; each call blocks.

    They raise what ``projections.engine.rebuild`` raises, KeyError for an unknown name.
    """

    def rebuild(self, name: str, options: Options, operation_id: UUID, heed: Heed) -> Any:
        """Build it anew, or repair a part of it; the report."""
        ...

    def rebuild_together(self, asked: Sequence[Asked]) -> None:
        """Build all of them anew from one reading; each is told its end, exceptions included."""
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


class Busy(Exception):
    """Another operation works on the projection, or all places are taken: it must wait."""


class Party:
    """Operations that are worked on together: the engine is called when all have asked or left.

    It takes one place among those that may fold at the same time.
    """

    def __init__(self, tending: Tending, size: int) -> None:
        self._tending = tending
        self._size = size
        self._asked: dict[UUID, Asked] = {}
        self._ended: dict[UUID, asyncio.Future[Any]] = {}
        self._left: set[UUID] = set()
        self._working: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[], Any]) -> Any:
        """Do this, in a thread, as soon as there is a place.

        Raises:
            Busy: there is none now.
        """
        if self._tending.at_once.locked():
            raise Busy
        async with self._tending.at_once:
            return await asyncio.to_thread(work)

    def rebuild(
        self, name: str, options: Options, operation_id: UUID, heed: Heed
    ) -> asyncio.Future[Any]:
        """Rebuild it together with the others; what it comes to."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def ended(outcome: Any) -> None:
            loop.call_soon_threadsafe(_settle, future, outcome)

        self._asked[operation_id] = Asked(name, options, operation_id, heed, ended)
        self._ended[operation_id] = future
        self._begin()
        return future

    def leave(self, operation_id: UUID) -> None:
        """It has ended; if it never asked for anything, nobody need wait for it."""
        if operation_id not in self._asked:
            self._left.add(operation_id)
            self._begin()

    def _begin(self) -> None:
        complete = len(self._asked) + len(self._left) == self._size
        if self._asked and complete and self._working is None:
            self._working = asyncio.create_task(self._work(list(self._asked.values())))

    async def _work(self, asked: Sequence[Asked]) -> None:
        engine = self._tending.engine

        def work() -> None:
            if len(asked) > 1:
                engine.rebuild_together(asked)
                return
            [one] = asked
            one.ended(engine.rebuild(one.name, one.options, one.operation_id, one.heed))

        try:
            await self.run(work)
            error: BaseException = RuntimeError("the engine did not say how it ended")
        except Exception as why:  # noqa: BLE001 - told to those who wait for it
            error = why
        # After what was said from the thread: whoever was told their end keeps it.
        for future in self._ended.values():
            asyncio.get_running_loop().call_soon(_settle, future, error)


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def whole(claimed: Claimed) -> bool:
    """Whether it rebuilds a whole projection."""
    if claimed.kind != REBUILD:
        return False
    params = msgspec.convert(claimed.params, Params)
    return not msgspec.convert(params.options, _Options).repairs


async def fold(
    claimed: Claimed,
    params: Params,
    tending: Tending,
    party: Party,
    run: Run,
    owner: str,
) -> Any:
    """Let the engine work, and go between it and the operators; what comes of it.

    Raises:
        Busy: it must wait for another.
        Cancelled, engine_of.Cancelled: an operator wished so.
    """
    engine, name = tending.engine, params.projection
    options = msgspec.convert(params.options, _Options)
    if claimed.kind == ROLLBACK or whole(claimed):
        status = await asyncio.to_thread(engine.status, name)
        if status is not None:
            if params.generation is not None and status.generation != params.generation:
                return _done_before(status)  # by a worker that died before it could say so
            noted = msgspec.structs.replace(params, generation=status.generation)
            await tending.operations.note(claimed.id, owner, msgspec.to_builtins(noted))
    go_between = _GoBetween(run, claimed.cancel_requested)
    heed, wanted = go_between.heed, options.engine()
    working: asyncio.Future[Any]
    if whole(claimed):
        working = party.rebuild(name, wanted, claimed.id, heed)
    else:
        work: Callable[[], Any]
        if claimed.kind == REBUILD:
            work = partial(engine.rebuild, name, wanted, claimed.id, heed)
        elif claimed.kind == VERIFY:
            work = partial(engine.verify, name, heed)
        else:
            work = partial(engine.rollback, name)
        working = asyncio.ensure_future(party.run(work))
    try:
        await asyncio.wait({working})
    except asyncio.CancelledError:
        go_between.leave.set()
        working.add_done_callback(lambda left: left.cancelled() or left.exception())
        await asyncio.wait({working}, timeout=LEAVES_WITHIN)
        raise
    try:
        result = working.result()
    except engine_of.AlreadyRebuilding:
        raise Busy from None
    except engine_of.Differences as refused:  # seen when all was read
        await go_between.last(refused.report.events)
        raise
    await go_between.last(getattr(result, "events", None))
    return result


class _GoBetween:
    """What the engine calls from its thread, and how it is told to leave."""

    def __init__(self, run: Run, cancelled: bool) -> None:
        self._run = run
        self._cancelled = cancelled
        self._loop = asyncio.get_running_loop()
        self._total = 0
        self.leave = threading.Event()

    def heed(self, progress: Progress) -> Signal:
        """Tell how far it is; what is wanted."""
        if self.leave.is_set():
            raise Interrupted
        if self._cancelled:
            return "cancel"
        return asyncio.run_coroutine_threadsafe(self._tell(progress), self._loop).result(
            HEED_WITHIN
        )

    async def last(self, events: int | None) -> None:
        """Say that it is done; who wished for its end by now wished too late."""
        count = self._total if events is None else events
        with contextlib.suppress(Cancelled):
            await self._run.step(1.0, f"{count} of {count} events", last=True, eta_seconds=0)

    async def _tell(self, progress: Progress) -> Signal:
        self._total = progress.events_total
        detail = f"{progress.events_done} of {progress.events_total} events"
        try:
            await self._run.step(progress.fraction, detail, eta_seconds=progress.eta_seconds)
        except Cancelled:
            return "cancel"
        return "pause" if self._run.paused else "go"


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


class _Options(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The options of a rebuild as they lie in the operation's params."""

    key: str | None = None
    from_: datetime | None = None
    to: datetime | None = None
    partitions: int | None = None
    max_lag_seconds: float | None = None
    accept_differences: bool = False

    @property
    def repairs(self) -> bool:
        """Whether only some rows are asked for."""
        return self.key is not None or bool(self.from_ or self.to)

    def engine(self) -> Options:
        """For the engine."""
        return Options(**{name: getattr(self, name) for name in self.__struct_fields__})
