"""A person's rows in the read models: counted, seen to be gone, and deleted where nobody folds.

The live tables are the projectors': they delete a person's rows when they come to
``SubjectErased``. Owns what they do not reach: generations that are kept for a rollback, and
projections that are paused or stand still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier

from domain.accounts.events import SubjectErased
from domain.event import Recorded
from projections.engine import checkpoints, generations, series
from projections.engine.checkpoints import Connection
from projections.engine.view import RowView

# Its items would be folded after the rows are gone: what is left of the stream is nobody's.
RELEASE = """
UPDATE projection_quarantine SET state = 'released', settled = true
WHERE NOT settled AND stream_id = ANY (%s)
"""
WAITING = "SELECT DISTINCT stream_id FROM projection_quarantine WHERE NOT settled"
THEIRS = """
SELECT DISTINCT stream_id FROM events
WHERE stream_id = ANY (%s)
  AND position(convert_to('"user_id":"' || %s || '"', 'UTF8') IN data) > 0
"""


ERASED = "SELECT FROM subject_keys WHERE subject_id = %s AND erased_at IS NOT NULL"


def subject_of(recorded: Recorded) -> UUID | None:
    """Whom an event is about, if it says so."""
    return getattr(recorded.event, type(recorded.event).SUBJECT, None)


def parted(events: Iterable[Recorded]) -> tuple[list[Recorded], dict[UUID, int]]:
    """The events that tell something of people who are not erased by these, and who is, and where.

    What came before of somebody who is erased is neither there nor needed.
    """
    listed = list(events)
    erasures: dict[UUID | None, tuple[int, int]] = {
        one.event.user_id: (at, one.position)
        for at, one in enumerate(listed)
        if type(one.event) is SubjectErased
    }
    if not erasures:
        return listed, {}
    left = [
        one
        for at, one in enumerate(listed)
        if type(one.event) is not SubjectErased and at > erasures.get(subject_of(one), (-1, 0))[0]
    ]
    return left, {user: position for user, (_, position) in erasures.items() if user is not None}


def is_of_erased(connection: Connection, recorded: Recorded) -> bool:
    """Whether the event is about somebody who was erased."""
    subject = subject_of(recorded)
    return subject is not None and connection.execute(ERASED, (subject,)).rowcount == 1


class Table(NamedTuple):
    """A table with rows of people; ``live`` unless it is that of a generation."""

    view: RowView[Any]
    name: str
    live: bool


def tables_of(connection: Connection, views: Iterable[RowView[Any]]) -> Iterator[Table]:
    """The tables of all generations of the views that hold something about people."""
    for view in views:
        if view.erases is not None:
            yield Table(view, view.table, True)
            for one in generations.load(connection, view.name):
                yield Table(view, one.table, False)


def rows_of(connection: Connection, views: Iterable[RowView[Any]], user_id: UUID) -> dict[str, int]:
    """How many rows of this person each table has."""
    found: dict[str, int] = {}
    for table in tables_of(connection, views):
        if table.view.outside is not None:
            found[table.name] = table.view.outside.count(table.view, table.name, user_id)
            continue
        query = SQL("SELECT count(*) FROM {} WHERE {} = %s")
        found[table.name] = _count(connection, query, table, user_id)
    return found


def purge(
    connection: Connection, views: Iterable[RowView[Any]], user_id: UUID, position: int
) -> dict[str, int]:
    """Delete the person's rows where no projector has; by table, how many there were.

    Those are the generations that are not live, and the live tables of projections that have not
    passed ``position``. What they meet later of this person's events leads to nothing: see
    ``mending``.
    """
    behind = set(not_passed(connection, views, position, paused=True))
    gone: dict[str, int] = {}
    for table in tables_of(connection, views):
        if table.live and table.view.name not in behind:
            continue
        store = table.view.outside
        if store is not None:
            gone[table.name] = store.purge(table.view, table.name, [user_id], position)
            continue
        query = SQL(
            "WITH gone AS (DELETE FROM {} WHERE {} = %s RETURNING 1) SELECT count(*) FROM gone"
        )
        gone[table.name] = _count(connection, query, table, user_id)
        series.forget(connection, table.view, table.name, [user_id])
    return gone


def keys_to_refold(
    connection: Connection, views: Iterable[RowView[Any]], user_id: UUID
) -> Iterator[tuple[RowView[Any], str]]:
    """Rows with words of this person that others need, as a repair names them.

    Generations that hold such rows and are not live are dropped.
    """
    for view in views:
        if view.refolds is not None:
            for generation in generations.load(connection, view.name):
                generations.drop(connection, view, generation)
            key = SQL(" || '/' || ").join(SQL("{}::text").format(Identifier(k)) for k in view.key)
            query = SQL("SELECT {} FROM {} WHERE {} = %s").format(
                key, Identifier(view.table), Identifier(view.refolds)
            )
            for (text,) in connection.execute(query, (user_id,)).fetchall():
                yield view, text


def not_passed(
    connection: Connection,
    views: Iterable[RowView[Any]],
    position: int,
    *,
    paused: bool = False,
) -> Sequence[str]:
    """The projections that have not passed the position, those that are ``paused`` only if asked.

    Those that were never begun have no rows.
    """
    known = checkpoints.read_all(connection)
    rows = connection.execute(
        "SELECT DISTINCT name FROM projection_checkpoints"
        " WHERE position < %s AND (%s OR NOT paused)",
        (position, paused),
    )
    names = {view.name for view in views} & set(known)
    return sorted(name for (name,) in rows if name in names)


def release(connection: Connection, events: Connection, user_id: UUID) -> int:
    """Settle what is in quarantine of this person's streams; how many items.

    ``events`` is a connection to the events' database, which may be another one.
    """
    waiting = [stream for (stream,) in connection.execute(WAITING)]
    if not waiting:
        return 0
    theirs = [stream for (stream,) in events.execute(THEIRS, (waiting, str(user_id)))]
    return connection.execute(RELEASE, (theirs,)).rowcount


def _count(connection: Connection, query: SQL, table: Table, user_id: UUID) -> int:
    try:
        row = connection.execute(
            query.format(Identifier(table.name), Identifier(table.view.erases or "")), (user_id,)
        ).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0  # a generation that was dropped or took its turn meanwhile
    return 0 if row is None else int(row[0])
