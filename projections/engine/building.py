"""Folding all events into a table of its own, in parts that run side by side.

After a crash each part goes on where it stopped. Owns the loop over pages and the processes of the
parts. It heeds what operators want between pages and holds back while live projections are behind.
What is done with the table is ``rebuild``'s.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

import msgspec
import psycopg
import structlog
from psycopg.rows import tuple_row

from domain.event import Recorded, topics_of
from projections.engine import generations, mending, quarantine
from projections.engine.checkpoints import Connection
from projections.engine.generations import Generation
from projections.engine.pages import PAGE
from projections.engine.source import EventSource, Slice
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter

log = structlog.get_logger()

HEED_EVERY = 0.2
"""Seconds between two looks at what operators want, and at how far the parts are."""
WORTH_PARTS = 100_000
"""Events below which a second process takes longer to start than it saves."""

Signal = Literal["go", "pause", "cancel"]
Sources = Callable[[], EventSource]


class Cancelled(Exception):
    """An operator does not want it any more."""


class Died(Exception):
    """A process of a part ended before its work did."""


class Progress(msgspec.Struct, frozen=True):
    """How far a build is; ``eta_seconds`` is None until the speed is known."""

    events_done: int
    events_total: int
    events_per_second: float
    eta_seconds: float | None
    state: Literal["running", "paused"] = "running"

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.events_done / self.events_total) if self.events_total else 1.0


Heed = Callable[[Progress], Signal]


def connect(dsn: str, role: str, purpose: str) -> Connection:
    """A connection that owns read models; what it commits may be lost and is then done again."""
    return psycopg.connect(
        dsn,
        autocommit=True,
        row_factory=tuple_row,
        options=f"-c role={role} -c timezone=UTC -c synchronous_commit=off -c enable_seqscan=off",
        application_name=f"mindstream-{purpose}",
    )


class Build:
    """One generation that grows; ``goal`` positions are given to ``up_to``."""

    def __init__(
        self,
        dsn: str,
        role: str,
        sources: Sources,
        view: RowView[Any],
        generation: Generation,
        connection: Connection,
        heed: Heed,
        held_back: Callable[[], bool],
    ) -> None:
        self.generation = generation
        self._dsn = dsn
        self._role = role
        self._sources = sources
        self._view = view
        self._connection = connection
        self._heed = heed
        self._held_back = held_back
        self._began = time.monotonic()
        self._rested = 0.0
        self._first = sum(part.events_done for part in self.parts())
        self.total = self._first

    def parts(self) -> list[generations.Part]:
        """How far each part is."""
        return generations.parts_of(self._connection, self.generation)

    def up_to(self, goal: int, expected: int) -> None:
        """Fold everything up to ``goal``; ``expected`` events are in all, done ones included.

        Raises:
            Cancelled: an operator wished so.
            Died: a process ended early; what it committed stays, and may be gone on from.
        """
        self.total = max(expected, self.total)
        parts = self.parts()
        if len(parts) == 1 or goal - min(part.position for part in parts) < WORTH_PARTS:
            for part in parts:
                self._alone(part, goal)
        else:
            self._side_by_side(parts, goal)

    def progress(self, *, paused: bool = False) -> Progress:
        """How far it is."""
        done = sum(part.events_done for part in self.parts())
        seconds = max(time.monotonic() - self._began - self._rested, 1e-6)
        speed = (done - self._first) / seconds
        left = max(0, self.total - done)
        return Progress(
            done,
            max(self.total, done),
            round(speed, 1),
            round(left / speed, 1) if speed else None,
            "paused" if paused else "running",
        )

    def checked(self) -> None:
        """Tell how far it is and do as is wished: go on, wait, or raise ``Cancelled``."""
        signal = self._heed(self.progress())
        while signal == "pause" or (signal == "go" and self._held_back()):
            rested = time.monotonic()
            threading.Event().wait(HEED_EVERY)
            self._rested += time.monotonic() - rested
            signal = self._heed(self.progress(paused=signal == "pause"))
        if signal == "cancel":
            raise Cancelled(self._view.name)

    def _alone(self, part: generations.Part, goal: int) -> None:
        source = self._sources()
        looked = 0.0
        try:
            folding = Folding(self._connection, source, self._view, self.generation, part)
            while folding.position < goal:
                if time.monotonic() - looked >= HEED_EVERY:
                    self.checked()
                    looked = time.monotonic()
                folding.page(goal)
        finally:
            source.close()

    def _side_by_side(self, parts: Sequence[generations.Part], goal: int) -> None:
        context = multiprocessing.get_context("spawn")
        go, end = context.Event(), context.Event()
        go.set()
        running: list[SpawnProcess] = []
        for part in parts:
            process = context.Process(
                target=fold_part,
                args=(
                    self._dsn,
                    self._role,
                    self._sources,
                    self._view,
                    self.generation,
                    part.index,
                    goal,
                    go,
                    end,
                ),
                daemon=True,
            )
            process.start()
            running.append(process)
        try:
            self._watch(running, go)
        finally:
            end.set()
            for process in running:
                process.join(10)
                if process.is_alive():
                    process.kill()
                    process.join()
        if any(process.exitcode for process in running):
            raise Died(f"a part of {self._view.name} ended with an error")

    def _watch(self, running: Sequence[SpawnProcess], go: Any) -> None:
        while any(process.is_alive() for process in running):
            if any(process.exitcode for process in running):
                return
            signal = self._heed(self.progress(paused=not go.is_set() and not self._held_back()))
            if signal == "cancel":
                raise Cancelled(self._view.name)
            rested = time.monotonic()
            wait = signal == "pause" or self._held_back()
            if wait:
                go.clear()
            else:
                go.set()
            running[0].join(HEED_EVERY)
            if wait:
                self._rested += time.monotonic() - rested


class Folding:
    """Folds the pages of one part into the generation's table, position and rows together."""

    def __init__(
        self,
        connection: Connection,
        source: EventSource,
        view: RowView[Any],
        generation: Generation,
        part: generations.Part,
    ) -> None:
        self._connection = connection
        self._source = source
        self._view = view
        self._generation = generation
        self._part = part
        self.position = part.position
        self._topics = topics_of(view.takes)
        self._left_out = quarantine.discarded(connection, view.name)
        self._shadow = f"{generation.name}@g{generation.generation}"
        found = quarantine.open_items(connection, self._shadow)
        self._blocked = {waiting.item.stream_id for waiting in found}
        self._writer = ViewWriter(view, connection, generation.table)

    def page(self, goal: int) -> int:
        """Fold one page, at most up to ``goal``; how many events it had."""
        part = self._part
        streams = Slice((part.index,), part.parts)
        page = self._source.page(self.position, goal, PAGE, self._topics, streams)
        to = page[-1].position if len(page) == PAGE else goal
        mine = [
            event
            for event in page
            if event.stream_id not in self._blocked and event.position not in self._left_out
        ]
        try:
            with self._connection.transaction():
                self._move(to, len(page))
                if mine:
                    self._writer.apply(mine)
        except psycopg.OperationalError:
            raise
        except Exception:  # noqa: BLE001 - whatever a fold or a row raises
            self._isolate(mine, to, len(page))
        self.position = to
        return len(page)

    def _isolate(self, events: Sequence[Recorded], to: int, count: int) -> None:
        self._writer.forget_staging()
        with self._connection.transaction():
            self._move(to, count)
            for event, error in mending.apply_what_can_be(self._connection, self._writer, events):
                quarantine.put(self._connection, self._shadow, event, error)
                self._blocked.add(event.stream_id)

    def _move(self, to: int, count: int) -> None:
        made = self._generation
        moved = self._connection.execute(
            generations.ADVANCE,
            (to, count, made.name, made.generation, self._part.index, self.position),
            prepare=True,
        )
        if moved.rowcount != 1:
            raise psycopg.OperationalError("another process builds this part")


def fold_part(
    dsn: str,
    role: str,
    sources: Sources,
    view: RowView[Any],
    generation: Generation,
    index: int,
    goal: int,
    go: Any,
    end: Any,
) -> None:
    """The work of a process of its own: one part up to ``goal``, as long as its parent lives."""
    parent = multiprocessing.parent_process()
    with connect(dsn, role, "rebuild-part") as connection:
        source = sources()
        part = generations.parts_of(connection, generation)[index]
        folding = Folding(connection, source, view, generation, part)
        while folding.position < goal and not end.is_set():
            if parent is not None and not parent.is_alive():
                break
            if go.wait(HEED_EVERY):
                folding.page(goal)
        source.close()
