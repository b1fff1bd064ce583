"""Views that are time series: how long their rows stay, and what they are summed up to.

A series' rows lie in chunks of time, which are dropped when they are old; what they came to by days
or weeks is kept for ever. How a database does that is SQL (``schema/timeseries/``), the same calls
in every form of it. Owns those calls and their order; it does not know which form there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString, cast
from uuid import UUID

from projections.engine import checkpoints, leases
from projections.engine.checkpoints import Connection
from projections.engine.view import RowView

HORIZON = "SELECT summed, dropped FROM timeseries_horizon(%s, %s)"
PASSED = """
SELECT coalesce(bool_and(position >= %s), false) FROM projection_checkpoints WHERE name = %s
"""
DROPPED = """
SELECT dropped_before FROM timeseries_horizons
WHERE relation = to_regclass(%s) AND dropped_before > '-infinity'
"""


def is_series(view: RowView[Any]) -> bool:
    """Whether the view's rows belong to a time each, by which they are kept."""
    return view.timed is not None


def refresh(
    connection: Connection,
    view: RowView[Any],
    table: str,
    from_: datetime | None = None,
    to: datetime | None = None,
) -> None:
    """Bring what a table is summed up to up to date, for rows of [``from_``, ``to``).

    The connection commits each statement by itself.
    """
    if not is_series(view):
        return
    rows = connection.execute("SELECT * FROM timeseries_refreshes(%s, %s, %s)", (table, from_, to))
    for (statement,) in rows.fetchall():
        connection.execute(cast("LiteralString", statement))


def trim_as_live(connection: Connection, view: RowView[Any], table: str) -> None:
    """Sum up and drop in a generation that has grown what is no longer in the live one."""
    if is_series(view):
        refresh(connection, view, table)
        connection.execute("SELECT timeseries_trim_as(%s, %s)", (view.table, table))


def forget(connection: Connection, view: RowView[Any], table: str, users: Sequence[UUID]) -> None:
    """Forget people in what rows of theirs were summed up to."""
    if is_series(view):
        connection.execute("SELECT timeseries_forget(%s, %s::uuid[])", (table, list(users)))


def kept_since(connection: Connection, view: RowView[Any]) -> datetime | None:
    """The time before which the live rows were dropped; None where none were."""
    if not is_series(view):
        return None
    row = connection.execute(DROPPED, (view.table,)).fetchone()
    return None if row is None else row[0]


def retain(
    connection: Connection,
    view: RowView[Any],
    now: datetime,
    position_before: Callable[[datetime], int],
) -> bool:
    """Sum up what is old and drop it, and make chunks ahead; whether that could be done now.

    ``position_before`` tells the position of the last event that was recorded before a time: what
    is not folded yet must not be summed up. Nothing is dropped while the view is rebuilt.
    """
    what = f"rebuild:{view.name}"
    if not leases.try_lock(connection, what):
        return False
    try:
        row = connection.execute(HORIZON, (view.table, now.astimezone(UTC))).fetchone()
        trims = row is not None and _passed(connection, view, position_before(row[0]))
        if row is not None and trims:
            summed, dropped = row
            refresh(connection, view, view.table, None, summed)
            with connection.transaction():
                # As the projector and a swap do: the checkpoint first, then the rows.
                connection.execute(checkpoints.LOCK_LIVE, (view.name,))
                connection.execute("SET LOCAL lock_timeout = '2s'")
                trim = "SELECT timeseries_trim(%s, %s, %s)"
                connection.execute(trim, (view.table, summed, dropped))
        connection.execute("SELECT timeseries_ahead(%s)", (view.table,))
        return row is None or trims
    finally:
        leases.unlock(connection, what)


def _passed(connection: Connection, view: RowView[Any], position: int) -> bool:
    row = connection.execute(PASSED, (position, view.name)).fetchone()
    return row is not None and bool(row[0])
