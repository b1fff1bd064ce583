"""Comparing two tables of a view at one position: count, ordered checksum, and what differs.

Owns the SQL. Both tables are read in one snapshot, taken while the checkpoint's lock held the live
one still; the reading itself holds nobody up.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from psycopg.sql import SQL, Composable, Identifier

from projections.engine.checkpoints import Connection
from projections.engine.view import RowView

DIFFERENCES = 100
"""Differences that are listed at most; the checksums tell of the rest."""


class Difference(msgspec.Struct, frozen=True):
    """A row that is not the same; None where there is none. Personal columns are digests."""

    key: str
    live: dict[str, Any] | None
    expected: dict[str, Any] | None


class Comparison(msgspec.Struct, frozen=True):
    """Two tables at one position."""

    position: int
    rows_live: int
    rows_expected: int
    checksum_live: str
    checksum_expected: str
    differences: list[Difference]
    emptied: bool = False
    """Whether the live one has no rows, or is a log that was emptied and has all since then."""

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows."""
        return (self.rows_live, self.checksum_live) == (self.rows_expected, self.checksum_expected)


def compare(
    connection: Connection, view: RowView[Any], live: str, expected: str, position: int
) -> Comparison:
    """Compare in the caller's transaction, whose snapshot shows both at ``position``."""
    rows_live, checksum_live = _checksum(connection, view, live)
    rows_expected, checksum_expected = _checksum(connection, view, expected)
    same = (rows_live, checksum_live) == (rows_expected, checksum_expected)
    return Comparison(
        position,
        rows_live,
        rows_expected,
        checksum_live,
        checksum_expected,
        [] if same else _differences(connection, view, live, expected),
        rows_live == 0 or (not same and _refilled(connection, view, live, expected)),
    )


def _refilled(connection: Connection, view: RowView[Any], live: str, expected: str) -> bool:
    """Whether all that a log lacks is its beginning.

    To ask for its rebuild adds a row to the log of what operators do, so that it is never empty.
    """
    if view.grows_by is None:
        return False
    row = connection.execute(
        SQL(
            "SELECT NOT EXISTS (SELECT FROM {live} l FULL JOIN ("
            "SELECT * FROM {expected} WHERE {order} >= (SELECT min({order}) FROM {live})) e ON {on}"
            " WHERE {ours} IS DISTINCT FROM {theirs})"
        ).format(
            live=Identifier(live),
            expected=Identifier(expected),
            order=Identifier(view.grows_by),
            on=_on(view),
            ours=_row(view, "l"),
            theirs=_row(view, "e"),
        )
    ).fetchone()
    return row == (True,)


def _checksum(connection: Connection, view: RowView[Any], table: str) -> tuple[int, str]:
    row = connection.execute(
        SQL(
            "SELECT count(*), md5(coalesce(string_agg(md5(({})::text), '' ORDER BY {}), ''))"
            " FROM {} t"
        ).format(_row(view, "t"), _key(view, "t"), Identifier(table))
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _differences(
    connection: Connection, view: RowView[Any], live: str, expected: str
) -> list[Difference]:
    key = SQL(" || '/' || ").join(
        SQL("coalesce(l.{0}, e.{0})::text").format(Identifier(name)) for name in view.key
    )
    first = Identifier(view.key[0])
    rows = connection.execute(
        SQL(
            "SELECT {key}, CASE WHEN l.{first} IS NULL THEN NULL ELSE to_jsonb(l) END,"
            " CASE WHEN e.{first} IS NULL THEN NULL ELSE to_jsonb(e) END"
            " FROM {live} l FULL JOIN {expected} e ON {on}"
            " WHERE {ours} IS DISTINCT FROM {theirs} ORDER BY 1 LIMIT {limit}"
        ).format(
            key=key,
            first=first,
            live=Identifier(live),
            expected=Identifier(expected),
            on=_on(view),
            ours=_row(view, "l"),
            theirs=_row(view, "e"),
            limit=SQL(str(DIFFERENCES)),
        )
    ).fetchall()
    return [Difference(key, _shown(view, ours), _shown(view, theirs)) for key, ours, theirs in rows]


def _shown(view: RowView[Any], row: dict[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        name: _digest(value) if name in view.personal and value is not None else value
        for name, value in row.items()
    }


def _digest(value: Any) -> dict[str, Any]:
    digest = hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:16]
    return {"sealed": True, "digest": digest}


def _row(view: RowView[Any], alias: str) -> Composable:
    """The view's columns as one record, whatever their order in the table."""
    return SQL("ROW({})").format(
        SQL(", ").join(
            SQL("{}.{}").format(Identifier(alias), Identifier(field.name))
            for field in msgspec.structs.fields(view.row)
        )
    )


def _on(view: RowView[Any]) -> Composable:
    return SQL(" AND ").join(SQL("l.{0} = e.{0}").format(Identifier(name)) for name in view.key)


def _key(view: RowView[Any], alias: str) -> Composable:
    return SQL(", ").join(
        SQL("{}.{}").format(Identifier(alias), Identifier(name)) for name in view.key
    )
