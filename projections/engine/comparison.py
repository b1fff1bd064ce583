"""Comparing two tables of a view at one position: count, ordered checksum, and what differs.

Owns the SQL. Both tables are read in one snapshot, taken while the checkpoint's lock held the live
one still; the reading itself holds nobody up. Each table has a connection of its own to be read on,
so that both are read at once.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from psycopg.sql import SQL, Composable, Identifier, Literal

from projections.engine.checkpoints import Connection
from projections.engine.view import RowView
from projections.engine.writer import column_types

DIFFERENCES = 100
"""Differences that are listed at most; the checksums tell of the rest."""


class Difference(msgspec.Struct, frozen=True):
    """A row that is not the same; None where there is none. Personal columns are digests.

    So is the key where a part of it is personal.
    """

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


Sum = tuple[int, str]
"""Rows, and their checksum."""


def share_snapshot(one: Connection, other: Connection) -> None:
    """Let ``other`` begin a transaction that sees what the one of ``one`` saw when it began."""
    row = one.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None
    other.autocommit = False
    other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    other.execute(SQL("SET TRANSACTION SNAPSHOT {}").format(Literal(row[0])))


def checksum(connection: Connection, view: RowView[Any], table: str) -> Sum:
    """Rows of a table, and a checksum of them in the order of their keys.

    A row's own is the server's 64-bit hash of a record: several times faster than one of its text.
    """
    row = connection.execute(
        SQL(
            "SELECT count(*),"
            " md5(coalesce(string_agg(int8send(hash_record_extended({}, 0)), '' ORDER BY {}), ''))"
            " FROM {} t"
        ).format(_row(connection, view, "t"), _key(view, "t"), Identifier(table))
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def compare(
    connection: Connection,
    view: RowView[Any],
    live: tuple[str, Sum],
    expected: tuple[str, Sum],
    position: int,
) -> Comparison:
    """Compare two tables, each with what was summed of it, in the snapshot that showed both.

    The caller's transaction shows them at ``position``.
    """
    same = live[1] == expected[1]
    return Comparison(
        position,
        live[1][0],
        expected[1][0],
        live[1][1],
        expected[1][1],
        [] if same else _differences(connection, view, live[0], expected[0]),
        live[1][0] == 0 or (not same and _refilled(connection, view, live[0], expected[0])),
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
            ours=_row(connection, view, "l"),
            theirs=_row(connection, view, "e"),
        )
    ).fetchone()
    return row == (True,)


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
            ours=_row(connection, view, "l"),
            theirs=_row(connection, view, "e"),
            limit=SQL(str(DIFFERENCES)),
        )
    ).fetchall()
    told = str if set(view.key).isdisjoint(view.personal) else _digest_of
    return [
        Difference(told(key), shown(view, ours), shown(view, theirs)) for key, ours, theirs in rows
    ]


def shown(view: RowView[Any], row: dict[str, Any] | None) -> dict[str, Any] | None:
    """A row as it may be shown: what is personal as digests."""
    if row is None:
        return None
    return {
        name: _digest(value) if name in view.personal and value is not None else value
        for name, value in row.items()
    }


def _digest(value: Any) -> dict[str, Any]:
    return {"sealed": True, "digest": _digest_of(value)}


def _digest_of(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:16]


_HASHED = frozenset(
    "uuid text date integer bigint smallint boolean numeric bytea jsonb".split()
) | {
    "double precision",
    "timestamp with time zone",
    "text[]",
    "uuid[]",
}
"""Types whose values the server can hash; others are hashed as text."""


def _row(connection: Connection, view: RowView[Any], alias: str) -> Composable:
    """The view's columns as one record, whatever their order in the table."""
    names = [field.name for field in msgspec.structs.fields(view.row)]
    types = column_types(connection, view.table, names)
    return SQL("ROW({})").format(
        SQL(", ").join(
            SQL("{}.{}" if kind in _HASHED else "{}.{}::text").format(
                Identifier(alias), Identifier(name)
            )
            for name, (kind, _) in zip(names, types, strict=True)
        )
    )


def _on(view: RowView[Any]) -> Composable:
    return SQL(" AND ").join(SQL("l.{0} = e.{0}").format(Identifier(name)) for name in view.key)


def _key(view: RowView[Any], alias: str) -> Composable:
    return SQL(", ").join(
        SQL("{}.{}").format(Identifier(alias), Identifier(name)) for name in view.key
    )
