"""How far the projections are, as the read API hears it: pushed by NOTIFY, polled every second.

The projector notifies in the transaction of its rows, so a position that was heard is visible. The
same message names the users whose rows changed, which is what keeps small caches honest: a cached
answer is good while its user's epoch stands still. A cache that others fill as well asks ``since``
and ``basis`` instead, which mean the same in every process (``projections.caching.Changes``).

On a standby, which hears nothing, it is the primary that is listened to (``standby``), and all of
this is said of what the standby shows.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg.rows import tuple_row

from adapters.ending import end
from adapters.postgres.pipeline import Pipeline, PipelineLost, Statement
from adapters.postgres.standby import CONFLICTS, Foretold, Primary, follow
from projections.reading import ReadUnavailable

log = structlog.get_logger()

CHANNEL = "mindstream_projected"
POLL = 1.0
_USERS = 50_000
_OPEN = "SELECT DISTINCT projection FROM projection_quarantine WHERE NOT settled"
_STREAM = Statement(
    "freshness_stream",
    "SELECT stream_id FROM events WHERE position = $1 AND actor = $2",
    ("int8", "text"),
)
_STUCK = Statement(
    "freshness_stuck",
    """
    SELECT projection, position FROM projection_quarantine
    WHERE stream_id = $1 AND NOT settled AND position <= $2 AND projection = ANY ($3)
    LIMIT 1
    """,
    ("text", "int8", "text[]"),
)
_POSITIONS = "SELECT name, partition, position FROM projection_checkpoints"
_REVISIONS = "SELECT name, revision::text FROM projection_revisions"
_STANDBY = "SELECT pg_is_in_recovery()"

Places = dict[str, dict[int, int]]
"""The position of each partition of each projection."""


class _Notice(msgspec.Struct):
    position: int
    projections: dict[str, list[int] | None]
    users: list[UUID] | None


_decode = msgspec.json.Decoder(_Notice).decode


class ProjectionWatch:
    """``projections.reading.Freshness`` over one listening connection.

    ``pipeline`` is asked about events, and about those in quarantine unless there is another one
    for these; without one there are none. ``primary`` is listened to where ``dsn`` leads to a
    standby of it; without one a standby cannot be watched.
    """

    def __init__(
        self,
        dsn: str,
        *,
        role: str = "mindstream_read",
        pipeline: Pipeline | None = None,
        quarantine: Pipeline | None = None,
        primary: Primary | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._quarantine = quarantine or pipeline
        self._quarantined: frozenset[str] | None = None
        self._revisions: dict[str, str] | None = None
        self._changed: dict[UUID, int] = {}
        self._all_changed = 0
        self._dsn = dsn
        self._role = role
        self._primary = primary
        self._foretold: Foretold | None = None
        self._doubted: Places | None = None
        self._partitions: Places = {}
        self._positions: dict[str, int] = {}
        self._waiting: list[tuple[int, tuple[str, ...], asyncio.Future[None]]] = []
        self._all = 0
        self._users: dict[UUID, int] = {}
        self._listening = False
        self._task: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()

    async def open(self) -> None:
        """Begin to listen; returns when positions are known or after two seconds."""
        self._task = asyncio.create_task(self._run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self._heard.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            await end(self._task)

    @property
    def on_standby(self) -> bool:
        """Whether it is a standby that is watched, as far as is known."""
        return self._foretold is not None

    @property
    def behind(self) -> float | None:
        """By how many seconds a standby is; None where it is none, or its primary does not tell."""
        return None if self._foretold is None else self._foretold.behind

    def position(self, *projections: str) -> int:
        """The position that all of these have passed, as last heard."""
        positions = self._positions
        return min([positions.get(name, 0) for name in projections])

    async def passed(self, position: int, *projections: str, within: float) -> str | None:
        """Wait until all have passed ``position``; the name of the first that has not, or None."""
        if self.position(*projections) >= position:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (position, projections, future)
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(within):
                await future
            return None
        except TimeoutError:
            behind = (name for name in projections if self._positions.get(name, 0) < position)
            return next(behind, None)
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)

    async def stuck(self, position: int, actor: str, *projections: str) -> tuple[str, int] | None:
        """Whether this actor's event waits in quarantine: the projection, and for which event."""
        known = self._quarantined
        if self._pipeline is None or (known is not None and known.isdisjoint(projections)):
            return None
        assert self._quarantine is not None
        try:
            [streams] = await self._pipeline.run((_STREAM, (position, actor)))
            if not streams:
                return None
            values = (streams[0][0], position, projections)
            [rows] = await self._quarantine.run((_STUCK, values))
        except (PipelineLost, *CONFLICTS) as error:
            raise ReadUnavailable(str(error)) from error
        return (rows[0][0], rows[0][1]) if rows else None

    def epoch(self, user_id: UUID) -> int:
        """Changes whenever this user's rows may have; -1 while nobody would tell."""
        if not self._listening:
            return -1
        return self._all + self._users.get(user_id, 0)

    def since(self, user_id: UUID) -> int | None:
        """The last position at which this user's rows may have changed; None: nobody would tell."""
        if not self._listening or self._revisions is None:
            return None
        return max(self._changed.get(user_id, 0), self._all_changed)

    def told(self, user_id: UUID) -> int:
        """The position of the last change that was told of this very person; 0: none lately."""
        return self._changed.get(user_id, 0)

    def basis(self, *projections: str) -> str | None:
        """What changes when rows of these change otherwise than by the next event.

        None for projections of another database as well.
        """
        known, waiting = self._revisions, self._quarantined
        if known is None or waiting is None or not waiting.isdisjoint(projections):
            return None
        if not self._positions.keys() >= set(projections):
            return None
        return ",".join([known.get(name, "") for name in projections])

    async def _run(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._dsn,
                    autocommit=True,
                    row_factory=tuple_row,
                    connect_timeout=5,
                    options=f"-c role={self._role}",
                    application_name="mindstream-freshness",
                )
                async with connection:
                    if self._primary is not None:
                        cursor = await connection.execute(_STANDBY)
                        if await cursor.fetchall() == [(True,)]:
                            await self._follow(connection, self._primary)
                            continue
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._touch_all()
                    self._revisions = None
                    await self._poll(connection)
                    self._listening = True
                    self._heard.set()
                    while True:
                        async for notice in connection.notifies(timeout=POLL):
                            self._hear(notice.payload)
                        async with asyncio.timeout(5):
                            await self._poll(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._listening = False
                log.warning("freshness_lost", reason=type(error).__name__)
                await asyncio.sleep(0.2)
            finally:
                self._listening = False

    async def _follow(
        self, standby: psycopg.AsyncConnection[tuple[Any, ...]], primary: Primary
    ) -> None:
        """Watch a standby until it is one no more."""
        self._revisions = None

        async def poll(patient: bool) -> bool:
            doubt = await self._poll(standby, patient=patient and self._listening)
            self._heard.set()
            return doubt

        self._foretold = Foretold(primary, CHANNEL, self._deaf)
        try:
            await follow(standby, self._foretold, begin=self._begin, hear=self._hear, poll=poll)
        finally:
            self._foretold = None
            self._doubted = None

    def _begin(self) -> None:
        """From here on everything is told; what was before is not known until the next poll."""
        self._touch_all()
        self._revisions = self._doubted = None
        self._listening = True

    def _deaf(self) -> None:
        self._listening = False

    async def _poll(
        self, connection: psycopg.AsyncConnection[tuple[Any, ...]], *, patient: bool = False
    ) -> bool:
        """Look where everything is.

        Whether some of it is only ahead of what was heard, and left at that: where ``patient``, its
        notices have until the next look to come.
        """
        doubted, self._doubted = self._doubted, None
        if doubted is not None and _reached(self._partitions, doubted):
            return False
        cursor = await connection.execute(_POSITIONS)
        found: Places = {}
        for name, partition, position in await cursor.fetchall():
            found.setdefault(name, {})[partition] = position
        # Asked for later than positions: what has been passed into quarantine is in here.
        cursor = await connection.execute(_OPEN)
        quarantined = frozenset([row[0] for row in await cursor.fetchall()])
        # Later still: what is out of quarantine by now has left its mark in here.
        cursor = await connection.execute(_REVISIONS)
        known, self._revisions = self._revisions, dict(await cursor.fetchall())
        self._quarantined = quarantined
        if self._partitions == found and known is not None:
            return False
        if patient and known is not None and _reached(found, self._partitions):
            self._doubted = found
            return True
        # Ahead of its notice, or the notice was lost: whose rows changed is not known.
        self._partitions = found
        self._touch_all()
        self._positions = {name: min(reached.values()) for name, reached in found.items()}
        self._wake()
        return False

    def _hear(self, payload: str) -> None:
        try:
            notice = _decode(payload)
        except msgspec.DecodeError:
            self._touch_all()  # a projector of another version: the next poll tells where it is
            self._quarantined = self._revisions = None
            return
        if notice.users is None:
            self._touch_all()
            # An event may have gone into quarantine or left it: not known until the next poll.
            self._quarantined = self._revisions = None
        else:
            users = self._users
            if len(users) > _USERS:
                self._touch_all()
            for user in notice.users:
                users[user] = users.get(user, 0) + 1
                self._changed[user] = max(self._changed.get(user, 0), notice.position)
        for name, moved in notice.projections.items():
            reached = self._partitions.setdefault(name, {})
            for partition in reached if moved is None else moved:
                # A repaired row is told with a position that others have long passed.
                reached[partition] = max(reached.get(partition, 0), notice.position)
            # Until a poll has told how many partitions there are, nothing is known to be passed.
            self._positions[name] = min(reached.values(), default=0)
        self._wake()

    def _touch_all(self) -> None:
        self._all += 1 + max(self._users.values(), default=0)
        self._users.clear()
        self._changed.clear()
        places = [place for reached in self._partitions.values() for place in reached.values()]
        self._all_changed = max(places, default=0)

    def _wake(self) -> None:
        if not self._waiting:
            return
        for position, projections, future in self._waiting:
            if not future.done() and self.position(*projections) >= position:
                future.set_result(None)


def _reached(places: Places, others: Places) -> bool:
    """Whether ``places`` are as far as these, everywhere."""
    return all(
        places.get(name, {}).get(partition, -1) >= position
        for name, reached in others.items()
        for partition, position in reached.items()
    )
