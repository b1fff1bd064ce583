"""Rebuild, verify and roll back: what operators do to a view, without a moment's empty page.

A rebuild grows a new generation beside the live table, compares the two at one position, and lets
the new one take the live one's place in a transaction that renames both. The old one is kept: a
rollback lets it catch up and swaps again. A verification builds, compares and throws away.

Owns the order of these steps. The folding is ``building``'s, tables and turns are ``generations``'.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
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
from projections.engine.comparison import Comparison, Difference, compare
from projections.engine.generations import Generation
from projections.engine.runner import CHANNEL
from projections.engine.source import EventSource
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter

__all__ = ["Cancelled", "Progress", "Signal", "plan", "rebuild", "rollback", "verify"]

log = structlog.get_logger()

CLOSE = 2_000
"""Events that may be left for the transaction of a swap, which holds up the live projector."""
PROJECT = "mindstream_project"


class AlreadyRebuilding(Exception):
    """Another process rebuilds, verifies or rolls back this projection."""


class NothingKept(Exception):
    """There is no older generation to go back to, or its version's code is gone."""


class RangeNotSupported(Exception):
    """Rows of this view do not belong to a time."""


class UnknownKey(Exception):
    """The text is no key of this view."""


class PoisonMet(Exception):
    """Events could not be folded; nothing was swapped. ``items`` says which."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(items)} events cannot be folded")
        self.items = items


class Differences(Exception):
    """The new generation is not what the live one is, and nobody said that this is meant."""

    def __init__(self, report: Report, differences: list[Difference]) -> None:
        super().__init__(f"{report.projection} differs from a fold of its events")
        self.report = report
        self.differences = differences


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild is asked for; ``max_lag_seconds`` is what live projections may lag."""

    key: str | None = None
    from_: datetime | None = None
    to: datetime | None = None
    partitions: int | None = None
    max_lag_seconds: float | None = None
    accept_differences: bool = False


class Report(msgspec.Struct, frozen=True):
    """What a rebuild or a rollback did: the API's result of it."""

    projection: str
    generation: int
    position: int
    rows: int
    events: int
    seconds: float
    checksum_live: str | None
    checksum_shadow: str | None
    equal: bool | None
    swapped: bool


class Verified(msgspec.Struct, frozen=True):
    """What a verification found."""

    projection: str
    position: int
    rows_live: int
    rows_expected: int
    equal: bool
    differences: list[Difference]


def plan(source: EventSource, view: RowView[Any]) -> dict[str, int]:
    """How many events of each topic a rebuild would read."""
    head = source.head()
    return {topic: source.count(0, head, [topic]) for topic in topics_of(view.takes)}


def rebuild(
    dsn: str,
    sources: Sources,
    view: RowView[Any],
    *,
    options: Options = Options(),  # noqa: B008 - frozen
    operation_id: UUID | None = None,
    heed: Heed = lambda progress: "go",
    role: str = PROJECT,
) -> Report:
    """Build the view anew and put it in the place of the live one, or repair one of its rows.

    After a crash it goes on with the generation that it had begun.

    Raises:
        AlreadyRebuilding: somebody else is at it.
        Cancelled: by ``heed``; the shadow is gone.
        PoisonMet, Differences: nothing was swapped.
        RangeNotSupported, UnknownKey: the options do not fit the view.
        psycopg.Error: a database does not answer; the live view is as it was.
    """
    if options.from_ is not None or options.to is not None:
        raise RangeNotSupported(view.name)
    with _alone(dsn, role, view) as connection:
        if options.key is not None:
            return _rebuild_row(connection, sources, view, options.key)
        work = _Work(dsn, role, sources, view, connection, options, heed, operation_id)
        return work.rebuild()


def verify(
    dsn: str,
    sources: Sources,
    view: RowView[Any],
    *,
    heed: Heed = lambda progress: "go",
    role: str = PROJECT,
) -> Verified:
    """Compare the live rows with a fold of the events, touching neither.

    Raises:
        AlreadyRebuilding, Cancelled, PoisonMet: as a rebuild does.
    """
    with _alone(dsn, role, view) as connection:
        work = _Work(dsn, role, sources, view, connection, Options(), heed, None)
        return work.verify()


def rollback(dsn: str, sources: Sources, view: RowView[Any], *, role: str = PROJECT) -> Report:
    """Serve the kept generation again, once it has caught up with every write since.

    Raises:
        NothingKept: there is none that this code can fold.
        AlreadyRebuilding: somebody rebuilds it now.
    """
    began = time.monotonic()
    with _alone(dsn, role, view) as connection:
        kept = [each for each in generations.load(connection, view.name) if each.state == "kept"]
        if not kept or kept[-1].version != view.version:
            raise NothingKept(view.name)
        work = _Work(dsn, role, sources, view, connection, Options(), lambda _: "go", None)
        build = work.open(kept[-1])
        source = sources()
        try:
            build.up_to(source.head(), 0)
            position, events, rows = work.swap(build, source)
        finally:
            source.close()
        return Report(
            projection=view.name,
            generation=kept[-1].generation,
            position=position,
            rows=rows,
            events=events,
            seconds=round(time.monotonic() - began, 3),
            checksum_live=None,
            checksum_shadow=None,
            equal=None,
            swapped=True,
        )


def set_paused(connection: Connection, name: str, paused: bool) -> bool:
    """Let the projector leave a projection alone, or take it up again; False: there is none."""
    return connection.execute(checkpoints.SET_PAUSED, (paused, name)).rowcount == 1


@contextmanager
def _alone(dsn: str, role: str, view: RowView[Any]) -> Iterator[Connection]:
    """A connection that holds the lease of rebuilding this view."""
    with connect(dsn, role, "rebuild") as connection:
        row = connection.execute(checkpoints.TRY_LEASE, (f"rebuild:{view.name}",)).fetchone()
        if row is None or not row[0]:
            raise AlreadyRebuilding(view.name)
        checkpoints.ensure(connection, [(view.name, view.version)])
        yield connection


class _Work:
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
        source = self._sources()
        generation: Generation | None = None
        try:
            generation = self._shadow(source)
            build = self.open(generation)
            comparison = self._grow_and_compare(build, source, generation)
            report = self._report(build, comparison)
            new_version = self._built_version() != self._view.version
            # Rows that somebody emptied out protect nothing: any page is better than none.
            nothing_to_lose = comparison.rows_live == 0
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
        source = self._sources()
        number = generations.next_number(self._connection, self._view.name)
        generation = generations.begin(
            self._connection,
            self._view.name,
            self._view.table,
            self._view.version,
            number,
            self._parts(source),
        )
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
                position = self._align(build, source, live, still)
                if position is None:
                    continue  # the live rows ran ahead meanwhile: grow some more
                found = compare(still, self._view, self._view.table, generation.table, position)
                still.rollback()
                return found

    def _align(self, build: Build, source: EventSource, seen: int, still: Connection) -> int | None:
        """Take a snapshot in which both tables are at one position, or None: too far apart.

        The live projector is held up for the few events that are left, not for the comparison.
        """
        with connect(self._dsn, self._role, "rebuild-align") as locking, locking.transaction():
            _, _, live = generations.live(locking, self._view.name)
            if live - seen > CLOSE:
                return None
            self._close(build, source, live, self._connection)
            still.autocommit = False
            still.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
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
                    to = max(source.head(), live[2])
                    self._close(build, source, to, connection)
                    events = sum(part.events_done for part in build.parts())
                    generations.serve(connection, live, view.table, build.generation, to)
                    connection.execute(quarantine.SETTLE_ALL, (view.name,))
                    notice = {"position": to, "projections": [view.name], "users": None}
                    connection.execute(
                        "SELECT pg_notify(%s, %s)", (CHANNEL, msgspec.json.encode(notice).decode())
                    )
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


def _rebuild_row(connection: Connection, sources: Sources, view: RowView[Any], text: str) -> Report:
    """Fold the events of one key anew into the live table."""
    began = time.monotonic()
    key = _key_of(view, text)
    topics = topics_of(view.takes)
    source = sources()
    try:
        with connection.transaction():
            generation, _, position = generations.live(connection, view.name)
            left_out = quarantine.discarded(connection, view.name)
            row: Any = None
            count = 0
            for event in _events_of(source, view, key, position, topics):
                if key in view.keys_of(event) and event.position not in left_out:
                    row = view.fold(key, row, event)
                    count += 1
            writer = ViewWriter(view, connection, view.table)
            writer.replace(key, row)
            notice = {"position": position, "projections": [view.name], "users": None}
            connection.execute(
                "SELECT pg_notify(%s, %s)", (CHANNEL, msgspec.json.encode(notice).decode())
            )
    finally:
        source.close()
    return Report(
        projection=view.name,
        generation=generation,
        position=position,
        rows=0 if row is None else 1,
        events=count,
        seconds=round(time.monotonic() - began, 3),
        checksum_live=None,
        checksum_shadow=None,
        equal=None,
        swapped=False,
    )


def _events_of(
    source: EventSource, view: RowView[Any], key: tuple[Any, ...], through: int, topics: list[str]
) -> Iterator[Any]:
    stream = view.stream_of(key)
    if stream is not None:
        yield from source.stream(stream, 0, through, topics)
        return
    position = 0
    while position < through:
        page = source.page(position, through, 5_000, topics)
        yield from page
        position = page[-1].position if len(page) == 5_000 else through


def _key_of(view: RowView[Any], text: str) -> tuple[Any, ...]:
    kinds = {field.name: field.type for field in msgspec.structs.fields(view.row)}
    parts = text.split("/")
    if len(parts) != len(view.key):
        raise UnknownKey(text)
    try:
        return tuple(
            msgspec.convert(part, kinds[name], strict=False)
            for part, name in zip(parts, view.key, strict=True)
        )
    except msgspec.ValidationError:
        raise UnknownKey(text) from None
