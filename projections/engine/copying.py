"""Rows as PostgreSQL's binary COPY takes them, encoded column by column.

A loop over one column of one type costs a fraction of finding each value's own way, which is what
a driver has to do. Owns the encodings of the types that views have most; every other type goes
through psycopg's dumper for it. It sends nothing: ``writer`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import chain
from struct import Struct
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec
import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""What comes before the first row."""
TRAILER = b"\xff\xff"
"""What comes after the last row."""

Column = Callable[[Sequence[Any]], Iterable[bytes]]
"""Encodes the values of one column, each with its length before it."""

_NULL = b"\xff\xff\xff\xff"
_LENGTH = Struct("!i").pack
_INT4 = Struct("!ii").pack
_INT8 = Struct("!iq").pack
_FLOAT8 = Struct("!id").pack
_ARRAY = Struct("!iiiIii").pack
_TEXT_OID = 25
_DAY_ZERO = date(2000, 1, 1).toordinal()
_TIME_ZERO = datetime(2000, 1, 1, tzinfo=UTC)


class RowEncoder:
    """Encodes rows of one struct for a table whose columns have these types.

    ``types`` are the columns' types in the order of the struct's fields, each by its name in SQL
    and its number. A ``text`` column whose field is ``bytes`` takes UTF-8 as it is.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        row: type[msgspec.Struct],
        types: Sequence[tuple[str, int]],
    ) -> None:
        fields = msgspec.structs.fields(row)
        self._columns = [
            _encoder(connection, name, oid, field.type)
            for (name, oid), field in zip(types, fields, strict=True)
        ]
        self._head = Struct("!h").pack(len(types))

    def __call__(self, rows: Sequence[Any]) -> bytes:
        """The rows, without signature and trailer; there must be one at least."""
        columns = zip(*map(msgspec.structs.astuple, rows), strict=True)
        encoded = [encode(values) for encode, values in zip(self._columns, columns, strict=True)]
        heads = [self._head] * len(rows)
        return b"".join(chain.from_iterable(zip(heads, *encoded, strict=True)))


def is_encoded(name: str, kind: Any) -> bool:
    """Whether this is a column of text that the row has as UTF-8, to be passed on as it is."""
    return name == "text" and _required(kind) is bytes


def _encoder(connection: psycopg.Connection[Any], name: str, oid: int, kind: Any) -> Column:
    if is_encoded(name, kind):
        return _raw
    if name == "boolean" or (name == "text" and get_origin(_required(kind)) is Literal):
        return _Choices()
    return _ENCODERS.get(name) or _by_psycopg(connection, oid)


def _required(kind: Any) -> Any:
    """The type of a field where it is not None."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    others = [part for part in get_args(kind) if part is not NoneType]
    return others[0] if len(others) == 1 else kind


def _uuid(values: Sequence[UUID | None]) -> list[bytes]:
    head = _LENGTH(16)
    return [_NULL if v is None else head + v.int.to_bytes(16, "big") for v in values]


def _int4(values: Sequence[int | None]) -> list[bytes]:
    return [_NULL if v is None else _INT4(4, v) for v in values]


def _int8(values: Sequence[int | None]) -> list[bytes]:
    return [_NULL if v is None else _INT8(8, v) for v in values]


def _float8(values: Sequence[float | None]) -> list[bytes]:
    return [_NULL if v is None else _FLOAT8(8, v) for v in values]


def _date(values: Sequence[date | None]) -> list[bytes]:
    return [_NULL if v is None else _INT4(4, v.toordinal() - _DAY_ZERO) for v in values]


def _timestamptz(values: Sequence[datetime | None]) -> list[bytes]:
    return [
        _NULL
        if v is None
        else _INT8(
            8, ((d := v - _TIME_ZERO).days * 86_400 + d.seconds) * 1_000_000 + d.microseconds
        )
        for v in values
    ]


def _text(values: Sequence[str | None]) -> list[bytes]:
    return _raw([None if v is None else v.encode() for v in values])


def _raw(values: Sequence[bytes | None]) -> list[bytes]:
    return [_NULL if v is None else _LENGTH(len(v)) + v for v in values]


def _text_array(values: Sequence[Sequence[str | None] | None]) -> list[bytes]:
    # Each different text once: tags and the like come again and again.
    texts = tuple(dict.fromkeys(chain.from_iterable(filter(None, values))))
    encoded = dict(zip(texts, _text(texts), strict=True)).__getitem__
    return [
        _NULL if v is None else _array(b"".join(map(encoded, v)), len(v)) if v else _EMPTY
        for v in values
    ]


def _array(items: bytes, count: int) -> bytes:
    # One dimension from 1; the server sees for itself whether there are nulls.
    return _ARRAY(20 + len(items), 1, 0, _TEXT_OID, count, 1) + items


_EMPTY = Struct("!iiiI").pack(12, 0, 0, _TEXT_OID)


class _Choices(dict[Any, bytes]):
    """Encodes a column of few different values: each of them once."""

    def __call__(self, values: Sequence[Any]) -> Iterable[bytes]:
        return map(self.__getitem__, values)

    def __missing__(self, value: str | bool | None) -> bytes:
        if value is None:
            made = _NULL
        elif isinstance(value, str):
            [made] = _text((value,))
        else:
            made = _LENGTH(1) + (b"\1" if value else b"\0")
        self[value] = made
        return made


_ENCODERS: Mapping[str, Column] = {
    "uuid": _uuid,
    "integer": _int4,
    "bigint": _int8,
    "double precision": _float8,
    "date": _date,
    "timestamp with time zone": _timestamptz,
    "text": _text,
    "text[]": _text_array,
    "tsvector": _raw,
}


def _by_psycopg(connection: psycopg.Connection[Any], oid: int) -> Column:
    """The encoding of any other type."""
    transformer = Transformer(connection)
    transformer.set_dumper_types([oid], Format.BINARY)

    def dumped(value: Any) -> bytes | None:
        [raw] = transformer.dump_sequence([value], [])
        return None if raw is None else bytes(raw)

    return lambda values: _raw([dumped(value) for value in values])
