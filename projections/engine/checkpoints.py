"""Checkpoints: how far each partition of a projection is, who works on it, and what fences two.

Owns the table ``projection_checkpoints`` in the database that holds the rows. A batch begins by
advancing the checkpoints from the position that the batch was read at; if another process has moved
one, fewer rows match and the batch is dropped before it wrote anything. Leases, which only keep two
processes from doing the same work, are ``leases``'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from projections.engine.view import RowView

Connection = psycopg.Connection[tuple[Any, ...]]

# Two processes may come at once; none adds partitions to a projection that has begun with fewer.
ENSURE = """
INSERT INTO projection_checkpoints (name, partition, version)
SELECT %(name)s, partition, %(version)s FROM generate_series(0, %(partitions)s - 1) AS partition
WHERE NOT EXISTS (SELECT 1 FROM projection_checkpoints WHERE name = %(name)s)
ON CONFLICT DO NOTHING
"""
BEGUN = "SELECT FROM projection_checkpoints WHERE name = %s LIMIT 1"
READ = """
SELECT name, partition, version, generation, position, status, owner, error, batch_seconds,
       events_per_second, rebuild, advanced_at, heartbeat_at,
       extract(epoch FROM clock_timestamp() - heartbeat_at)::float8,
       extract(epoch FROM clock_timestamp() - advanced_at)::float8
FROM projection_checkpoints
ORDER BY name, partition
"""
# Locked in one order everywhere: whoever holds some of them never waits for one before those.
# All that share a page at once: each view by itself would be a statement more.
ADVANCE = """
UPDATE projection_checkpoints c
SET position = %(to)s, status = %(status)s, owner = %(owner)s, error = NULL,
    batch_seconds = %(batch_seconds)s, events_per_second = held.rate,
    advanced_at = clock_timestamp(), heartbeat_at = clock_timestamp()
FROM (SELECT k.name, k.partition, w.rate
      FROM unnest(%(names)s::text[], %(partitions)s::int[], %(generations)s::int[],
                  %(rates)s::float8[]) AS w (name, partition, generation, rate)
      JOIN projection_checkpoints k ON k.name = w.name AND k.partition = w.partition
        AND k.generation = w.generation AND k.position = %(from)s
      ORDER BY k.name, k.partition FOR UPDATE OF k) AS held
WHERE c.name = held.name AND c.partition = held.partition
"""
BEAT = """
UPDATE projection_checkpoints SET status = %s, owner = %s, error = %s,
    heartbeat_at = clock_timestamp()
WHERE name = %s AND partition = ANY (%s)
"""
LOCK = """
SELECT generation, position FROM projection_checkpoints
WHERE name = %s AND partition = %s FOR UPDATE
"""
LOCK_LIVE = """
SELECT generation, version, position FROM projection_checkpoints
WHERE name = %s ORDER BY partition FOR UPDATE
"""
PARTITION_OF = "SELECT abs(hashtextextended(%s, 0) %% %s::bigint)"
REBUILDING = "UPDATE projection_checkpoints SET rebuild = %s WHERE name = %s AND partition = 0"
PAUSED = "SELECT DISTINCT name FROM projection_checkpoints WHERE paused"
SET_PAUSED = "UPDATE projection_checkpoints SET paused = %s WHERE name = %s RETURNING name"
# A value that was never there before: a number that a crash took back might come again.
REVISE = """
INSERT INTO projection_revisions (name) VALUES (%s)
ON CONFLICT (name) DO UPDATE SET revision = DEFAULT
"""
WORST_LAG = """
SELECT max(extract(epoch FROM clock_timestamp() - e.recorded_at))::float8
FROM projection_checkpoints c JOIN events e ON e.position = c.position + 1
WHERE NOT c.paused AND c.status <> 'stopped'
"""


class Checkpoint(msgspec.Struct, frozen=True):
    """One partition's row. ``position`` is the last event that its rows include."""

    name: str
    partition: int
    version: int
    generation: int
    position: int
    status: str
    owner: str | None
    error: str | None
    batch_seconds: float
    events_per_second: float
    rebuild: dict[str, Any] | None
    advanced_at: datetime
    heartbeat_at: datetime
    silent_seconds: float
    idle_seconds: float


def read_partitions(connection: Connection) -> dict[str, list[Checkpoint]]:
    """The checkpoints of all partitions, by the name of their projection and in order."""
    found: dict[str, list[Checkpoint]] = {}
    for row in connection.execute(READ, prepare=True):
        found.setdefault(row[0], []).append(Checkpoint(*row))
    return found


def read_all(connection: Connection) -> dict[str, Checkpoint]:
    """The hindmost checkpoint of each projection: what comes before it is in all its rows."""
    return {
        name: min(found, key=lambda each: each.position)
        for name, found in read_partitions(connection).items()
    }


def ensure(connection: Connection, views: Sequence[RowView[Any]]) -> None:
    """Create the rows of projections that are new, at position 0."""
    for view in views:
        if view.outside is not None and connection.execute(BEGUN, (view.name,)).fetchone() is None:
            # Not at any other time: an index that was lost must not pass for an empty one.
            view.outside.begin(view, view.table)
        values = {"name": view.name, "version": view.version, "partitions": view.partitions}
        connection.execute(ENSURE, values)


def revise(connection: Connection, name: str) -> None:
    """Say with the commit that rows change otherwise than by the next event: caches heed it.

    Call it behind the locks of checkpoints.
    """
    connection.execute(REVISE, (name,))


def partition_of(connection: Connection, stream_id: str, partitions: int) -> int:
    """The partition that a stream is in, of so many."""
    row = connection.execute(PARTITION_OF, (stream_id, partitions)).fetchone()
    assert row is not None
    return int(row[0])
