"""The ledger of reactions in the write database: positions, effects, quarantine and leases.

``workers.reactions.Ledger``. Owns one connection, whose session locks are the leases: when a
process dies they go with it. Every change is one statement, so that reactions may share it. Its
role is the projector's, whose tables these are.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import tuple_row

from domain.event import Recorded
from domain.reaction import Effect, ReactionStatus, Standing, Status
from projections.engine import quarantine
from projections.engine.quarantine import Item, State, Waiting
from projections.engine.telemetry import STALLED_AFTER

BEGIN = """
INSERT INTO reactions (name, position, began_at)
SELECT name, at, at
FROM (SELECT coalesce(max(position), 0) AS head FROM events) AS events,
     unnest(%s::text[], %s::boolean[]) AS new (name, from_beginning),
     LATERAL (SELECT CASE WHEN from_beginning THEN 0 ELSE head END) AS begins (at)
ON CONFLICT DO NOTHING
"""
TRY_LEASE = "SELECT pg_try_advisory_lock(7022028, hashtext(%s))"
RELEASE = "SELECT pg_advisory_unlock(7022028, hashtext(%s))"
STANDING = """
SELECT position, paused,
       (SELECT count(*) FROM projection_quarantine q WHERE q.projection = name AND NOT q.settled)
FROM reactions WHERE name = %s
"""
DONE = "SELECT key FROM reaction_effects WHERE reaction = %s AND key = ANY (%s)"
RECORD = """
WITH done AS (
    INSERT INTO reaction_effects (reaction, key, position, subject_id, effect)
    VALUES (%(name)s, %(key)s, %(at)s, %(subject_id)s, %(effect)s) ON CONFLICT DO NOTHING
)
UPDATE reactions SET position = %(to)s, owner = %(owner)s, error = NULL,
    advanced_at = clock_timestamp(), heartbeat_at = clock_timestamp()
WHERE name = %(name)s AND position = %(from)s
"""
RECORD_ALONE = """
INSERT INTO reaction_effects (reaction, key, position, subject_id, effect)
VALUES (%(name)s, %(key)s, %(at)s, %(subject_id)s, %(effect)s) ON CONFLICT DO NOTHING
"""
ADVANCE = """
UPDATE reactions SET position = %(to)s, status = %(status)s, owner = %(owner)s, error = NULL,
    advanced_at = clock_timestamp(), heartbeat_at = clock_timestamp()
WHERE name = %(name)s AND position = %(from)s
"""
BEAT = """
UPDATE reactions SET status = %s, owner = %s, error = %s, heartbeat_at = clock_timestamp()
WHERE name = %s
"""
STATUSES = """
SELECT r.name, r.status, r.position, coalesce((SELECT max(position) FROM events), 0),
       coalesce((SELECT extract(epoch FROM clock_timestamp() - e.recorded_at)::float8
                 FROM events e WHERE e.position = r.position + 1), 0),
       r.began_at, r.owner,
       (SELECT count(DISTINCT q.stream_id) FROM projection_quarantine q
        WHERE q.projection = r.name AND NOT q.settled),
       r.error, r.paused,
       extract(epoch FROM clock_timestamp() - r.heartbeat_at)::float8,
       extract(epoch FROM clock_timestamp() - r.advanced_at)::float8
FROM reactions r ORDER BY r.name
"""
"""All reactions, with the head and the age of the first event that each has not passed."""
SET_PAUSED = """
UPDATE reactions SET paused = %(paused)s WHERE name = %(name)s RETURNING name AS id
"""
PASSING_OVER = """
UPDATE reactions SET position = head.position
FROM (SELECT coalesce(max(position), 0) AS position FROM events) AS head
WHERE reactions.position < head.position
"""


def status_of(row: Sequence[Any]) -> ReactionStatus:
    """The status of one row of ``STATUSES``, judged as a projection's is."""
    name, said, position, head, age, began_at, owner, streams, error, paused, silent, idle = row
    head = max(head, position)
    gap = head - position
    status: Status
    if paused:
        status = "paused"
    elif gap and (error is not None or min(idle, max(0.0, age)) > STALLED_AFTER):
        status = "stalled"
    elif owner is None or silent > STALLED_AFTER:
        status = "stopped"
    else:
        status = "catching_up" if gap and said != "live" else "live"
    return ReactionStatus(
        name=name,
        status=status,
        position=position,
        head=head,
        gap_events=gap,
        gap_seconds=round(max(0.0, age) if gap else 0.0, 3),
        began_at=began_at,
        owner=owner,
        quarantined_streams=streams,
        error=error,
    )


class PostgresLedger:
    """The ledger as one process keeps it; ``role`` is whose tables these are."""

    def __init__(self, dsn: str, *, role: str = "mindstream_project") -> None:
        self._dsn = dsn
        self._role = role
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._leased: set[str] = set()
        self._owner = f"{socket.gethostname()}:{os.getpid()}"

    async def begin(self, reactions: Mapping[str, bool]) -> None:
        """Make rows for new ones: at the head, or at 0 for those that are True."""
        await self._execute(BEGIN, (list(reactions), list(reactions.values())), connects=True)

    async def lease(self, name: str) -> Standing | None:
        """Take the reaction, unless another process has it."""
        if name not in self._leased:  # a session may take its own lock twice, and must not
            cursor = await self._execute(TRY_LEASE, (name,))
            row = await cursor.fetchone()
            if row is None or not row[0]:
                return None
            self._leased.add(name)
        return await self.standing(name)

    async def release(self, name: str) -> None:
        """Let another process have it."""
        if name in self._leased:
            self._leased.discard(name)
            await self._execute(RELEASE, (name,))

    async def standing(self, name: str) -> Standing:
        """How it stands."""
        row = await (await self._execute(STANDING, (name,))).fetchone()
        if row is None:
            raise LookupError(f"no reaction {name}")
        return Standing(*row)

    async def done(self, name: str, keys: Collection[UUID]) -> frozenset[UUID]:
        """Those keys among these under which something is known to be done."""
        cursor = await self._execute(DONE, (name, list(keys)))
        return frozenset([row[0] async for row in cursor])

    async def record(
        self, name: str, key: UUID, at: int, effect: Effect, *, moved: tuple[int, int] | None
    ) -> bool:
        """Keep what was done and move on, in one commit; whether it could be moved."""
        values = {
            "name": name,
            "key": key,
            "at": at,
            "subject_id": effect.subject_id,
            "effect": msgspec.json.encode({"did": effect.did, "id": effect.id}).decode(),
            "owner": self._owner,
        }
        if moved is None:
            await self._execute(RECORD_ALONE, values)
            return True
        cursor = await self._execute(RECORD, {**values, "from": moved[0], "to": moved[1]})
        return cursor.rowcount == 1

    async def advance(self, name: str, moved: tuple[int, int], status: str) -> bool:
        """Move on without an effect; whether the position was the expected one."""
        values = {
            "name": name,
            "from": moved[0],
            "to": moved[1],
            "status": status,
            "owner": self._owner,
        }
        return (await self._execute(ADVANCE, values)).rowcount == 1

    async def beat(self, name: str, status: str, error: str | None) -> None:
        """Give a sign of life."""
        await self._execute(BEAT, (status, self._owner, error, name))

    async def put(self, name: str, recorded: Recorded, error: Exception) -> None:
        """Put an event into quarantine; it is retried soon."""
        values = {
            "projection": name,
            "stream_id": recorded.stream_id,
            "position": recorded.position,
            "topic": recorded.event.TOPIC,
            "error": quarantine.describe(error),
            "pause": quarantine.FIRST_PAUSE,
            "partitions": 1,
        }
        await self._execute(quarantine.PUT, values)

    async def open_items(self, name: str) -> Sequence[Waiting]:
        """The unsettled items of a reaction, by position."""
        cursor = await self._execute(quarantine.OPEN, (name,))
        return [Waiting(Item(*row[:12]), row[12], row[13]) async for row in cursor]

    async def failed_again(self, waiting: Waiting, error: Exception) -> State:
        """Note another failure; parks the item when it was retried long enough."""
        state: State = "parked" if waiting.age >= quarantine.PATIENCE else "retrying"
        longest = quarantine.PATIENCE / 2
        pause = min(quarantine.FIRST_PAUSE * 2**waiting.item.attempts, longest)
        values = (quarantine.describe(error), state, pause, waiting.item.id)
        await self._execute(quarantine.FAILED_AGAIN, values)
        return state

    async def settle(self, waiting: Waiting) -> None:
        """The stream has caught up behind this item."""
        state = "discarded" if waiting.item.state == "discarded" else "released"
        await self._execute(quarantine.SETTLE, (state, waiting.item.id))

    async def close(self) -> None:
        """Give up the connection and all leases."""
        connection, self._connection = self._connection, None
        self._leased.clear()
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    async def _execute(
        self, query: LiteralString, values: Any, *, connects: bool = False
    ) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        """Run one statement; only ``begin`` connects, so that nobody works on without a lease."""
        if self._connection is None and connects:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                row_factory=tuple_row,
                connect_timeout=5,
                # A lease must not outlive a machine that is gone.
                options=f"-c role={self._role} -c timezone=UTC -c tcp_keepalives_idle=2"
                " -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2",
                application_name="mindstream-reactions",
            )
        if self._connection is None:
            raise psycopg.OperationalError("the ledger is closed")
        return await self._connection.execute(query, values, prepare=True)
