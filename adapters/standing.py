"""What was taken back a moment ago, known in every process: tenants, keys, and what people may.

The events say it, so this reads them and keeps no table: which tenants are not open is folded from
the topics of their events, and a key or a person whose stream has moved on is looked at again. Told
by NOTIFY at once, found by polling within ``POLL`` seconds where the telling got lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal
from uuid import UUID

import psycopg
import structlog

from adapters.ending import end
from adapters.keys import CHANNEL
from adapters.postgres.listening import heed
from adapters.postgres.pipeline import Pipeline, Statement

log = structlog.get_logger()

POLL = 1.0
"""Seconds between looks."""
_AGAIN = 0.5

Closed = Literal["suspended", "deleted"]

_TENANTS: dict[str, Closed | None] = {
    "accounts.TenantSuspended.v1": "suspended",
    "accounts.TenantDeleted.v1": "deleted",
    "accounts.TenantReactivated.v1": None,
}
_OTHERS = (
    "accounts.KeyRevised.v1",
    "accounts.KeyDeleted.v1",
    "accounts.PermissionsGranted.v1",
    "accounts.SettingsRevised.v1",
    "accounts.PersonDeleted.v1",
    "accounts.PersonRestored.v1",
    "accounts.SubjectErased.v1",
)
_HEAD = Statement("standing_head", "SELECT coalesce(max(position), 0) FROM events", ())
# One look at the topics' index for each of them, however long the history of the others is. Pairs
# are compared as such since no other index can do that: by the position alone it would read all.
_SINCE = Statement(
    "standing_since",
    """
    SELECT e.position, e.topic, e.stream_id
    FROM unnest($1) AS t (topic)
    CROSS JOIN LATERAL (
        SELECT position, topic, stream_id FROM events
        WHERE (topic, position) > (t.topic, $2) AND (topic, position) <= (t.topic, $3)
    ) e
    ORDER BY e.position
    """,
    ("text[]", "int8", "int8"),
)


class Standing:
    """Which tenants are closed; ``moved`` is called with every key or person that changed.

    ``origins`` reads the origins that keys list, for preflights. ``dsn`` and ``role`` are for the
    connection that listens; ``pipeline`` is on the write database, where events are.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        origins: Callable[[], Awaitable[frozenset[bytes]]],
        *,
        dsn: str,
        role: str,
    ) -> None:
        self._pipeline = pipeline
        self._read_origins = origins
        self._dsn = dsn
        self._role = role
        self._position = 0
        self._others_from = 0
        self.closed: dict[UUID, Closed] = {}
        self.origins: frozenset[bytes] = frozenset()
        self.moved: Callable[[UUID], None] = lambda subject: None
        self._tasks: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()

    async def start(self) -> None:
        """Look once, then keep looking until ``close``.

        Raises:
            psycopg.Error: the database does not answer.
        """
        self._others_from = await self._head()
        await self.poll()
        listening = heed(
            self._dsn, CHANNEL, lambda _: self._look.set(), role=self._role, name="standing"
        )
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(listening)]

    async def close(self) -> None:
        """Stop looking."""
        await end(*self._tasks)
        self._tasks = []

    async def poll(self) -> None:
        """Read what has happened since the last look."""
        head = await self._head()
        # No keys are known from before the start, so that their history need not be read.
        topics = list(_TENANTS) if self._position < self._others_from else [*_TENANTS, *_OTHERS]
        if head > self._position:
            [rows] = await self._pipeline.run((_SINCE, (topics, self._position, head)))
            for _, topic, stream_id in rows:
                self._apply(topic, UUID(stream_id[-36:]))
            self._position = head
        self.origins = await self._read_origins()

    def _apply(self, topic: str, subject: UUID) -> None:
        if topic not in _TENANTS:
            self.moved(subject)
            return
        state = _TENANTS[topic]
        if state is None:
            self.closed.pop(subject, None)
        else:
            self.closed[subject] = state

    async def _head(self) -> int:
        [rows] = await self._pipeline.run((_HEAD, ()))
        return int(rows[0][0])

    async def _poll(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), POLL)
            self._look.clear()
            try:
                await self.poll()
            except (psycopg.Error, OSError) as error:
                log.warning("standing_not_polled", reason=type(error).__name__)
                await asyncio.sleep(_AGAIN)
