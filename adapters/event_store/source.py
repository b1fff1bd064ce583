"""Reads the total order for projections: pages in binary, decoded once, woken by NOTIFY.

Owns one connection for pages and one that listens. Losing the listener costs promptness only: the
engine polls.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString, cast

import msgspec
import psycopg
import structlog
from psycopg.rows import tuple_row

from adapters.event_store.mapper import Ciphers, KeysMissing, recorded, subjects_in
from adapters.event_store.recorder import CHANNEL
from adapters.event_store.subject_keys import SubjectKeys
from adapters.sealing import Unsealable
from domain.accounts.events import SubjectErased
from domain.event import Event, Recorded, Undecodable
from projections.engine.source import WHOLE, Slice

log = structlog.get_logger()

_PAGE = """
SELECT position, stream_id, stream_version, tenant_id, recorded_at, topic, data FROM events
WHERE position > %s AND position <= %s AND topic = ANY (%s::text[])
ORDER BY position LIMIT %s
"""
# hashtextextended is stable across servers of one architecture and version family; partitions of
# one projection never span two databases.
_PART = """
SELECT position, stream_id, stream_version, tenant_id, recorded_at, topic, data FROM events
WHERE position > %s AND position <= %s AND topic = ANY (%s::text[])
  AND (abs(hashtextextended(stream_id, 0) %% %s::bigint) = ANY (%s::bigint[]) OR topic = %s)
ORDER BY position LIMIT %s
"""
_PLACE = "SELECT abs(hashtextextended(%s::text, 0) %% %s::bigint)"
_STREAM = """
SELECT position, stream_id, stream_version, tenant_id, recorded_at, topic, data FROM events
WHERE stream_id = %s AND position > %s AND position <= %s AND topic = ANY (%s::text[])
ORDER BY stream_version
"""
_STREAMS = """
SELECT stream_id, count(*) FROM events JOIN (
    SELECT DISTINCT stream_id FROM events
    WHERE topic = ANY (%(topics)s)
      AND (%(from)s::timestamptz IS NULL OR recorded_at >= %(from)s)
      AND (%(to)s::timestamptz IS NULL OR recorded_at < %(to)s)) AS found USING (stream_id)
WHERE topic = ANY (%(topics)s) GROUP BY stream_id ORDER BY stream_id
"""
_TALLY = """
SELECT topic, count(*) FROM events
WHERE topic = ANY (%(topics)s) AND (%(stream)s::text IS NULL OR stream_id = %(stream)s)
  AND stream_id IN (
    SELECT stream_id FROM events
    WHERE topic = ANY (%(topics)s) AND (%(stream)s::text IS NULL OR stream_id = %(stream)s)
      AND (%(from)s::timestamptz IS NULL OR recorded_at >= %(from)s)
      AND (%(to)s::timestamptz IS NULL OR recorded_at < %(to)s))
GROUP BY topic
"""
_COUNT = """
SELECT count(*) FROM events
WHERE position > %s AND position <= %s AND topic = ANY (%s::text[])
"""
# The last one at or before a position: numbers may have been skipped.
_RECORDED_AT = """
SELECT recorded_at FROM events WHERE position <= %s ORDER BY position DESC LIMIT 1
"""
_HEAD = "SELECT coalesce(max(position), 0) FROM events"


TIMES_MAY_DIFFER = timedelta(hours=1)
"""How far the recorded times of events may be out of their order, at most."""
EVERYWHERE = SubjectErased.TOPIC
"""The topic that every partition gets: rows of one person are in all of them."""


class PostgresSource:
    """The store's events for one projector thread; ``role`` needs SELECT on ``events``.

    ``keys`` open what is sealed of them; without any it reads only events that nothing is sealed
    of.
    """

    def __init__(
        self, dsn: str, *, role: str = "mindstream_project", keys: SubjectKeys | None = None
    ) -> None:
        self._dsn = dsn
        self._role = role
        self._keys = keys
        self._reads: psycopg.Connection[tuple[Any, ...]] | None = None
        self._listens: psycopg.Connection[tuple[Any, ...]] | None = None

    def head(self) -> int:
        """The position of the last event. Now and then it looks for erasures as well."""
        if self._keys is not None:
            self._keys.heed_by(self._reader())
        row = self._reader().execute(_HEAD, prepare=True).fetchone()
        assert row is not None
        head: int = row[0]
        return head

    def page(
        self,
        after: int,
        through: int,
        limit: int,
        topics: Sequence[str],
        part: Slice = WHOLE,
    ) -> Sequence[Recorded]:
        """Up to ``limit`` events, decoded."""
        if part.whole:
            return self._events(_PAGE, (after, through, list(topics), limit))
        values = (after, through, list(topics), part.of, list(part.partitions), EVERYWHERE, limit)
        return [
            self._placed(one, part) if type(one.event) is SubjectErased else one
            for one in self._events(_PART, values)
        ]

    def _placed(self, recorded: Recorded, part: Slice) -> Recorded:
        """The record, marked if its stream is not of the part."""
        row = self._reader().execute(_PLACE, (recorded.stream_id, part.of)).fetchone()
        assert row is not None
        return msgspec.structs.replace(recorded, elsewhere=row[0] not in part.partitions)

    def stream(
        self, stream_id: str, after: int, through: int, topics: Sequence[str]
    ) -> Sequence[Recorded]:
        """All events of one stream in between, decoded."""
        return self._events(_STREAM, (stream_id, after, through, list(topics)))

    def _events(self, query: LiteralString, values: tuple[Any, ...]) -> list[Recorded]:
        connection = self._reader()
        cursor = connection.cursor(binary=True)
        cursor.execute(query, values, prepare=True)
        rows = cursor.fetchall()
        ciphers = {} if self._keys is None else self._keys.ciphers
        while True:
            try:
                return [recorded(ciphers, *row) for row in rows]
            except KeysMissing:
                if self._keys is None:
                    raise
            except Exception:  # noqa: BLE001 - whatever decoding and upcasting raise
                log.warning("events_undecodable", after=values[0])
            subjects = subjects_in(row[6] for row in rows)
            if self._keys is None or subjects <= ciphers.keys():
                return [_as_far_as_possible(ciphers, row) for row in rows]
            try:
                self._keys.load_by(connection, subjects)
            except Unsealable as error:
                # The key file may be on its way here: no event is at fault.
                raise psycopg.OperationalError("subject keys of an unknown master key") from error

    def streams(
        self, topics: Sequence[str], from_: datetime | None, to: datetime | None
    ) -> Iterator[tuple[str, int]]:
        """Each stream with an event recorded in that time; rows come as they are read."""
        values = {"topics": list(topics), "from": from_, "to": to}
        yield from self._reader().cursor().stream(_STREAMS, values)

    def count(self, after: int, through: int, topics: Sequence[str]) -> int:
        """How many events of these topics there are in between."""
        row = self._reader().execute(_COUNT, (after, through, list(topics))).fetchone()
        assert row is not None
        count: int = row[0]
        return count

    def tally(
        self,
        topics: Sequence[str],
        from_: datetime | None = None,
        to: datetime | None = None,
        *,
        stream_id: str | None = None,
    ) -> dict[str, int]:
        """How many events of each topic the streams of that time have, or one stream alone."""
        values = {"topics": list(topics), "from": from_, "to": to, "stream": stream_id}
        return dict(self._reader().execute(_TALLY, values).fetchall())

    def position_before(self, at: datetime) -> int:
        """A position that every event recorded before this time is at or before.

        Found by halves, since times follow positions: but for a little while, which is added.
        """
        at += TIMES_MAY_DIFFER
        low, high = 0, self.head()
        while low < high:
            middle = (low + high + 1) // 2
            row = self._reader().execute(_RECORDED_AT, (middle,), prepare=True).fetchone()
            if row is not None and row[0] < at:
                low = middle
            else:
                high = middle - 1
        return low

    def wait(self, seconds: float) -> None:
        """Wait for a wake-up."""
        try:
            if self._listens is None or self._listens.closed:
                self._listens = self._connect("listen")
                self._listens.execute(f"LISTEN {CHANNEL}")
                return  # something may have been appended before we listened
            for _ in self._listens.notifies(timeout=seconds, stop_after=1):
                pass
        except psycopg.OperationalError:
            with contextlib.suppress(psycopg.Error):
                if self._listens is not None:
                    self._listens.close()
            self._listens = None
            raise

    def close(self) -> None:
        """Close both connections."""
        for connection in (self._reads, self._listens):
            if connection is not None:
                with contextlib.suppress(psycopg.Error):
                    connection.close()
        self._reads = self._listens = None

    def _reader(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._reads is None or self._reads.closed:
            self._reads = self._connect("read")
        return self._reads

    def _connect(self, purpose: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            self._dsn,
            autocommit=True,
            row_factory=tuple_row,
            connect_timeout=5,
            options=f"-c role={self._role} -c timezone=UTC -c enable_seqscan=off"
            " -c plan_cache_mode=force_custom_plan",
            application_name=f"mindstream-projector-{purpose}",
        )


def _as_far_as_possible(ciphers: Ciphers, row: tuple[Any, ...]) -> Recorded:
    """The record, with ``Undecodable`` in the place of an event that cannot be read."""
    try:
        return recorded(ciphers, *row)
    except Exception as error:  # noqa: BLE001 - likewise
        position, stream_id, version, tenant_id, recorded_at, topic, _ = row
        return Recorded(
            position=position,
            stream_id=stream_id,
            stream_version=version,
            tenant_id=tenant_id,
            recorded_at=recorded_at,
            event=cast("Event", Undecodable(topic, error)),
        )
