"""Set-based writing of a view: load what a batch touches, fold in memory, write what changed.

New rows are copied straight into the table; changed ones go through a staging table and one
upsert. Owns no transaction: the runner's holds rows and checkpoint together.
"""

from __future__ import annotations

import collections
import inspect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from domain.event import Recorded
from projections.engine import series
from projections.engine.copying import SIGNATURE, TRAILER, RowEncoder, is_encoded
from projections.engine.erasure import parted
from projections.engine.view import RowView

USERS_NAMED = 100
"""Users that are told apart in one batch at most."""
ROWS = 64
"""Rows encoded and sent at once: the server reads them while the next ones are encoded."""

Connection = psycopg.Connection[tuple[Any, ...]]
_Touched = tuple[list[tuple[Any, ...]], list[tuple[int, Recorded]], bytearray, list[int]]


class ViewWriter:
    """Writes one view into ``table`` (the live one or a shadow of it) on one connection."""

    def __init__(self, view: RowView[Any], connection: Connection, table: str) -> None:
        self.view = view
        self._connection = connection
        self._table = table
        fields = msgspec.structs.fields(view.row)
        self._columns = tuple(field.name for field in fields)
        types = column_types(connection, table, self._columns)
        self._encode = RowEncoder(connection, view.row, types)
        key_types = [types[self._columns.index(name)][0] for name in view.key]
        columns = _list(self._columns)
        key = _list(view.key)
        unique_by = dict.fromkeys((*view.key, view.timed) if view.timed else view.key)
        unique = _list(unique_by)
        rest = [name for name in self._columns if name not in unique_by]
        staging = Identifier(f"staging_{table}")
        self._key_of_row = tuple(self._columns.index(name) for name in view.key)
        self._load = SQL("SELECT {} FROM {} WHERE ({}) IN (SELECT * FROM unnest({}))").format(
            SQL(", ").join(
                SQL("convert_to({}, 'UTF8')" if is_encoded(name, field.type) else "{}").format(
                    Identifier(field.name)
                )
                for field, (name, _) in zip(fields, types, strict=True)
            ),
            Identifier(table),
            key,
            SQL(", ").join(SQL(f"%s::{kind}[]") for kind in key_types),
        )
        self._copy = SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            Identifier(table), columns
        )
        self._copy_staging = SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(staging, columns)
        self._make_staging = SQL(
            "CREATE TEMP TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS"
            " SELECT {} FROM {} WITH NO DATA"
        ).format(staging, columns, Identifier(table))
        self._staged = False
        parameters = inspect.signature(view.row).parameters.values()
        self._by_name = any(one.kind is one.KEYWORD_ONLY for one in parameters)
        # Staged rows are taken out at once: one transaction may write several times.
        self._upsert = SQL(
            "WITH staged AS (DELETE FROM {} RETURNING {})"
            " INSERT INTO {} ({}) SELECT {} FROM staged ON CONFLICT ({}) DO {}"
        ).format(staging, columns, Identifier(table), columns, columns, unique, _update(rest))
        if view.erases is not None and view.erases not in self._columns:
            raise LookupError(f"{view.name} does not say whose its rows are: see RowView.erases")
        self._purge = SQL("DELETE FROM {} WHERE {} = ANY (%s::uuid[])").format(
            Identifier(table), Identifier(view.erases or "")
        )
        self._delete = SQL("DELETE FROM {} WHERE ({}) IN (SELECT * FROM unnest({}))").format(
            Identifier(table),
            key,
            SQL(", ").join(SQL(f"%s::{kind}[]") for kind in key_types),
        )

    def apply(self, events: Iterable[Recorded], *, careful: bool = False) -> set[UUID] | None:
        """Fold the events into the table; whose rows changed, None being too many to name.

        ``careful`` loads the rows of every key, also of those that cannot exist yet.
        """
        events = list(events)
        left, erased = parted(events)
        if not erased:
            return self._fold(events, careful)
        if self.view.erases is None:
            return self._fold([one for one in events if not one.elsewhere], careful)
        self._connection.execute(self._purge, [list(erased)])
        series.forget(self._connection, self.view, self._table, list(erased))
        touched = self._fold(left, careful)
        return None if touched is None else touched | erased.keys()

    def _fold(self, events: Sequence[Recorded], careful: bool) -> set[UUID] | None:
        keys, touched, fresh, last = self._keys(events, careful)
        rows: list[Any] = [None] * len(keys)
        loaded: list[Any] = rows
        if known := [at for at in range(len(keys)) if not fresh[at]]:
            found = self._rows([keys[at] for at in known])
            for at in known:
                rows[at] = found.get(keys[at])
            loaded = list(rows)
        fold = self.view.fold

        def inserted() -> Iterator[Any]:
            """Fold all events; new rows as soon as no later event of these touches them."""
            for number, (at, recorded) in enumerate(touched):
                rows[at] = row = fold(keys[at], rows[at], recorded)
                if fresh[at] and last[at] == number and row is not None:
                    yield row

        if any(fresh):
            self._copy_rows(self._copy, inserted())  # the server writes while we fold
        else:
            collections.deque(inserted(), 0)
        changed = [row for at in known if (row := rows[at]) is not None and row is not loaded[at]]
        gone = [keys[at] for at in known if rows[at] is None and loaded[at] is not None]
        self._change(changed, gone)
        before = () if loaded is rows else loaded
        return self._users(row for row in itertools.chain(rows, before) if row is not None)

    def _users(self, rows: Iterable[Any]) -> set[UUID] | None:
        """Whose rows these are, or None: so many people's that they need not be told apart."""
        user_of = self.view.user_of
        users: set[UUID] = set()
        for row in rows:
            users.add(user_of(row))
            if len(users) > USERS_NAMED:
                return None
        return users

    def replace(self, key: tuple[Any, ...], row: Any | None) -> None:
        """Put this row, or none, in the place of whatever the key has."""
        self._connection.execute(self._delete, [[part] for part in key])
        if row is not None:
            self._copy_rows(self._copy, iter([row]))

    def forget_staging(self) -> None:
        """Make the staging table anew: the transaction that made it was rolled back."""
        self._staged = False

    def _keys(self, events: Iterable[Recorded], careful: bool) -> _Touched:
        """The keys that are touched, by which events, and for each whether it cannot exist yet.

        Last come the numbers of the events that touch each key last. Keys are numbered once and
        then handled by number: hashing a UUID is slow.
        """
        keys_of, creates = self.view.keys_of, self.view.creates
        numbers: dict[tuple[Any, ...], int] = {}
        touched: list[tuple[int, Recorded]] = []
        fresh = bytearray()
        last: list[int] = []
        for recorded in events:
            new = not careful and creates(recorded)
            for key in keys_of(recorded):
                at = numbers.setdefault(key, len(fresh))
                if at == len(fresh):
                    fresh.append(new)
                    last.append(len(touched))
                else:
                    last[at] = len(touched)
                touched.append((at, recorded))
        return list(numbers), touched, fresh, last

    def _change(self, changed: Sequence[Any], gone: Sequence[tuple[Any, ...]]) -> None:
        if changed:
            if not self._staged:
                self._connection.execute(self._make_staging)
                self._staged = True
            self._copy_rows(self._copy_staging, iter(changed))
            self._connection.execute(self._upsert)
        if gone:
            columns = [list(column) for column in zip(*gone, strict=True)]
            self._connection.execute(self._delete, columns)

    def _rows(self, keys: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], Any]:
        cursor = self._connection.cursor(binary=True)
        cursor.execute(self._load, [list(column) for column in zip(*keys, strict=True)])
        kind, columns, position = self.view.row, self._columns, self._key_of_row
        if self._by_name:
            return {
                tuple(row[at] for at in position): kind(**dict(zip(columns, row, strict=True)))
                for row in cursor
            }
        return {tuple(row[at] for at in position): kind(*row) for row in cursor}

    def _copy_rows(self, copy_into: Composed, rows: Iterator[Any]) -> None:
        with self._connection.cursor().copy(copy_into) as copy:
            copy.write(SIGNATURE)
            while some := list(itertools.islice(rows, ROWS)):
                copy.write(self._encode(some))
            copy.write(TRAILER)


def _list(names: Iterable[str]) -> Composed:
    return SQL(", ").join(map(Identifier, names))


def _update(columns: Sequence[str]) -> Composable:
    if not columns:
        return SQL("NOTHING")
    return SQL("UPDATE SET {}").format(
        SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(name)) for name in columns)
    )


def column_types(
    connection: Connection, table: str, columns: Sequence[str]
) -> list[tuple[str, int]]:
    """Name and number of each column's type, in the order in which columns are named.

    Raises:
        LookupError: the table lacks one.
    """
    rows = connection.execute(
        "SELECT a.attname, format_type(a.atttypid, NULL), a.atttypid::int8 FROM pg_attribute a"
        " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped",
        (table,),
    ).fetchall()
    types: dict[str, tuple[str, int]] = {name: (kind, oid) for name, kind, oid in rows}
    missing = [name for name in columns if name not in types]
    if missing:
        raise LookupError(f"table {table} lacks {', '.join(missing)}: is it migrated?")
    return [types[name] for name in columns]
