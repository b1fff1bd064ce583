"""Checkpoints: how far each projection is, who works on it, and the lock that fences two of them.

Owns the table ``projection_checkpoints`` in the database that holds the rows. A batch begins by
advancing the checkpoint from the position that the batch was read at; if another process has moved
it, no row matches and the batch is dropped before it wrote anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]

ENSURE = """
INSERT INTO projection_checkpoints (name, version) VALUES (%s, %s) ON CONFLICT DO NOTHING
"""
READ = """
SELECT name, version, generation, position, status, owner, error, batch_seconds,
       events_per_second, rebuild, advanced_at, heartbeat_at,
       extract(epoch FROM clock_timestamp() - heartbeat_at)::float8,
       extract(epoch FROM clock_timestamp() - advanced_at)::float8
FROM projection_checkpoints WHERE partition = 0
"""
ADVANCE = """
UPDATE projection_checkpoints
SET position = %(to)s, status = %(status)s, owner = %(owner)s, error = NULL,
    batch_seconds = %(batch_seconds)s, events_per_second = %(events_per_second)s,
    advanced_at = clock_timestamp(), heartbeat_at = clock_timestamp()
WHERE name = %(name)s AND partition = 0 AND generation = %(generation)s AND position = %(from)s
"""
BEAT = """
UPDATE projection_checkpoints SET status = %s, owner = %s, error = %s,
    heartbeat_at = clock_timestamp()
WHERE name = %s AND partition = 0
"""
LOCK = """
SELECT generation, position FROM projection_checkpoints
WHERE name = %s AND partition = 0 FOR UPDATE
"""
LOCK_LIVE = """
SELECT generation, version, position FROM projection_checkpoints
WHERE name = %s AND partition = 0 FOR UPDATE
"""
REBUILDING = "UPDATE projection_checkpoints SET rebuild = %s WHERE name = %s AND partition = 0"
PAUSED = "SELECT name FROM projection_checkpoints WHERE partition = 0 AND paused"
SET_PAUSED = """
UPDATE projection_checkpoints SET paused = %s WHERE name = %s AND partition = 0 RETURNING name
"""
WORST_LAG = """
SELECT max(extract(epoch FROM clock_timestamp() - e.recorded_at))::float8
FROM projection_checkpoints c JOIN events e ON e.position = c.position + 1
WHERE c.partition = 0 AND NOT c.paused AND c.status <> 'stopped'
"""
TRY_LEASE = "SELECT pg_try_advisory_lock(7022027, hashtext(%s))"
RELEASE = "SELECT pg_advisory_unlock(7022027, hashtext(%s))"


class Checkpoint(msgspec.Struct, frozen=True):
    """One projection's row. ``position`` is the last event that its rows include."""

    name: str
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


def read_all(connection: Connection) -> dict[str, Checkpoint]:
    """All checkpoints by the name of their projection."""
    return {row[0]: Checkpoint(*row) for row in connection.execute(READ)}


def ensure(connection: Connection, projections: Sequence[tuple[str, int]]) -> None:
    """Create the rows of projections that are new, at position 0."""
    for name, version in projections:
        connection.execute(ENSURE, (name, version))
