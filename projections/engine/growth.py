"""A new generation from its first event to its turn: grow, compare at one position, swap.

Owns the steps that a rebuild, a verification and a rollback share, and what is told while they
run. ``rebuild`` says which steps each of them takes.
"""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.sql import SQL, Identifier

from domain.event import topics_of
from projections.engine import checkpoints, generations, quarantine
from projections.engine.building import (
    WORTH_PARTS,
    Build,
    Cancelled,
    Folding,
    Heed,
    Progress,
    Signal,
    Sources,
    connect,
)
from projections.engine.checkpoints import Connection
from projections.engine.comparison import Comparison, compare
from projections.engine.generations import Generation, Live
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

CLOSE = 2_000
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
        self._began = time.monotonic()
        self._lag_looked = 0.0
        self._behind = False

    def rebuild(self) -> Report:
        """Grow, compare, and let the new generation take its turn."""
        source = self._sources()
        generation: Generation | None = None
        try:
            generation = self._shadow(source)
            build = self.open(generation)
            comparison = self._grow_and_compare(build, source, generation)
            report = self._report(build, comparison)
            new_version = self._built_version() != self._view.version
            # Rows that somebody emptied out protect nothing: any page is better than none.
            nothing_to_lose = comparison.emptied
            accepted = self._options.accept_differences or new_version or nothing_to_lose
            if not comparison.equal and not accepted:
                raise Differences(report, comparison.differences)
            self._grow(build, source)
            position, events, rows = self.swap(build, source)
            return msgspec.structs.replace(
                report,
                position=position,
                rows=rows,
                events=events,
                seconds=round(time.monotonic() - self._began, 3),
                swapped=True,
            )
        except (Cancelled, Differences, PoisonMet):
            if generation is not None:
                self._discard(generation)
            raise
        finally:
            source.close()
            if not self._connection.closed:
                self._connection.execute(checkpoints.REBUILDING, (None, self._view.name))

    def verify(self) -> Verified:
        """Grow, compare, and throw away."""
        source = self._sources()
        generation = self._begin(source)
        try:
            build = self.open(generation)
            found = self._grow_and_compare(build, source, generation)
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
        return Build(
            self._dsn,
            self._role,
            self._sources,
            self._view,
            generation,
            self._connection,
            self._told,
            self._hold_back,
        )

    def _shadow(self, source: EventSource) -> Generation:
        """The generation that a crash interrupted, or a new one."""
        for each in generations.load(self._connection, self._view.name):
            if each.state == "building":
                if each.version == self._view.version:
                    return each
                self._discard(each)
        return self._begin(source)

    def _begin(self, source: EventSource) -> Generation:
        number = generations.next_number(self._connection, self._view.name)
        return generations.begin(
            self._connection,
            self._view.name,
            self._view.table,
            self._view.version,
            number,
            self._parts(source),
        )

    def _parts(self, source: EventSource) -> int:
        if not self._view.partitioned:
            return 1
        if self._options.partitions is not None:
            return max(1, self._options.partitions)
        events = source.count(0, source.head(), topics_of(self._view.takes))
        return min(os.cpu_count() or 1, 4) if events >= WORTH_PARTS else 1

    def _grow_and_compare(
        self, build: Build, source: EventSource, generation: Generation
    ) -> Comparison:
        """Grow to where the live rows are, and compare at that position."""
        topics = topics_of(self._view.takes)
        while True:
            live = checkpoints.read_all(self._connection)[self._view.name].position
            build.up_to(live, source.count(0, live, topics))
            if poison := self._poison(generation):
                raise PoisonMet(poison)
            with connect(self._dsn, self._role, "rebuild-compare") as still:
                at = self._align(build, source, live, still)
                if at is None:
                    continue  # the live rows ran ahead meanwhile: grow some more
                level(still, source, self._view, generation.table, at)
                found = compare(still, self._view, self._view.table, generation.table, at.position)
                still.rollback()
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
            self._close(build, source, live.position, self._connection)
            still.autocommit = False
            still.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            still.execute("SELECT 1 FROM projection_checkpoints LIMIT 1")
        return live

    def _close(self, build: Build, source: EventSource, goal: int, connection: Connection) -> int:
        """Fold the few events up to ``goal`` in every part; how many."""
        count = 0
        for part in generations.parts_of(connection, build.generation):
            folding = Folding(connection, source, self._view, build.generation, part)
            while folding.position < goal:
                count += folding.page(goal)
        return count

    def _grow(self, build: Build, source: EventSource) -> None:
        """Grow until the rest is small enough for the transaction of the swap."""
        topics = topics_of(self._view.takes)
        while True:
            head = source.head()
            position = min(part.position for part in build.parts())
            if head - position <= CLOSE:
                return
            build.up_to(head, source.count(0, head, topics))

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
                    self._close(build, source, to, connection)
                    events = sum(part.events_done for part in build.parts())
                    generations.serve(connection, live, view, build.generation, to)
                    connection.execute(quarantine.SETTLE_ALL, (view.name,))
                    notify(connection, to, {view.name: None}, None)
                break
            except psycopg.errors.LockNotAvailable as error:
                generations.retry_later(error, view.name, attempt)
        else:
            raise AssertionError("the last try raises")
        for each in older:
            if each.generation != build.generation.generation:
                generations.drop(connection, each)
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
        generations.drop(self._connection, generation)
        self._connection.execute(
            quarantine.FORGET, (f"{generation.name}@g{generation.generation}",)
        )

    def _told(self, progress: Progress) -> Signal:
        """Publish how far it is, and pass on what operators want."""
        shown = {
            "operation_id": None if self._operation_id is None else str(self._operation_id),
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
