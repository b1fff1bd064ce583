"""The feed: one reader for a whole process, which hands each event to those whose it is.

``projections.following.Feed`` on PostgreSQL. Each new page of events is read once, however many
connections are open, and only the rows of people who have one leave the database. A connection
that begins at an earlier position is read for alone, beside the others, until it is near them;
then it joins. Each connection remembers the position of its last event: that alone keeps anything
from being told twice, and since reading goes on from the one furthest behind nothing is left out.

Owns the reading and who is connected. It is woken by ``wakes`` and polls besides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal
from uuid import UUID

import psycopg
import structlog

from adapters.ending import end
from adapters.event_store.mapper import KeysMissing, recorded, subjects_in
from adapters.event_store.subject_keys import SubjectKeys
from adapters.live.lines import LiveLine
from adapters.postgres.pipeline import Pipeline, Statement
from adapters.sealing import Unsealable
from domain.accounts.events import SubjectErased
from domain.event import Recorded
from projections.following import (
    Beyond,
    Credentials,
    Ended,
    Told,
    TooMany,
    owner_of,
    stored_topics,
    told,
)
from projections.reading import ReadUnavailable

log = structlog.get_logger()

POLL = 1.0
"""Seconds between looks that nobody asked for, while somebody is connected."""
LOOK = 1.0
"""Seconds between looks at everybody's credentials."""
FAREWELL = 1.0
"""Seconds that clients have to take the end of what they were sent, when the process stops."""
NEAR = 1000
"""Positions by which a connection may be behind the others to join them."""
MOST_OPEN = 10_000
"""Connections of all people together; more would leave none for other requests."""
REPLAYS = 4
"""Connections that are read for alone at once; others wait for their turn."""
_STRIDE = 20_000
"""Positions that are looked through at once for a connection that is behind."""
_PAGE = 500
_OWN_PAGE = 64
"""Rows that are read at once, for all and for one; the latter wait until its client took them."""
_END = 2**63 - 1

OWNER_WITHIN = 200
"""Bytes of a stored event within which its owner stands: the ids come first in every event."""
_MARK = b'"user_id":"'
_HEAD = Statement("live_head", "SELECT coalesce(max(position), 0) FROM events", ())
# What is compared is the JSON's text: no row is parsed that is nobody's who is connected. It is a
# first sieve; whose an event is tells the event. The topic is no condition for an index: of the two
# that could be used, the one by position reads in order what is wanted.
_EVENTS = Statement(
    "live_events",
    f"""
    SELECT position, stream_id, stream_version, tenant_id, recorded_at, topic, data
    FROM events
    WHERE position > $1 AND position <= $2 AND topic || '' = ANY ($3)
      AND substring(
          substring(data FOR {OWNER_WITHIN})
          FROM position('\\x{_MARK.hex()}'::bytea IN substring(data FOR {OWNER_WITHIN}))
              + {len(_MARK)}
          FOR 36) = ANY ($4)
    ORDER BY position LIMIT $5
    """,
    ("int8", "int8", "text[]", "bytea[]", "int4"),
)

Wake = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]
"""Calls what it is given whenever something may have been appended, until it is cancelled."""


class LiveFeed:
    """The feed of one process.

    ``reads`` and ``replays`` are on the write database, where events are; ``keys`` open what is
    sealed. ``most`` is how many connections one principal may have. ``wakes`` run while it is open.
    """

    def __init__(
        self,
        reads: Pipeline,
        replays: Pipeline,
        keys: SubjectKeys,
        *,
        most: int,
        wakes: Sequence[Wake] = (),
    ) -> None:
        self._reads = reads
        self._replays = replays
        self._keys = keys
        self._most = most
        self._wakes = wakes
        self._lines: dict[UUID, list[LiveLine]] = {}
        self._joining: list[LiveLine] = []
        self._known = 0
        """Everything up to here was handed to those who have joined."""
        self._wake = asyncio.Event()
        self._open = 0
        self._idle = True
        self._closing = False
        self._gone = asyncio.Event()
        self._turns = asyncio.Semaphore(REPLAYS)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Handing on as long as the context lasts."""
        tasks = [
            asyncio.create_task(each)
            for each in (
                self._run(),
                self._watch(),
                *(wake(self._wake.set) for wake in self._wakes),
            )
        ]
        try:
            yield
        finally:
            self.end()
            await end(*tasks)

    def end(self) -> None:
        """End every connection: this process is about to stop."""
        self._closing = True
        for line in list(self._every()):
            line.end("closing")

    async def wind_down(self) -> None:
        """End every connection, and wait a little until their clients have been told."""
        self.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self._open:
                    self._gone.clear()
                    await self._gone.wait()

    async def follow(
        self,
        user_id: UUID,
        who: str,
        *,
        names: Collection[str],
        after: int | None,
        credentials: Credentials,
        kind: Literal["sse", "ws"],
    ) -> LiveLine:
        """Begin a connection; errors as the port says."""
        if self._closing or self._open >= MOST_OPEN:
            raise Ended("closing" if self._closing else "unavailable")
        others = self._lines.setdefault(user_id, [])
        if sum(line.who == who for line in others) >= self._most:
            raise TooMany(self._most)
        line = LiveLine(
            user_id, who, names, credentials, kind, replay=self._replay, left=self._left
        )
        others.append(line)
        self._open += 1
        try:
            head = await self._head()
            if after is not None and after > head:
                raise Beyond
        except BaseException:
            line.close()
            raise
        if self._idle:  # while nobody was here nobody read on
            self._idle = False
            self._known = max(self._known, head)
        line.begin(head if after is None else after)
        return line

    async def _head(self) -> int:
        try:
            [rows] = await self._reads.run((_HEAD, ()))
        except psycopg.OperationalError as error:
            raise ReadUnavailable(str(error)) from error
        return int(rows[0][0])

    def _every(self) -> Iterator[LiveLine]:
        return (line for lines in self._lines.values() for line in lines)

    def _left(self, line: LiveLine) -> None:
        lines = self._lines.get(line.user_id, [])
        if line in lines:
            lines.remove(line)
            self._open -= 1
            self._gone.set()
            self._idle = self._idle or not self._open
        if not lines:
            self._lines.pop(line.user_id, None)
        if line in self._joining:
            self._joining.remove(line)

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL if self._lines else None):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            while self._lines:
                try:
                    if not await self._read() and not self._joining:
                        break
                except (psycopg.Error, Unsealable, OSError) as error:
                    log.warning("live_not_read", reason=type(error).__name__)
                    await asyncio.sleep(POLL)
                except Exception as error:  # noqa: BLE001 - whatever it is, others are to be served
                    log.error("live_failed", reason=type(error).__name__)
                    for line in list(self._every()):
                        line.end("failed")
                    await asyncio.sleep(POLL)

    async def _read(self) -> bool:
        """Hand on what is new; whether there may be more."""
        joining, self._joining = self._joining, []
        for line in joining:
            line.joined = True
            # From where the furthest behind of them is: the others take no event twice.
            self._known = min(self._known, line.reached)
        owners = [str(user_id).encode() for user_id in self._lines]
        values = (self._known, _END, stored_topics(), owners, _PAGE)
        [(head,)], rows = await self._reads.run((_HEAD, ()), (_EVENTS, values))
        for each in await self._opened(self._reads, rows):
            self._hand_on(each)
        full = len(rows) == _PAGE
        last = rows[-1][0] if rows else 0
        self._known = last if full else max(self._known, head, last)
        return full

    def _hand_on(self, each: Recorded) -> None:
        owner = owner_of(each)
        lines = self._lines.get(owner) if owner is not None else None
        if not lines:
            return
        if type(each.event) is SubjectErased:
            for line in list(lines):
                line.end("unauthenticated")
        elif any(line.joined for line in lines):
            event = told(each)
            for line in lines:
                if line.joined:
                    line.push(event)

    async def _replay(self, line: LiveLine) -> list[Told]:
        """Read on for one connection; it joins the others when it is near them."""
        if self._known - line.reached <= NEAR:
            # Not joined yet: what a reading that is under way finds is beyond what this one has.
            line.replaying = False
            self._joining.append(line)
            self._wake.set()
            return []
        through = min(line.reached + _STRIDE, self._known)
        owner = [str(line.user_id).encode()]
        values = (line.reached, through, stored_topics(), owner, _OWN_PAGE)
        try:
            async with self._turns:
                [rows] = await self._replays.run((_EVENTS, values))
                found = await self._opened(self._replays, rows)
        except (psycopg.Error, Unsealable, OSError):
            line.end("unavailable")
            return []
        line.reached = rows[-1][0] if len(rows) == _OWN_PAGE else through
        own = [each for each in found if owner_of(each) == line.user_id]
        if any(type(each.event) is SubjectErased for each in own):
            line.end("unauthenticated")
            return []
        return [told(each) for each in own]

    async def _opened(self, pipeline: Pipeline, rows: Sequence[tuple[Any, ...]]) -> list[Recorded]:
        """The rows as events; without those of people who were erased, and what cannot be read."""
        ciphers = self._keys.ciphers
        missing = [one for one in subjects_in(row[6] for row in rows) if one not in ciphers]
        if missing:
            await self._keys.load(pipeline, missing)
        found: list[Recorded] = []
        for row in rows:
            try:
                each = recorded(ciphers, *row)
            except KeysMissing:
                # The ciphers of a page are more than fit; it is read alone.
                await self._keys.load(pipeline, subjects_in([row[6]]))
                each = recorded(ciphers, *row)
            except Exception as error:  # noqa: BLE001 - whatever decoding and upcasting raise
                log.warning("live_undecodable", position=row[0], reason=type(error).__name__)
                continue
            if not each.erased or type(each.event) is SubjectErased:
                found.append(each)
        return found

    async def _watch(self) -> None:
        """End the connections of those whose credentials are good no more."""
        while True:
            await asyncio.sleep(LOOK)
            doubtful = [line for line in self._every() if not line.credentials.good()]
            if doubtful:
                await asyncio.gather(*map(_look_again, doubtful))


async def _look_again(line: LiveLine) -> None:
    try:
        async with asyncio.timeout(LOOK):
            reason = await line.credentials.check()
    except (psycopg.Error, OSError, TimeoutError):
        return  # nobody can tell now; the next look will
    except Exception as error:  # noqa: BLE001 - it must not end the looking at others
        log.error("live_credentials_failed", reason=type(error).__name__)
        reason = "failed"
    if reason is not None:
        line.end(reason)
