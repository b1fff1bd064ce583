"""Rebuild, verify and roll back: what operators do to a view, without a moment's empty page.

A rebuild grows a new generation beside the live table, compares the two at one position, and lets
the new one take the live one's place in a transaction that renames both. The old one is kept: a
rollback lets it catch up and swaps again. A verification builds, compares and throws away.

Owns what operators call. The steps are ``growth``'s, the folding is ``building``'s, tables and
turns are ``generations``'; one row, or those of a range of time, are ``repair``'s.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg

from domain.event import topics_of
from projections.engine import checkpoints, generations, leases, together
from projections.engine.building import Cancelled, Heed, Progress, Signal
from projections.engine.checkpoints import Connection
from projections.engine.folding import connect
from projections.engine.growing import Sources
from projections.engine.growth import Work
from projections.engine.outcomes import (
    AlreadyRebuilding,
    Differences,
    NothingKept,
    Options,
    PoisonMet,
    RangeNotSupported,
    RebuildRefused,
    Report,
    UnknownKey,
    Verified,
)
from projections.engine.repair import key_of, rebuild_range, rebuild_row
from projections.engine.source import EventSource
from projections.engine.together import Wish
from projections.engine.view import RowView

__all__ = [
    "AlreadyRebuilding",
    "Cancelled",
    "Differences",
    "NothingKept",
    "Options",
    "PoisonMet",
    "Progress",
    "RangeNotSupported",
    "RebuildRefused",
    "Report",
    "Signal",
    "UnknownKey",
    "Verified",
    "Wish",
    "plan",
    "rebuild",
    "rebuild_together",
    "rollback",
    "set_paused",
    "verify",
]

PROJECT = "mindstream_project"


def plan(
    source: EventSource,
    view: RowView[Any],
    options: Options = Options(),  # noqa: B008 - frozen
) -> dict[str, int]:
    """How many events of each topic a rebuild would read.

    Raises:
        UnknownKey: the options name one that is none of the view.
    """
    topics = topics_of(view.takes)
    if options.key is not None:
        stream = view.stream_of(key_of(view, options.key))
        found = None if stream is None else source.tally(topics, stream_id=stream)
    elif options.from_ is not None or options.to is not None:
        found = source.tally(topics, options.from_, options.to)
    else:
        found = None
    if found is not None:
        return {topic: found.get(topic, 0) for topic in topics}
    head = source.head()
    return {topic: source.count(0, head, [topic]) for topic in topics}


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
    """Build the view anew and put it in the place of the live one, or repair some of its rows.

    After a crash it goes on with the generation that it had begun.

    Raises:
        AlreadyRebuilding: somebody else is at it.
        Cancelled: by ``heed``; the shadow is gone.
        PoisonMet, Differences: nothing was swapped.
        RangeNotSupported, UnknownKey: the options do not fit the view.
        psycopg.Error: a database does not answer; the live view is as it was.
    """
    ranged = options.from_ is not None or options.to is not None
    if ranged and not view.ranged:
        raise RangeNotSupported(view.name)
    with _alone(dsn, role, view) as connection:
        work = Work(dsn, role, sources, view, connection, options, heed, operation_id)
        if options.key is not None:
            return rebuild_row(connection, sources, view, options.key)
        if ranged:
            try:
                return rebuild_range(
                    connection, sources, view, options.from_, options.to, work.told
                )
            finally:
                work.close()
        return work.rebuild()


def rebuild_together(
    dsn: str,
    sources: Callable[[RowView[Any]], Sources],
    wishes: Sequence[Wish],
    *,
    role: str = PROJECT,
) -> None:
    """Rebuild several views whole: those that take the same events from one reading of them.

    Each has its own comparison, swap and result, and is told its end as soon as it is there; what
    ``rebuild`` raises is what it is told then.
    """
    together.rebuild_together(dsn, role, sources, wishes, lambda view: _alone(dsn, role, view))


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
        work = Work(dsn, role, sources, view, connection, Options(), heed, None)
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
        work = Work(dsn, role, sources, view, connection, Options(), lambda _: "go", None)
        build = work.open(kept[-1])
        source = sources()
        try:
            work.up_to(build, source.head())
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
    return connection.execute(checkpoints.SET_PAUSED, (paused, name)).rowcount > 0


@contextmanager
def _alone(dsn: str, role: str, view: RowView[Any]) -> Iterator[Connection]:
    """A connection that holds the lease of rebuilding this view."""
    with connect(dsn, role, "rebuild") as connection:
        if not leases.try_lock(connection, f"rebuild:{view.name}"):
            raise AlreadyRebuilding(view.name)
        checkpoints.ensure(connection, [view])
        try:
            yield connection
        finally:
            # The server would let go of it too, but only some time after the connection is closed.
            with contextlib.suppress(psycopg.Error):
                leases.unlock(connection, f"rebuild:{view.name}")
