"""Between an archive and the event store: all events out, or all of them in.

An export reads one snapshot of the store. An import goes through the file twice: the first time
all is checked and nothing written, the second time all is written in one transaction, whose commit
waits for the same checksum. Claims are made anew from the events; snapshots, idempotency keys and
read models are not archived, since they follow from the events or have had their time.

Owns the SQL. ``lines`` owns the form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg.rows import tuple_row

from adapters.archive import keys as key_files
from adapters.archive.lines import (
    Archived,
    Damaged,
    Reader,
    Writer,
    data_of,
    opened,
    replacing,
    stored_of,
)
from adapters.event_store.mapper import Ciphers, recorded, subjects_in
from adapters.event_store.recorder import CHANNEL
from adapters.event_store.subject_keys import SubjectKeys
from adapters.reactions import PASSING_OVER
from commands.claims import HOLDS, holds_of, turns
from domain.event import Metadata

log = structlog.get_logger()

Connection = psycopg.Connection[tuple[Any, ...]]
Tell = Callable[[int, int], None]
"""Told now and then how many events are done, and how many there are (0: not known)."""

PAGE = 2_000
_HEAD = "SELECT coalesce(max(position), 0) FROM events"
_EVENTS = """
SELECT position, stream_id, stream_version, topic, tenant_id, recorded_at, event_id,
       correlation_id, causation_id, actor, trace_id, data
FROM events ORDER BY position
"""
_COPY = """
COPY events (position, stream_id, stream_version, topic, tenant_id, event_id, correlation_id,
             causation_id, actor, trace_id, recorded_at, data) FROM STDIN (FORMAT BINARY)
"""
_TYPES = "int8 text int4 text uuid uuid text uuid text text timestamptz bytea".split()
_LOCK = "SELECT pg_advisory_xact_lock(7022026)"
_OCCUPIED = "SELECT EXISTS (SELECT FROM events)"
_AHEAD = "SELECT coalesce(max(position), 0) FROM projection_checkpoints"
_HOLDING = """
SELECT position, stream_id, stream_version, tenant_id, recorded_at, topic, data FROM events
WHERE stream_id LIKE ANY (%s) ORDER BY stream_id, stream_version
"""
_TURNS = """
CREATE TEMP TABLE claim_turns (kind text, key text, stream_id text, position bigint, taken boolean)
ON COMMIT DROP
"""
_COPY_TURNS = "COPY claim_turns FROM STDIN (FORMAT BINARY)"
_CLAIM = """
INSERT INTO claims (kind, key, holder)
SELECT kind, key, stream_id FROM (
    SELECT DISTINCT ON (kind, key) kind, key, stream_id, taken
    FROM claim_turns ORDER BY kind, key, position DESC, taken DESC
) AS last WHERE taken
"""


class NotEmpty(Exception):
    """The store has events, or read models of some: an import would mix two histories."""


class Exported(msgspec.Struct, frozen=True):
    """What an export wrote."""

    file: str
    events: int
    checksum: str
    keys: int | None = None


class Imported(msgspec.Struct, frozen=True):
    """What an import wrote; ``unreadable`` streams could not be folded, so they claim nothing.

    ``closed`` are people whose key did not come along, or who were erased.
    """

    file: str
    events: int
    streams: int
    claims: int
    keys: int
    closed: int
    unreadable: int
    checksum: str


def export(
    dsn: str,
    path: Path,
    *,
    keys: Path | None = None,
    zstd: bool = False,
    tell: Tell = lambda done, of: None,
) -> Exported:
    """Write all events to a file, which is there whole or not at all; and the keys to another.

    Raises:
        psycopg.Error, OSError: it could not be read or written.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(_connected(dsn))
        file = stack.enter_context(replacing(path, zstd=zstd))
        beside = None if keys is None else stack.enter_context(replacing(keys))
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        writer = Writer(file)
        with connection.transaction():
            [head] = connection.execute(_HEAD).fetchone() or (0,)
            with connection.cursor("archive", binary=True) as cursor:
                cursor.itersize = PAGE
                cursor.execute(_EVENTS)
                for row in cursor:
                    writer.add(_archived(row))
                    if writer.count % PAGE == 0:
                        tell(writer.count, head)
            count = None if beside is None else key_files.write(connection, beside)
        tell(writer.count, head)
        checksum = writer.finish()
    return Exported(str(path), writer.count, checksum, count)


def export_keys(dsn: str, path: Path) -> int:
    """Write people's wrapped data keys as they are now to a file; how many people.

    Raises:
        psycopg.Error, OSError: they could not be read or written.
    """
    with _connected(dsn) as connection, replacing(path) as file:
        connection.read_only = True
        with connection.transaction():
            return key_files.write(connection, file)


def check(path: Path, tell: Tell = lambda done, of: None) -> Reader:
    """Read the whole archive without writing anything.

    Raises:
        Damaged: something is wrong with it.
    """
    with opened(path) as file:
        reader = Reader(file)
        for event in reader.events():
            if event.position % PAGE == 0:
                tell(event.position, 0)
    return reader


def restore(
    dsn: str,
    path: Path,
    subject_keys: SubjectKeys | None = None,
    *,
    keys: Path | None = None,
    tell: Tell = lambda done, of: None,
) -> Imported:
    """Put an archive's events into a store that has none, with the keys of a key file.

    ``subject_keys`` are this store's. Without keys what is sealed stays closed for ever.

    Raises:
        Damaged: the archive or the key file is not whole; nothing was written.
        OtherMasterKey: the keys cannot be opened here; nothing was written.
        NotEmpty: the store has events; nothing was written.
        psycopg.Error: the database did not take it; nothing was written.
    """
    given: list[key_files.Key] = []
    with _connected(dsn) as connection:
        _refuse_occupied(connection)
        if keys is not None:
            assert subject_keys is not None, "keys are opened by what the store opens them with"
            given = key_files.read(keys, subject_keys)
        checked = check(path, tell)
        with connection.transaction(), opened(path) as file:
            connection.execute(_LOCK)
            _refuse_occupied(connection)
            connection.execute("DELETE FROM snapshots")
            connection.execute("DELETE FROM claims")
            reader = Reader(file)
            subjects = _fill(connection, reader, checked.count, tell)
            # What was brought in is not news: nobody is to get a letter about it. The positions are
            # the projector's to move, whom the writer may become.
            connection.execute("SET LOCAL ROLE mindstream_project")
            connection.execute(PASSING_OVER)
            connection.execute("SET LOCAL ROLE mindstream_write")
            if reader.checksum != checked.checksum:
                raise Damaged(reader.count + 1, "the file has changed since it was checked")
            key_files.keep(connection, given, subjects)
            claims, unreadable = claim_anew(connection, subject_keys if given else None)
        connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(reader.count)))
    open_ones = {key.subject_id for key in given if key.wrapped is not None}
    return Imported(
        file=str(path),
        events=reader.count,
        streams=reader.streams,
        claims=claims,
        keys=len(open_ones),
        closed=len(subjects - open_ones),
        unreadable=unreadable,
        checksum=reader.checksum,
    )


def claim_anew(connection: Connection, keys: SubjectKeys | None) -> tuple[int, int]:
    """Make all claims from the events; how many, and how many streams could not be read.

    Within a transaction, which the temporary table ends with. Without ``keys`` nothing is opened,
    and nobody's address or name is claimed.
    """
    connection.execute(_TURNS)
    unreadable = 0
    with connection.cursor("claiming", binary=True) as cursor:
        cursor.itersize = PAGE
        cursor.execute(_HOLDING, ([f"{category}-%" for category in HOLDS],))
        waiting: list[tuple[Any, ...]] = []
        for stream_id, rows in groupby(cursor, key=itemgetter(1)):
            found = _turns_of(stream_id, list(rows), connection, keys)
            unreadable += found is None
            waiting += found or ()
            if len(waiting) >= PAGE:
                _keep(connection, waiting)
                waiting = []
        _keep(connection, waiting)
    return connection.execute(_CLAIM).rowcount, unreadable


def _turns_of(
    stream_id: str,
    rows: Sequence[tuple[Any, ...]],
    connection: Connection,
    keys: SubjectKeys | None,
) -> list[tuple[Any, ...]] | None:
    """What a stream took and freed; None where an event of it cannot be read."""
    holds = holds_of(stream_id)
    assert holds is not None
    subjects = subjects_in(row[6] for row in rows)
    if keys is None:
        ciphers: Ciphers = dict.fromkeys(subjects)
    else:
        keys.load_by(connection, subjects)
        ciphers = keys.ciphers
    try:
        stream = [recorded(ciphers, *row) for row in rows]
        return [msgspec.structs.astuple(turn) for turn in turns(holds, stream)]
    except Exception as error:  # noqa: BLE001  whatever a fold makes of a broken event
        log.warning("stream_unreadable", stream_id=stream_id, reason=type(error).__name__)
        return None


def _keep(connection: Connection, found: Sequence[tuple[Any, ...]]) -> None:
    with connection.cursor().copy(_COPY_TURNS) as copy:
        copy.set_types(["text", "text", "text", "int8", "bool"])
        for turn in found:
            copy.write_row(turn)


def _fill(connection: Connection, reader: Reader, total: int, tell: Tell) -> set[UUID]:
    """Write all events; the people of whom something is sealed."""
    subjects: set[bytes] = set()
    with connection.cursor().copy(_COPY) as copy:
        copy.set_types(_TYPES)
        for event in reader.events():
            metadata, data = event.metadata, stored_of(event.data)
            subjects |= subjects_in([data])
            copy.write_row(
                (
                    event.position,
                    event.stream_id,
                    event.stream_version,
                    event.topic,
                    event.tenant_id,
                    metadata.event_id,
                    metadata.correlation_id,
                    metadata.causation_id,
                    metadata.actor,
                    metadata.trace_id,
                    event.recorded_at,
                    data,
                )
            )
            if event.position % PAGE == 0:
                tell(event.position, total)
    tell(reader.count, total)
    return {UUID(bytes=subject) for subject in subjects if len(subject) == 16}


def _archived(row: tuple[Any, ...]) -> Archived:
    return Archived(
        position=row[0],
        stream_id=row[1],
        stream_version=row[2],
        topic=row[3],
        tenant_id=row[4],
        recorded_at=row[5],
        metadata=Metadata(
            event_id=row[6],
            correlation_id=row[7],
            causation_id=row[8],
            actor=row[9],
            trace_id=row[10],
        ),
        data=data_of(row[11]),
    )


def _refuse_occupied(connection: Connection) -> None:
    if connection.execute(_OCCUPIED).fetchone() != (False,):
        raise NotEmpty("the store has events; an import wants one without")
    if connection.execute(_AHEAD).fetchone() != (0,):
        raise NotEmpty("read models of other events are there; an import wants a fresh database")


def _connected(dsn: str) -> Connection:
    return psycopg.connect(
        dsn,
        autocommit=True,
        row_factory=tuple_row,
        connect_timeout=5,
        options="-c role=mindstream_write -c timezone=UTC",
        application_name="mindstream-archive",
    )
