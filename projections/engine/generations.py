"""Generations of a view's table: the one that grows, the one that is kept, and taking turns.

Owns ``projection_generations`` and the renaming. The live table always has the view's own name;
others carry their number: ``journal_entries__g7``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg.sql import SQL, Identifier

from projections.engine import checkpoints
from projections.engine.checkpoints import Connection
from projections.engine.view import RowView

log = structlog.get_logger()

SWAP_LOCK = "200ms"
"""How long a swap waits for the live table before it lets readers pass and tries again."""
SWAP_TRIES = 600

LOAD = """
SELECT name, generation, version, state, table_name FROM projection_generations
WHERE name = %s ORDER BY generation
"""
CREATE = """
INSERT INTO projection_generations (name, generation, version, state, table_name)
VALUES (%s, %s, %s, %s, %s)
"""
CREATE_PARTITION = """
INSERT INTO projection_generation_partitions (name, generation, partition, partitions, position)
VALUES (%s, %s, %s, %s, %s)
"""
PARTITIONS = """
SELECT partition, partitions, position, events_done FROM projection_generation_partitions
WHERE name = %s AND generation = %s ORDER BY partition
"""
ADVANCE = """
UPDATE projection_generation_partitions SET position = %s, events_done = events_done + %s
WHERE name = %s AND generation = %s AND partition = %s AND position = %s
"""
DELETE = "DELETE FROM projection_generations WHERE name = %s AND generation = %s"
# Another version may have another number of partitions.
PARTITION_ANEW = """
WITH fewer AS (
    DELETE FROM projection_checkpoints
    WHERE name = %(name)s AND partition >= %(partitions)s
)
INSERT INTO projection_checkpoints (name, partition, version)
SELECT %(name)s, partition, %(version)s FROM generate_series(0, %(partitions)s - 1) AS partition
ON CONFLICT DO NOTHING
"""
SERVE = """
UPDATE projection_checkpoints
SET generation = %s, version = %s, position = %s, status = 'live', error = NULL, rebuild = NULL,
    advanced_at = clock_timestamp(), heartbeat_at = clock_timestamp()
WHERE name = %s
"""


class Live(msgspec.Struct, frozen=True):
    """The generation that serves; its partitions' ``positions``, in order."""

    generation: int
    version: int
    positions: tuple[int, ...]

    @property
    def position(self) -> int:
        """What all partitions have passed."""
        return min(self.positions)

    @property
    def furthest(self) -> int:
        """What one of them has passed."""
        return max(self.positions)


class Generation(msgspec.Struct, frozen=True):
    """A generation that is not live; ``state`` is building or kept."""

    name: str
    generation: int
    version: int
    state: str
    table: str


class Part(msgspec.Struct, frozen=True):
    """How far one part of a generation is."""

    index: int
    parts: int
    position: int
    events_done: int


def load(connection: Connection, name: str) -> list[Generation]:
    """The generations of a projection that are not live, oldest first."""
    return [Generation(*row) for row in connection.execute(LOAD, (name,))]


def parts_of(connection: Connection, generation: Generation) -> list[Part]:
    """How far each part of a generation is."""
    rows = connection.execute(PARTITIONS, (generation.name, generation.generation))
    return [Part(*row) for row in rows]


def begin(connection: Connection, view: RowView[Any], number: int, parts: int) -> Generation:
    """Make an empty table beside the live one, which lacks the indexes that only reading needs."""
    table = f"{view.table}__g{number}"
    made = Generation(view.name, number, view.version, "building", table)
    with connection.transaction():
        if view.outside is None:
            connection.execute("SELECT begin_generation(%s, %s)", (view.table, made.table))
        else:
            view.outside.begin(view, made.table)
        _record(connection, made, [0] * parts)
    return made


def drop(connection: Connection, view: RowView[Any], generation: Generation) -> None:
    """Remove a generation and its table."""
    with connection.transaction():
        connection.execute(DELETE, (generation.name, generation.generation))
        connection.execute("SELECT drop_generation(%s)", (generation.table,))
        if view.outside is not None:
            view.outside.drop(generation.table)


def serve(
    connection: Connection,
    live: Live,
    view: RowView[Any],
    chosen: Generation,
    position: int,
) -> Generation:
    """Let ``chosen`` take the live table's place, and keep that one; in the caller's transaction.

    The caller holds the locks of the live one's checkpoints.

    Raises:
        psycopg.errors.LockNotAvailable: readers hold the table; roll back and try again.
    """
    table = view.table
    kept = Generation(
        chosen.name, live.generation, live.version, "kept", f"{table}__g{live.generation}"
    )
    connection.execute(SQL(f"SET LOCAL lock_timeout = '{SWAP_LOCK}'"))
    if view.outside is None:
        connection.execute("SELECT swap_generations(%s, %s, %s)", (table, kept.table, chosen.table))
    else:
        # Rows from before the view moved to its store are nobody's any more.
        connection.execute(SQL("TRUNCATE {}").format(Identifier(table)))
    connection.execute(DELETE, (chosen.name, chosen.generation))
    _record(connection, kept, live.positions)
    values = {"name": chosen.name, "version": chosen.version, "partitions": view.partitions}
    connection.execute(PARTITION_ANEW, values)
    connection.execute(SERVE, (chosen.generation, chosen.version, position, chosen.name))
    if view.outside is not None:
        # Last, since it cannot be rolled back. Rows that are ahead of a checkpoint do no harm.
        view.outside.swap(table, kept.table, chosen.table)
    return kept


def live(connection: Connection, name: str) -> Live:
    """The generation that serves, its checkpoints locked until the transaction ends."""
    rows = connection.execute(checkpoints.LOCK_LIVE, (name,)).fetchall()
    return Live(rows[0][0], rows[0][1], tuple(row[2] for row in rows))


def next_number(connection: Connection, name: str) -> int:
    """A number that no generation of this projection has."""
    others = [each.generation for each in load(connection, name)]
    return max([checkpoints.read_all(connection)[name].generation, *others]) + 1


def retry_later(error: psycopg.errors.LockNotAvailable, name: str, attempt: int) -> None:
    """Say that a swap waits for readers; raise the error when it has waited long enough."""
    log.info("swap_waits_for_readers", projection=name, attempt=attempt)
    if attempt + 1 >= SWAP_TRIES:
        raise error


def _record(connection: Connection, made: Generation, positions: Sequence[int]) -> None:
    connection.execute(CREATE, (made.name, made.generation, made.version, made.state, made.table))
    for index, position in enumerate(positions):
        values = (made.name, made.generation, index, len(positions), position)
        connection.execute(CREATE_PARTITION, values)
