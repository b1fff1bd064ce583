"""The key file beside an archive: people's data keys, wrapped as they lie in the store.

A line is ``{"subject_id", "wrapped", "master_generation", "created_at", "erased_at"}``, the last
one ``{"format": 1, "count", "checksum"}`` with the SHA-256 (hex) of all bytes before it.
``wrapped`` is base64, null where the person was erased. Without the master key that wrapped them
the keys open nothing; kept apart from the archive they keep it closed.

Owns that form and the SQL on ``subject_keys``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from uuid import UUID

import msgspec
import psycopg

from adapters.archive.lines import FORMAT, Damaged

Connection = psycopg.Connection[tuple[Any, ...]]

_KEYS = """
SELECT subject_id, wrapped, master_generation, created_at, erased_at FROM subject_keys
ORDER BY subject_id
"""
_INSERT = """
INSERT INTO subject_keys (subject_id, wrapped, master_generation, created_at, erased_at)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (subject_id) DO UPDATE SET wrapped = excluded.wrapped,
    master_generation = excluded.master_generation, erased_at = excluded.erased_at
"""
# Whose key did not come along must not be given another: what is sealed would be taken for broken.
_CLOSED = """
INSERT INTO subject_keys (subject_id, erased_at)
SELECT unnest(%s::uuid[]), now() ON CONFLICT (subject_id) DO NOTHING
"""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's data key; neither ``wrapped`` nor ``master_generation`` where they were erased."""

    subject_id: UUID
    wrapped: bytes | None
    master_generation: str | None
    created_at: datetime
    erased_at: datetime | None


class _Last(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    count: int
    checksum: str


class Opens(Protocol):
    """Says whether a wrapped key can be opened here; ``SubjectKeys`` does."""

    def opens(self, subject_id: UUID, wrapped: bytes) -> bool:
        """Whether the master key that wrapped it is ours."""
        ...


class OtherMasterKey(Exception):
    """A key was wrapped by a master key that is not here: it would open nothing."""


def write(connection: Connection, file: BinaryIO) -> int:
    """Write all keys as the connection sees them; how many."""
    sum_of_all, count = hashlib.sha256(), 0
    encode = msgspec.json.Encoder().encode
    for row in connection.execute(_KEYS):
        line = encode(Key(*row)) + b"\n"
        sum_of_all.update(line)
        file.write(line)
        count += 1
    file.write(encode(_Last(FORMAT, count, sum_of_all.hexdigest())) + b"\n")
    return count


def read(path: Path, keys: Opens) -> list[Key]:
    """The keys of a file that is whole, each of which can be opened here.

    Raises:
        Damaged: it is not whole.
        OtherMasterKey: its master key is another.
    """
    sum_of_all, found, ended = hashlib.sha256(), list[Key](), False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if ended:
                raise Damaged(number, "something follows the last line of the key file")
            try:
                if line.startswith(b'{"format":'):
                    last = msgspec.json.decode(line, type=_Last)
                    ended = (last.format, last.count, last.checksum, line[-1:]) == (
                        FORMAT, len(found), sum_of_all.hexdigest(), b"\n",
                    )  # fmt: skip
                    if not ended:
                        raise Damaged(number, "the key file was changed or lacks lines")
                else:
                    found.append(msgspec.json.decode(line, type=Key))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise Damaged(number, f"this is no line of a key file ({error})") from None
            sum_of_all.update(line)
    if not ended:
        raise Damaged(len(found) + 1, "the key file ends before its last line")
    for key in found:
        if key.wrapped is not None and not keys.opens(key.subject_id, key.wrapped):
            raise OtherMasterKey("the keys were wrapped by a master key that is not here")
    return found


def keep(connection: Connection, keys: Iterable[Key], subjects: set[UUID]) -> None:
    """Put keys into the store, and close for ever what of ``subjects`` has none."""
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, [msgspec.structs.astuple(key) for key in keys])
    connection.execute(_CLOSED, (sorted(subjects),))
