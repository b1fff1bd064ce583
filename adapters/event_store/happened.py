"""Reads the total order for who need only know about whom an event is: nothing is unsealed.

Implements ``projections.invalidation.Happenings`` on one connection of its own, which also listens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import tuple_row

from adapters.event_store.mapper import SEAL
from adapters.event_store.recorder import CHANNEL
from projections.invalidation import Happened

_HEAD = "SELECT coalesce(max(position), 0) FROM events"
# The public part alone: what is sealed lies behind the zero byte, and most of the bytes with it.
_PAGE = """
SELECT position, topic,
       CASE WHEN position('\\x00'::bytea IN data) > 0
            THEN substring(data FROM 1 FOR position('\\x00'::bytea IN data)) ELSE data END
FROM events
WHERE position > %s AND position <= %s AND topic = ANY (%s::text[])
ORDER BY position LIMIT %s
"""


class _Public(msgspec.Struct):
    user_id: UUID | None = None


_decode = msgspec.json.Decoder(_Public).decode


class PostgresHappenings:
    """The store's events for one event loop; ``role`` needs SELECT on ``events``."""

    def __init__(self, dsn: str, *, role: str = "mindstream_project") -> None:
        self._dsn = dsn
        self._role = role
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def head(self) -> int:
        """The position of the last event."""
        cursor = await (await self._connected()).execute(_HEAD, prepare=True)
        row = await cursor.fetchone()
        assert row is not None
        head: int = row[0]
        return head

    async def page(
        self, after: int, through: int, limit: int, topics: Sequence[str]
    ) -> Sequence[Happened]:
        """Up to ``limit`` events."""
        cursor = (await self._connected()).cursor(binary=True)
        await cursor.execute(_PAGE, (after, through, list(topics), limit), prepare=True)
        return [
            Happened(position, topic, _user_in(data))
            for position, topic, data in await cursor.fetchall()
        ]

    async def wait(self, seconds: float) -> None:
        """Wait for a wake-up. What came while nobody waited is found at once."""
        async for _ in (await self._connected()).notifies(timeout=seconds, stop_after=1):
            pass

    async def close(self) -> None:
        """Close the connection; asking again opens another."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _connected(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                row_factory=tuple_row,
                connect_timeout=5,
                options=f"-c role={self._role} -c enable_seqscan=off"
                " -c plan_cache_mode=force_custom_plan",
                application_name="mindstream-invalidation",
                keepalives_idle=2,
                keepalives_interval=1,
                keepalives_count=2,
                tcp_user_timeout=4000,
            )
            await self._connection.execute(f"LISTEN {CHANNEL}")
        return self._connection


def _user_in(data: bytes) -> UUID | None:
    """Whom the public part of an event names."""
    cut = data.find(SEAL)
    try:
        return _decode(data if cut < 0 else data[:cut]).user_id
    except msgspec.DecodeError:
        return None
