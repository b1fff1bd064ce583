"""The eventsourcing library's recorder interfaces on our tables.

Owns the synchronous way to the store: what the library's Application, its tests, the command line
and scripts use. The asynchronous way of the APIs is ``store``; both append through the same SQL
function and so share one order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    ListenNotifySubscription,
    Notification,
    NotSupportedError,
    OperationalError,
    PersistenceError,
    ProgrammingError,
    StoredEvent,
    Subscription,
)
from psycopg.rows import tuple_row
from psycopg.sql import SQL
from psycopg_pool import ConnectionPool
from uuid_utils.compat import uuid7

CHANNEL = "mindstream_appended"
_NOBODY = UUID(int=0)

_APPEND = SQL(
    "SELECT commit_no, at_position FROM append_events("
    "%s::int4[], %s::text[], %s::int4[], %s::text[], %s::uuid[], %s::bytea[], %s::uuid[],"
    " %s::text[], %s::uuid[], %s::text[], %s::text[], %s::timestamptz[],"
    " '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}',"
    " '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}')"
).format()
_NOTIFICATIONS = "SELECT position, stream_id, stream_version, topic, data FROM events"
_MAPPING: tuple[tuple[type[psycopg.Error], type[PersistenceError]], ...] = (
    (psycopg.IntegrityError, IntegrityError),
    (psycopg.OperationalError, OperationalError),
    (psycopg.ProgrammingError, ProgrammingError),
    (psycopg.NotSupportedError, NotSupportedError),
    (psycopg.InternalError, InternalError),
    (psycopg.DataError, DataError),
    (psycopg.InterfaceError, InterfaceError),
    (psycopg.DatabaseError, DatabaseError),
)

Pool = ConnectionPool[psycopg.Connection[tuple[Any, ...]]]


def open_pool(dsn: str, *, role: str, size: int = 12) -> Pool:
    """A pool of autocommitting connections that act as ``role``."""
    return ConnectionPool(
        dsn,
        min_size=1,
        max_size=size,
        open=True,
        kwargs={
            "autocommit": True,
            "row_factory": tuple_row,
            "options": f"-c role={role} -c timezone=UTC",
            "application_name": f"{role}-recorder",
        },
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        for theirs, ours in _MAPPING:
            if isinstance(error, theirs):
                raise ours(str(error)) from error
        raise PersistenceError(str(error)) from error


class PostgresRecorder(ApplicationRecorder):
    """Stored events in one gapless total order.

    The library's events know no tenant and no actor: those written here belong to ``tenant_id``
    and ``actor``. ``insert_events`` returns positions.
    """

    def __init__(
        self, pool: Pool, *, tenant_id: UUID = _NOBODY, actor: str = "system:recorder"
    ) -> None:
        self._pool = pool
        self._tenant_id = tenant_id
        self._actor = actor

    @property
    def pool(self) -> Pool:
        """The connections that this recorder uses."""
        return self._pool

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append atomically.

        Raises:
            IntegrityError: a version of a stream is taken.
        """
        if not stored_events:
            return None
        count = len(stored_events)
        correlation = f"rec_{uuid7().hex}"
        with _translated(), self._pool.connection() as connection:
            rows = connection.execute(
                _APPEND,
                (
                    [1] * count,
                    [str(event.originator_id) for event in stored_events],
                    [event.originator_version for event in stored_events],
                    [event.topic for event in stored_events],
                    [uuid7() for _ in stored_events],
                    [event.state for event in stored_events],
                    [self._tenant_id] * count,
                    [correlation] * count,
                    [None] * count,
                    [self._actor] * count,
                    [None] * count,
                    [datetime.now(UTC)] * count,
                ),
            ).fetchall()
            head = next(position for commit, position in rows if commit == 0)
            # A transaction of its own: NOTIFY inside the append would serialise commits.
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(head + count)))
        return list(range(head + 1, head + count + 1))

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one stream, in order."""
        return _stream(self._pool, "events", originator_id, gt, lte, desc, limit)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Up to ``limit`` events in the order of their positions."""
        query = SQL(_NOTIFICATIONS) + SQL(" WHERE position >= %s")
        values: list[Any] = [0 if start is None else start + (not inclusive_of_start)]
        if stop is not None:
            query += SQL(" AND position <= %s")
            values.append(stop)
        if topics:
            query += SQL(" AND topic = ANY (%s)")
            values.append(list(topics))
        query += SQL(" ORDER BY position LIMIT %s")
        values.append(limit)
        with _translated(), self._pool.connection() as connection:
            return [
                Notification(
                    id=position,
                    originator_id=stream,
                    originator_version=version,
                    topic=topic,
                    state=data,
                )
                for position, stream, version, topic, data in connection.execute(
                    query, values, prepare=True
                )
            ]

    def max_notification_id(self) -> int | None:
        """The head, or None while the store is empty."""
        with _translated(), self._pool.connection() as connection:
            row = connection.execute("SELECT max(position) FROM events").fetchone()
        assert row is not None
        head: int | None = row[0]
        return head

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Events after ``gt`` for ever, as they are appended."""
        return _Tail(self, gt=gt, topics=topics)


class _Tail(ListenNotifySubscription[PostgresRecorder]):
    """Pushed by NOTIFY and, whatever becomes of that, polled twice a second."""

    def __init__(
        self, recorder: PostgresRecorder, gt: int | None = None, topics: Sequence[str] = ()
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        self._listener.join()

    def _stopped(self) -> bool:
        return self._has_been_stopped

    def _listen(self) -> None:
        while not self._stopped():
            try:
                with self._recorder.pool.connection() as connection:
                    connection.execute(SQL(f"LISTEN {CHANNEL}"))
                    while not self._stopped():
                        for _ in connection.notifies(timeout=0.5, stop_after=1):
                            pass
                        self._has_been_notified.set()
                    connection.execute("UNLISTEN *")
            except psycopg.Error:
                self._has_been_notified.set()  # the pull says what is wrong, if it lasts


class PostgresSnapshotRecorder(AggregateRecorder):
    """Snapshots under the library's interface; ``insert_events`` returns None."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Keep snapshots atomically.

        Raises:
            IntegrityError: there is one of that version already.
        """
        with _translated(), self._pool.connection() as connection, connection.transaction():
            connection.cursor().executemany(
                "INSERT INTO snapshots (stream_id, stream_version, topic, data)"
                " VALUES (%s, %s, %s, %s)",
                [
                    (str(event.originator_id), event.originator_version, event.topic, event.state)
                    for event in stored_events
                ],
            )
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The snapshots of one stream."""
        return _stream(self._pool, "snapshots", originator_id, gt, lte, desc, limit)


def _stream(
    pool: Pool,
    table: str,
    originator_id: UUID | str,
    gt: int | None,
    lte: int | None,
    desc: bool,
    limit: int | None,
) -> list[StoredEvent]:
    """What a table holds of one stream."""
    query = SQL(
        f"SELECT stream_id, stream_version, topic, data FROM {table} WHERE stream_id = %s"
    ).format()
    values: list[Any] = [str(originator_id)]
    if gt is not None:
        query += SQL(" AND stream_version > %s")
        values.append(gt)
    if lte is not None:
        query += SQL(" AND stream_version <= %s")
        values.append(lte)
    query += SQL(" ORDER BY stream_version DESC") if desc else SQL(" ORDER BY stream_version")
    if limit is not None:
        query += SQL(" LIMIT %s")
        values.append(limit)
    with _translated(), pool.connection() as connection:
        return [StoredEvent(*row) for row in connection.execute(query, values, prepare=True)]
