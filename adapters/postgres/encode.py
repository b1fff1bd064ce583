"""Parameters in PostgreSQL's binary format, by the name of their type.

psycopg chooses a parameter's type by the value it is given, which a prepared statement with fixed
types cannot use, and it builds arrays in Python, element by element. These encoders are given the
type and do the least; the formats are those of the server's ``*_recv`` functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from struct import Struct
from typing import Any
from uuid import UUID

_I2, _I4, _I8, _F8 = Struct("!h"), Struct("!i"), Struct("!q"), Struct("!d")
_ARRAY = Struct("!iiIii")
_NULL = b"\xff\xff\xff\xff"
_EPOCH_DAYS = date(2000, 1, 1).toordinal()
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def _timestamptz(value: datetime) -> bytes:
    delta = value - _EPOCH
    return _I8.pack((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds)


def _uuid(value: UUID) -> bytes:
    return value.bytes


ENCODERS: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "bool": (16, lambda value: b"\x01" if value else b"\x00"),
    "bytea": (17, bytes),
    "int8": (20, _I8.pack),
    "int4": (23, _I4.pack),
    "text": (25, str.encode),
    "float8": (701, _F8.pack),
    "date": (1082, lambda value: _I4.pack(value.toordinal() - _EPOCH_DAYS)),
    "timestamptz": (1184, _timestamptz),
    "uuid": (2950, _uuid),
}
"""For each type its object id and the encoder of one value that is not NULL."""

_ARRAY_OIDS = {
    "bool[]": 1000,
    "bytea[]": 1001,
    "int4[]": 1007,
    "text[]": 1009,
    "int8[]": 1016,
    "date[]": 1182,
    "timestamptz[]": 1185,
    "uuid[]": 2951,
}


def array(type_name: str, items: Sequence[Any]) -> bytes:
    """A one-dimensional array of ``items`` (None is NULL), as the value of a parameter."""
    oid, encode = ENCODERS[type_name]
    if not items:
        return _ARRAY.pack(0, 0, oid, 0, 1)[:12]
    parts = [b""]
    pack = _I4.pack
    nulls = 0
    for item in items:
        if item is None:
            parts.append(_NULL)
            nulls = 1
        else:
            raw = encode(item)
            parts.append(pack(len(raw)))
            parts.append(raw)
    parts[0] = _ARRAY.pack(1, nulls, oid, len(items), 1)
    return b"".join(parts)


def oid_of(type_name: str) -> int:
    """The object id of a type or of an array of it."""
    return _ARRAY_OIDS[type_name] if type_name.endswith("[]") else ENCODERS[type_name][0]


def encoders_of(type_names: Iterable[str]) -> tuple[Callable[[Any], bytes | None], ...]:
    """One encoder for each parameter; None is encoded as NULL.

    Raises:
        KeyError: a type is not in ``ENCODERS``.
    """
    return tuple(_nullable(name) for name in type_names)


def _nullable(name: str) -> Callable[[Any], bytes | None]:
    if name.endswith("[]"):
        element = name[:-2]
        ENCODERS[element]
        return lambda value: None if value is None else array(element, value)
    encode = ENCODERS[name][1]
    return lambda value: None if value is None else encode(value)
