"""Reading from a standby: what the primary notifies of is held until it can be seen here.

A standby offers no ``LISTEN``. So the primary is listened to, and each batch of its notices is held
with the position of its log (LSN) at that moment: notices come after their commit, so that it
covers them. They take effect once the standby has replayed that much. Heard is then visible where
it is read, as it is on a primary.

The projector's commits do not wait for the disk, and only what is on disk is sent to a standby.
With nobody else writing that would take the 200 ms of ``wal_writer_delay``; whoever waits here for
longer than ``PATIENCE`` has the primary write out its log.

Owns the connection to the primary and what is held. What a notice means is ``freshness``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg
import structlog
from prometheus_client import Gauge
from psycopg.rows import tuple_row

from adapters.ending import end

log = structlog.get_logger()

CONFLICTS = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
"""How a standby cancels a query that what it replays cannot wait for."""
POLL = 1.0
"""Seconds between looks that nobody asked for."""
PATIENCE = 0.005
"""Seconds after which the primary is asked to write its log out."""
GRACE = 0.05
"""Seconds that a notice may come later than the standby shows what it tells of."""
MOST_HELD = 20_000
"""Notices; beyond that all of them together say that anything may have changed."""
_LEAST_PAUSE, _MOST_PAUSE = 0.002, 0.05
_AGAIN, _SELDOM = 0.2, 1.0
_TIMEOUT = 5.0

# What was inserted may not be on disk yet, as the projector's last commit.
_INSERTED = "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8"
_FLUSHED = "SELECT (pg_current_wal_flush_lsn() - '0/0')::int8"
# A message that nobody reads: committing it is what writes out all that came before.
_WRITE_OUT = """
SELECT CASE WHEN pg_current_wal_flush_lsn() - '0/0' < %s
       THEN pg_logical_emit_message(true, 'mindstream', '') END
"""
_REPLAYED = """
SELECT coalesce((pg_last_wal_replay_lsn() - '0/0')::int8, 0), pg_is_in_recovery()
"""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

_lag = Gauge(
    "mindstream_standby_lag_seconds",
    "How long what is read has lacked something of its primary; NaN while that does not tell",
    ["database"],
)


class Primary(msgspec.Struct, frozen=True):
    """The server that a standby follows, and as whom it is listened to."""

    dsn: str
    role: str


class _Held(NamedTuple):
    """What takes effect at ``lsn``; ``payloads`` None: from here on everything is heard."""

    lsn: int
    since: float
    payloads: Sequence[str] | None


class Foretold:
    """What the primary told of ``channel``, and the standby may not show yet.

    ``lost`` is called whenever the primary tells nothing more; what was held is then forgotten.
    """

    def __init__(self, primary: Primary, channel: str, lost: Callable[[], None]) -> None:
        self._primary = primary
        self._channel = channel
        self._lost = lost
        self._held: deque[_Held] = deque()
        self._count = 0
        self._pushed = 0
        self._connected = False
        self.stirred = asyncio.Event()
        """Set when something is held."""

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self._held)

    @property
    def behind(self) -> float | None:
        """For how many seconds the standby has lacked something; None: the primary tells nothing.

        Measured by this process's clock alone, and once a second while nothing is written.
        """
        if not self._connected:
            return None
        now = asyncio.get_running_loop().time()
        return now - self._held[0].since if self._held else 0.0

    def take(self, replayed: int) -> _Held | None:
        """The oldest that the standby shows by now."""
        if not self._held or self._held[0].lsn > replayed:
            return None
        found = self._held.popleft()
        self._count -= len(found.payloads or ())
        return found

    async def listen(self) -> None:
        """Listen to the primary until cancelled."""
        pause = _AGAIN
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._primary.dsn,
                    autocommit=True,
                    row_factory=tuple_row,
                    connect_timeout=5,
                    # What is written out need not have reached a standby that commits wait for.
                    options=f"-c role={self._primary.role} -c synchronous_commit=local",
                    application_name="mindstream-freshness",
                ) as connection:
                    await connection.execute(f"LISTEN {self._channel}")
                    self._hold(await _number(connection, _INSERTED), None)
                    self._pushed = 0
                    self._connected = True
                    pause = _AGAIN
                    while True:
                        await self._hear(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("primary_not_heard", reason=type(error).__name__)
            finally:
                self._connected = False
                self._forget()
                self._lost()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _SELDOM)

    async def _hear(self, connection: Connection) -> None:
        waits = bool(self._held) and self._held[-1].lsn > self._pushed
        timeout = PATIENCE if waits else POLL
        told = [each.payload async for each in connection.notifies(timeout=timeout, stop_after=1)]
        async with asyncio.timeout(_TIMEOUT):
            if told:
                self._hold(await _number(connection, _INSERTED), told)
            elif not waits:
                # Nothing new; it tells how far the standby is, and that the primary is there.
                self._hold(await _number(connection, _FLUSHED), ())
            elif self._held:
                self._pushed = self._held[-1].lsn
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(_WRITE_OUT, (self._pushed,))

    def _hold(self, lsn: int, payloads: Sequence[str] | None) -> None:
        since = asyncio.get_running_loop().time()
        self._count += len(payloads or ())
        if max(self._count, len(self._held)) > MOST_HELD:
            since, payloads = (self._held[0].since if self._held else since), None
            self._forget()
        self._held.append(_Held(lsn, since, payloads))
        self.stirred.set()

    def _forget(self) -> None:
        self._held.clear()
        self._count = 0


async def follow(
    standby: Connection,
    foretold: Foretold,
    *,
    begin: Callable[[], None],
    hear: Callable[[str], None],
    poll: Callable[[bool], Awaitable[bool]],
) -> None:
    """Give what is foretold to ``hear`` when the standby shows it, for as long as it is a standby.

    ``begin`` is called where a stretch begins in which everything is heard. ``poll`` looks at the
    standby itself; given True it may answer True: what it found was not heard of yet, and it wants
    to look again in a moment.
    """
    loop = asyncio.get_running_loop()
    listening = asyncio.create_task(foretold.listen())
    next_poll, doubt = 0.0, False
    try:
        while not listening.done():
            foretold.stirred.clear()
            async with asyncio.timeout(_TIMEOUT):
                cursor = await standby.execute(_REPLAYED)
                [(replayed, is_standby)] = await cursor.fetchall()
            if not is_standby:
                return
            while (due := foretold.take(replayed)) is not None:
                if due.payloads is None:
                    begin()
                    next_poll, doubt = 0.0, False
                for payload in due.payloads or ():
                    hear(payload)
            _lag.labels("read").set(math.nan if foretold.behind is None else foretold.behind)
            if loop.time() >= next_poll:
                async with asyncio.timeout(_TIMEOUT):
                    doubt = await poll(not doubt) and not doubt
                next_poll = loop.time() + (GRACE if doubt else POLL)
            if foretold:
                # The longer it takes, the less a look more often would gain.
                pause = min(max((foretold.behind or 0.0) / 5, _LEAST_PAUSE), _MOST_PAUSE)
                await asyncio.sleep(min(pause, max(next_poll - loop.time(), 0.0)))
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(next_poll):
                        await foretold.stirred.wait()
        listening.result()
    finally:
        with contextlib.suppress(KeyError):
            _lag.remove("read")
        await end(listening)


async def _number(connection: Connection, query: str) -> int:
    cursor = await connection.execute(query)
    [(found,)] = await cursor.fetchall()
    return int(found)
