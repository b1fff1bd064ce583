"""A new generation from its first event to its turn: grow, compare at one position, swap.

Owns the steps that a rebuild, a verification and a rollback share, and what is told while they
run. ``rebuild`` says which steps each of them takes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg.sql import SQL, Identifier

from domain.event import topics_of
from projections.engine import checkpoints, generations, measures, quarantine, series
from projections.engine.building import Build, Cancelled, Heed, Progress, Signal
from projections.engine.checkpoints import Connection
from projections.engine.comparison import Comparison, checksum, compare, share_snapshot
from projections.engine.folding import HEED_EVERY, Target, Unfoldable, close_up, connect
from projections.engine.generations import Generation, Live
from projections.engine.growing import WORTH_PARTS, Sources, grow
from projections.engine.levelling import level
from projections.engine.outcomes import (
    Differences,
    Options,
    PoisonMet,
    Report,
    Verified,
)
from projections.engine.runner import notify
from projections.engine.source import EventSource
from projections.engine.view import RowView

T = TypeVar("T")

CLOSE = 1_000
"""Events that may be left for the transaction of a swap, which holds up the live projector."""


class Work:
    """One rebuild or verification under way."""

    def __init__(
        self,
        dsn: str,
        role: str,
        sources: Sources,
        view: RowView[Any],
        connection: Connection,
        options: Options,
        heed: Heed,
        operation_id: UUID | None,
    ) -> None:
        self._dsn = dsn
        self._role = role
        self._sources = sources
        self._view = view
        self._connection = connection
        self._options = options
        self._heed = heed
        self._operation_id = operation_id
        self._source: Any = None
        self._grows: Generation | None = None
        self._counted = 0
        self._began = time.monotonic()
        self._lag_looked = 0.0
        self._behind = False

    def begin(self) -> tuple[Build, int]:
        """The build that is to grow, and the position up to which it is to, for now."""
        self._source = self._sources()
        build = self.open(self._shadow(self._source))
        self._expect(build, self._source.head())
        # No further than the live rows are: the two are compared at one position.
        return build, self._live_position()

    def complete(self, build: Build, *, alone: bool = True) -> Report:
        """Compare a build that has grown, and let it take its turn.

        ``alone`` says that it had the machine to itself, so that what it took tells something.
        """
        source = self._source
        build.grown()
        self._index(build)
        comparison = self._grow_and_compare(build, source)
        report = self._report(build, comparison)
        new_version = self._built_version() != self._view.version
        # Rows that somebody emptied out protect nothing: any page is better than none.
        nothing_to_lose = comparison.emptied
        accepted = self._options.accept_differences or new_version or nothing_to_lose
        if not comparison.equal and not accepted:
            raise Differences(report, comparison.differences)
        self._grow(build, source)
        position, events, rows = self.swap(build, source)
        if alone:
            folded, seconds = build.folded
            measures.keep(self._connection, self._view.name, folded, seconds, build.finished)
        return msgspec.structs.replace(
            report,
            position=position,
            rows=rows,
            events=events,
            seconds=round(time.monotonic() - self._began, 3),
            swapped=True,
        )

    def rebuild(self) -> Report:
        """Grow, compare, and let the new generation take its turn."""
        try:
            build, goal = self.begin()
            self.up_to(build, goal)
            return self.complete(build)
        except BaseException as error:
            self.undo(error)
            raise
        finally:
            self.close()

    def undo(self, error: BaseException) -> None:
        """Drop the shadow if it is not to be gone on with, after this error."""
        if isinstance(error, Cancelled | Differences | PoisonMet) and self._grows is not None:
            self._discard(self._grows)

    def close(self) -> None:
        """Nothing is under way any more."""
        if self._source is not None:
            self._source.close()
        if not self._connection.closed:
            self._connection.execute(checkpoints.REBUILDING, (None, self._view.name))

    def verify(self) -> Verified:
        """Grow, compare, and throw away."""
        self._source = source = self._sources()
        source.head()  # nothing beyond what it has told may be read
        generation = self._begin(source)
        try:
            build = self.open(generation)
            live = self._live_position()
            self._expect(build, live)
            self.up_to(build, live)
            build.grown()
            found = self._grow_and_compare(build, source)
            return Verified(
                self._view.name,
                found.position,
                found.rows_live,
                found.rows_expected,
                found.equal,
                found.differences,
            )
        finally:
            source.close()
            if not self._connection.closed:
                self._discard(generation)

    def open(self, generation: Generation) -> Build:
        """The build of a generation, as far as it has come."""
        measure = measures.read(self._connection).get(self._view.name, measures.USUAL)
        return Build(
            Target(self._view, generation),
            self._connection,
            self.told,
            self._hold_back,
            finishing=measure.finishing,
        )

    def up_to(self, build: Build, goal: int) -> None:
        """Fold everything up to ``goal``, alone.

        Raises:
            Cancelled: an operator wished so.
            PoisonMet: it cannot be folded at all.
            Died: a process ended early; what it committed stays, and may be gone on from.
        """
        [error] = grow(self._dsn, self._role, self._sources, [build], goal)
        if error is not None:
            raise self.why(build, error)

    def why(self, build: Build, error: Exception) -> Exception:
        """The reason to give where a build could not grow."""
        if isinstance(error, Unfoldable):
            return PoisonMet(self._poison(build.generation))
        return error

    def _expect(self, build: Build, through: int) -> None:
        """Take note of how many events there are in all; the first count is of all of them."""
        topics = topics_of(self._view.takes)
        build.total += self._source.count(self._counted, through, topics)
        self._counted = max(self._counted, through)

    def _shadow(self, source: EventSource) -> Generation:
        """The generation that a crash interrupted, or a new one."""
        for each in generations.load(self._connection, self._view.name):
            if each.state == "building":
                if each.version == self._view.version:
                    self._grows = each
                    return each
                self._discard(each)
        self._grows = self._begin(source)
        return self._grows

    def _begin(self, source: EventSource) -> Generation:
        number = generations.next_number(self._connection, self._view.name)
        parts = self._parts(source)
        return generations.begin(self._connection, self._view, number, parts)

    def _parts(self, source: EventSource) -> int:
        if not self._view.partitioned:
            return 1
        if self._options.partitions is not None:
            return max(1, self._options.partitions)
        events = source.count(0, source.head(), topics_of(self._view.takes))
        return min(os.cpu_count() or 1, 4) if events >= WORTH_PARTS else 1

    def _index(self, build: Build) -> None:
        """Make the indexes that only reading needs, and let the planner know the table."""
        if self._view.outside is not None:
            self._view.outside.finish(build.generation.table)
            return
        with connect(self._dsn, self._role, "rebuild-index") as connection:
            table = build.generation.table

            def index() -> None:
                connection.execute("SELECT index_mirror(%s, %s)", (self._view.table, table))
                connection.execute(SQL("ANALYZE {}").format(Identifier(table)))

            self._meanwhile(build, {connection: index})

    def _meanwhile(self, build: Build, works: Mapping[Connection, Callable[[], T]]) -> list[T]:
        """Do all of these at once, and tell how far it is meanwhile; what each returned.

        Raises:
            Cancelled: an operator wished so, and what had begun was ended.
        """
        with ThreadPoolExecutor(len(works)) as pool:
            running = [pool.submit(work) for work in works.values()]
            try:
                while wait(running, HEED_EVERY).not_done:
                    build.checked()
            except BaseException:
                for connection in works:
                    connection.cancel_safe()
                raise
            return [each.result() for each in running]

    def _grow_and_compare(self, build: Build, source: EventSource) -> Comparison:
        """Grow to where the live rows are, and compare at that position."""
        while True:
            live = self._live_position()
            self._expect(build, live)
            self.up_to(build, live)
            poison = self._poison(build.generation)
            if poison and not self._options.accept_differences:
                raise PoisonMet(poison)
            if self._view.outside is not None:
                compared = self._compared_outside(build, source, live)
                if compared is None:
                    continue  # likewise
                return compared
            series.trim_as_live(self._connection, self._view, build.generation.table)
            with (
                connect(self._dsn, self._role, "rebuild-compare") as still,
                connect(self._dsn, self._role, "rebuild-compare-live") as beside,
            ):
                at = self._align(build, source, live, still)
                if at is None:
                    continue  # the live rows ran ahead meanwhile: grow some more
                found = self._compared(build, source, at, still, beside)
                still.rollback()
                return found

    def _compared(
        self,
        build: Build,
        source: EventSource,
        at: Live,
        still: Connection,
        beside: Connection,
    ) -> Comparison:
        """Both tables' checksums at once, and the differences if there are some."""
        view, shadow = self._view, build.generation.table
        share_snapshot(still, beside)
        level(still, source, view, shadow, at)
        live, made = self._meanwhile(
            build,
            {
                beside: partial(checksum, beside, view, view.table),
                still: partial(checksum, still, view, shadow),
            },
        )
        return compare(still, view, (view.table, live), (shadow, made), at.position)

    def _compared_outside(self, build: Build, source: EventSource, seen: int) -> Comparison | None:
        """Compare both as they are when the build is where the live rows are; None: too far apart.

        Such a view has one partition, and so one position.
        """
        view, store = self._view, self._view.outside
        with ExitStack() as closing:
            with connect(self._dsn, self._role, "rebuild-align") as locking, locking.transaction():
                live = generations.live(locking, view.name)
                if live.position - seen > CLOSE:
                    return None
                close_up(self._connection, source, build.target, live.position)
                ours, made = (
                    closing.enter_context(contextlib.closing(store.snapshot(view, name)))
                    for name in (view.table, build.generation.table)
                )
            found: Comparison = store.compare(view, ours, made, live.position, build.checked)
            return found

    def _align(
        self, build: Build, source: EventSource, seen: int, still: Connection
    ) -> Live | None:
        """Take a snapshot in which the build is where all live rows are, or None: too far apart.

        The live projector is held up for the few events that are left, not for the comparison.
        """
        with connect(self._dsn, self._role, "rebuild-align") as locking, locking.transaction():
            live = generations.live(locking, self._view.name)
            if live.position - seen > CLOSE:
                return None
            close_up(self._connection, source, build.target, live.position)
            still.autocommit = False
            still.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            still.execute("SELECT 1 FROM projection_checkpoints LIMIT 1")
        return live

    def _grow(self, build: Build, source: EventSource) -> None:
        """Grow until the rest is small enough for the transaction of the swap."""
        while True:
            head = source.head()
            position = min(part.position for part in build.parts())
            if head - position <= CLOSE:
                return
            self._expect(build, head)
            build.grows_on()
            self.up_to(build, head)
            build.grown()

    def swap(self, build: Build, source: EventSource) -> tuple[int, int, int]:
        """Let the build take the live table's place; position, events in all, and rows."""
        connection, view = self._connection, self._view
        older = generations.load(connection, view.name)
        for attempt in range(generations.SWAP_TRIES):
            try:
                with connection.transaction():
                    # The checkpoint first, as the projector does: neither waits for the other.
                    live = generations.live(connection, view.name)
                    to = max(source.head(), live.furthest)
                    close_up(connection, source, build.target, to)
                    events = sum(part.events_done for part in build.parts())
                    generations.serve(connection, live, view, build.generation, to)
                    lacking = bool(quarantine.open_items(connection, view.name))
                    quarantine.adopt(connection, view.name, build.target.shadow, view.partitions)
                    checkpoints.revise(connection, view.name)
                    notify(connection, to, {view.name: None}, None)
                break
            except psycopg.errors.LockNotAvailable as error:
                generations.retry_later(error, view.name, attempt)
        else:
            raise AssertionError("the last try raises")
        for each in generations.load(connection, view.name) if lacking else older:
            # Nobody goes back to rows that lack events: what they lacked is not kept.
            if each.generation != build.generation.generation:
                generations.drop(connection, view, each)
        if view.outside is not None:
            return to, events, view.outside.count(view, view.table)
        rows = connection.execute(
            SQL("SELECT count(*) FROM {}").format(Identifier(view.table))
        ).fetchone()
        assert rows is not None
        return to, events, rows[0]

    def _report(self, build: Build, comparison: Comparison) -> Report:
        return Report(
            projection=self._view.name,
            generation=build.generation.generation,
            position=comparison.position,
            rows=comparison.rows_expected,
            events=sum(part.events_done for part in build.parts()),
            seconds=round(time.monotonic() - self._began, 3),
            checksum_live=comparison.checksum_live,
            checksum_shadow=comparison.checksum_expected,
            equal=comparison.equal,
            swapped=False,
        )

    def _live_position(self) -> int:
        return checkpoints.read_all(self._connection)[self._view.name].position

    def _built_version(self) -> int:
        return checkpoints.read_all(self._connection)[self._view.name].version

    def _poison(self, generation: Generation) -> list[dict[str, Any]]:
        found = quarantine.open_items(
            self._connection, f"{generation.name}@g{generation.generation}"
        )
        return [
            {
                "position": waiting.item.position,
                "stream_id": waiting.item.stream_id,
                "topic": waiting.item.topic,
                "error": waiting.item.error,
            }
            for waiting in found
        ]

    def _discard(self, generation: Generation) -> None:
        generations.drop(self._connection, self._view, generation)
        self._connection.execute(
            quarantine.FORGET, (f"{generation.name}@g{generation.generation}",)
        )

    def told(self, progress: Progress) -> Signal:
        """Publish how far the operation's rebuild is, and pass on what operators want."""
        if self._operation_id is not None:
            shown = {
                "operation_id": str(self._operation_id),
                "state": progress.state,
                "progress": round(progress.fraction, 4),
                "eta_seconds": progress.eta_seconds,
                "events_done": progress.events_done,
                "events_total": progress.events_total,
                "events_per_second": progress.events_per_second,
            }
            self._connection.execute(
                checkpoints.REBUILDING, (msgspec.json.encode(shown).decode(), self._view.name)
            )
        return self._heed(progress)

    def _hold_back(self) -> bool:
        """Whether a live projection lags more than is allowed; looked at twice a second."""
        most = self._options.max_lag_seconds
        if most is None:
            return False
        if time.monotonic() - self._lag_looked > 0.5:
            self._lag_looked = time.monotonic()
            row = self._connection.execute(checkpoints.WORST_LAG).fetchone()
            self._behind = row is not None and (row[0] or 0.0) > most
        return self._behind
