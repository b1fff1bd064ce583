"""Quarantine: events that a projection could not fold, and the streams that wait behind them.

Owns the table ``projection_quarantine`` and the life of an item::

    retrying ──folded──► released          (settled: the stream has caught up)
       │  ▲
       │  └──an operator retries──┐
       └──tried long enough──► parked ──an operator discards──► discarded

The runner puts items in and works on them; operators only change their state. An error is kept by
its type and place: its message may quote what people wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
import psycopg

from domain.event import Recorded

Connection = psycopg.Connection[tuple[Any, ...]]
State = Literal["retrying", "parked", "discarded", "released"]

PATIENCE = 20.0
"""Seconds for which a failing event is retried before it is parked."""
FIRST_PAUSE = 0.5
"""Seconds before the first retry; each later pause is twice as long."""

# A retry sets the first failure to its own time, by which it is parked; nothing failed then.
SHAPE = """id, projection, partition, stream_id, position, topic, error, attempts, state, reason,
    least(first_failed_at, last_failed_at), last_failed_at"""
OPEN = f"""
SELECT {SHAPE}, next_try_at <= clock_timestamp(),
       extract(epoch FROM clock_timestamp() - first_failed_at)::float8
FROM projection_quarantine WHERE projection = %s AND NOT settled ORDER BY position
"""
PUT = """
INSERT INTO projection_quarantine
    (id, projection, stream_id, position, topic, error, state, next_try_at, partition)
VALUES (gen_random_uuid(), %(projection)s, %(stream_id)s, %(position)s, %(topic)s, %(error)s,
        'retrying', clock_timestamp() + %(pause)s * interval '1 second',
        abs(hashtextextended(%(stream_id)s, 0) %% %(partitions)s))
ON CONFLICT (projection, position) DO UPDATE SET
    error = excluded.error, attempts = projection_quarantine.attempts + 1, state = excluded.state,
    settled = false, next_try_at = excluded.next_try_at, last_failed_at = clock_timestamp()
"""
FAILED_AGAIN = """
UPDATE projection_quarantine SET error = %s, attempts = attempts + 1, state = %s,
    next_try_at = clock_timestamp() + %s * interval '1 second', last_failed_at = clock_timestamp()
WHERE id = %s
"""
SETTLE = "UPDATE projection_quarantine SET settled = true, state = %s WHERE id = %s"
SETTLE_ALL = """
UPDATE projection_quarantine SET settled = true,
    state = CASE WHEN state = 'discarded' THEN state ELSE 'released' END
WHERE projection = %s AND NOT settled
"""
ADOPT = """
WITH met AS (DELETE FROM projection_quarantine WHERE projection = %(shadow)s AND NOT settled
             RETURNING *)
INSERT INTO projection_quarantine
    (id, projection, partition, stream_id, position, topic, error, attempts, state,
     next_try_at, first_failed_at, last_failed_at)
SELECT id, %(projection)s, abs(hashtextextended(stream_id, 0) %% %(partitions)s), stream_id,
       position, topic, error, attempts, 'parked', next_try_at, first_failed_at, last_failed_at
FROM met
ON CONFLICT (projection, position) DO UPDATE SET
    error = excluded.error, attempts = projection_quarantine.attempts + 1, state = 'parked',
    settled = false, last_failed_at = excluded.last_failed_at
"""
"""What a generation met becomes the projection's own, when the generation serves."""
FORGET = "DELETE FROM projection_quarantine WHERE projection = %s"
DISCARDED = """
SELECT position FROM projection_quarantine WHERE projection = %s AND state = 'discarded'
"""
LIST = f"""
SELECT {SHAPE},
       (SELECT count(*) FROM events e
        JOIN projection_checkpoints c ON c.name = q.projection AND c.partition = q.partition
        WHERE NOT q.settled AND e.stream_id = q.stream_id AND e.position > q.position
          AND e.position <= c.position)
FROM projection_quarantine q
WHERE (%(id)s::uuid IS NULL OR id = %(id)s)
  AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(projection)s::text IS NULL OR projection = %(projection)s)
  AND (%(stream_id)s::text IS NULL OR stream_id = %(stream_id)s)
ORDER BY first_failed_at DESC, position DESC
"""
_CHOSEN = """
WHERE NOT settled AND state IN ('retrying', 'parked')
  AND (%(id)s::uuid IS NULL OR id = %(id)s)
  AND (%(projection)s::text IS NULL OR projection = %(projection)s)
  AND (%(stream_id)s::text IS NULL OR stream_id = %(stream_id)s)
  AND (%(error)s::text IS NULL OR error LIKE %(error)s || '%%')
RETURNING id
"""
RETRY = f"""
UPDATE projection_quarantine SET state = 'retrying', next_try_at = clock_timestamp(),
    first_failed_at = clock_timestamp()
{_CHOSEN}
"""
DISCARD = f"""
UPDATE projection_quarantine SET state = 'discarded', reason = %(reason)s
{_CHOSEN}
"""


class Item(msgspec.Struct, frozen=True):
    """An event in quarantine, as the API shows it."""

    id: UUID
    projection: str
    partition: int
    stream_id: str
    position: int
    topic: str
    error: str
    attempts: int
    state: State
    reason: str | None
    first_failed_at: datetime
    last_failed_at: datetime
    waiting_events: int = 0


class Waiting(msgspec.Struct, frozen=True):
    """An unsettled item as the runner sees it; ``age`` is in seconds since it first failed."""

    item: Item
    due: bool
    age: float


def describe(error: Exception) -> str:
    """What is kept of an error: its type, its SQLSTATE, and where in our code it came from."""
    state = getattr(error, "sqlstate", None)
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "projections" in code.co_filename:
            place = f" in {code.co_qualname}" if hasattr(code, "co_qualname") else ""
        trace = trace.tb_next
    return f"{type(error).__name__}{f' {state}' if state else ''}{place}"


def open_items(connection: Connection, projection: str) -> list[Waiting]:
    """The unsettled items of a projection, by position."""
    return [
        Waiting(Item(*row[:12]), row[12], row[13])
        for row in connection.execute(OPEN, (projection,), prepare=True)
    ]


def put(
    connection: Connection,
    projection: str,
    event: Recorded,
    error: Exception,
    partitions: int = 1,
) -> None:
    """Put an event of a projection of so many partitions into quarantine; it is retried soon."""
    values = {
        "projection": projection,
        "stream_id": event.stream_id,
        "position": event.position,
        "topic": event.event.TOPIC,
        "error": describe(error),
        "pause": FIRST_PAUSE,
        "partitions": partitions,
    }
    connection.execute(PUT, values)


def adopt(connection: Connection, projection: str, shadow: str, partitions: int) -> None:
    """The generation that serves now lacks what failed in it: the projection's streams wait there.

    What failed in the generation before is settled with it. In the caller's transaction.
    """
    connection.execute(SETTLE_ALL, (projection,))
    values = {"projection": projection, "shadow": shadow, "partitions": partitions}
    connection.execute(ADOPT, values)


def failed_again(connection: Connection, waiting: Waiting, error: Exception) -> State:
    """Note another failure; parks the item when it was retried long enough."""
    state: State = "parked" if waiting.age >= PATIENCE else "retrying"
    pause = min(FIRST_PAUSE * 2**waiting.item.attempts, PATIENCE / 2)
    connection.execute(FAILED_AGAIN, (describe(error), state, pause, waiting.item.id))
    return state


def settle(connection: Connection, item: Item) -> None:
    """The stream has caught up behind this item."""
    state: State = "discarded" if item.state == "discarded" else "released"
    connection.execute(SETTLE, (state, item.id))


def discarded(connection: Connection, projection: str) -> frozenset[int]:
    """Positions of the events that operators discarded: a rebuild leaves them out as well."""
    return frozenset(row[0] for row in connection.execute(DISCARDED, (projection,)))


def found(
    connection: Connection,
    *,
    id: UUID | None = None,  # noqa: A002 - the field's name
    state: State | None = None,
    projection: str | None = None,
    stream_id: str | None = None,
) -> list[Item]:
    """Items of every state, newest first."""
    values = {"id": id, "state": state, "projection": projection, "stream_id": stream_id}
    return [Item(*row) for row in connection.execute(LIST, values)]


def retry(
    connection: Connection,
    *,
    id: UUID | None = None,  # noqa: A002 - the field's name
    projection: str | None = None,
    stream_id: str | None = None,
    error: str | None = None,
) -> Sequence[UUID]:
    """Have matching items tried again at once; their ids."""
    values = {"id": id, "projection": projection, "stream_id": stream_id, "error": error}
    return [row[0] for row in connection.execute(RETRY, values)]


def discard(
    connection: Connection,
    reason: str,
    *,
    id: UUID | None = None,  # noqa: A002 - the field's name
    projection: str | None = None,
    stream_id: str | None = None,
    error: str | None = None,
) -> Sequence[UUID]:
    """Leave matching events out for good and let their streams go on; their ids."""
    values = {
        "id": id,
        "projection": projection,
        "stream_id": stream_id,
        "error": error,
        "reason": reason,
    }
    return [row[0] for row in connection.execute(DISCARD, values)]
