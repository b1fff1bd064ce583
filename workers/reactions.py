"""Reactions: what is done in the world because something happened, once for each event.

A reaction sends, charges or calls something. It has a position of its own, which no rebuild of a
read model knows of, and begins at the head that there was when it was first deployed. Each event is
given to it with a key that stays the same however often it is tried::

    react(event, key) ──done──► effect and position commit together
       │                             └─ a crash before that: tried again, under the same key
       ├──not to be had now (``Unavailable``, no database)──► the reaction waits where it is
       └──fails──► quarantine: retried, then parked; later events of its stream wait behind it

Owns the loop, the order and the judgement of failures. ``adapters/reactions.py`` keeps the ledger;
what a reaction does is its own module's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Protocol, TypeVar
from uuid import UUID, uuid5

import msgspec
import psycopg
import structlog

from domain.event import Event, Recorded, topics_of, undecodable
from domain.reaction import Effect, Standing
from projections.engine.quarantine import State, Waiting
from projections.engine.source import EventSource
from workers import reaction_metrics as metrics

T = TypeVar("T")
log = structlog.get_logger()

PAGE = 100
"""Events read at once: what is done with one takes longer than reading it."""
LOOK = 0.5
"""Seconds between two looks for what operators ask, and for a lease that has become free."""
BEAT = 3.0
"""Seconds between two signs of life of a reaction that has nothing to do."""
POLL = 1.0
"""Seconds between two looks at the store when nobody wakes the worker."""
REST = 0.2
"""Seconds between two wake-ups at least: most events are nothing to most reactions."""
WITHIN = 30.0
"""Seconds that one event has."""
LEAVES_WITHIN = 2.0
"""Seconds that what is under way has at a shutdown; what is cut off is tried again."""
MAX_BACKOFF = 10.0
"""Seconds at most between two tries while what a reaction needs cannot be had."""

_KEYS = UUID("7b1d5a4e-4a52-5c36-9a0e-0f6f2f6f3c11")
_LOST = (psycopg.OperationalError, psycopg.InterfaceError)


class Unavailable(Exception):
    """What the reaction needs cannot be had now, whatever the event: a server is away, say."""


class Fenced(Exception):
    """Somebody else has moved this reaction's position."""


class Reaction(ABC):
    """Base of all reactions; ``name`` is permanent, since its position and keys hang on it."""

    name: ClassVar[str]
    takes: ClassVar[tuple[type[Event], ...]]
    from_beginning: ClassVar[bool] = False
    """Whether it is to do what it does for all of history, too."""
    stale_after: ClassVar[timedelta | None] = None
    """Older events are passed over: nobody wants a letter about last year."""

    @abstractmethod
    async def react(self, recorded: Recorded, key: UUID) -> Effect | None:
        """Do it; None where there is nothing to do.

        It may be called again with the same key after a crash: where what it does takes a key, it
        passes this one on. The record has its metadata.

        Raises:
            Unavailable, psycopg.OperationalError: not now; nothing is wrong with the event.
            Exception: anything else is taken for the event's fault, and kept by its type alone.
        """


class Ledger(Protocol):
    """Keeps positions, effects and quarantine, and who has which reaction.

    Every method raises psycopg.OperationalError or InterfaceError when its connection is lost; all
    leases are lost with it.
    """

    async def begin(self, reactions: Mapping[str, bool]) -> None:
        """Make rows for new ones: at the head, or at 0 for those that are True."""
        ...

    async def lease(self, name: str) -> Standing | None:
        """Take the reaction, unless another process has it."""
        ...

    async def release(self, name: str) -> None:
        """Let another process have it."""
        ...

    async def standing(self, name: str) -> Standing:
        """How it stands."""
        ...

    async def done(self, name: str, keys: Collection[UUID]) -> frozenset[UUID]:
        """Those keys among these under which something is known to be done."""
        ...

    async def record(
        self, name: str, key: UUID, at: int, effect: Effect, *, moved: tuple[int, int] | None
    ) -> bool:
        """Keep what was done for the event at a position and move on, in one commit.

        ``moved`` is from and to, None where the position stays. Whether it could be moved.
        """
        ...

    async def advance(self, name: str, moved: tuple[int, int], status: str) -> bool:
        """Move on without an effect; whether the position was the expected one."""
        ...

    async def beat(self, name: str, status: str, error: str | None) -> None:
        """Give a sign of life."""
        ...

    async def put(self, name: str, recorded: Recorded, error: Exception) -> None:
        """Put an event into quarantine."""
        ...

    async def open_items(self, name: str) -> Sequence[Waiting]:
        """The unsettled items of a reaction, by position."""
        ...

    async def failed_again(self, waiting: Waiting, error: Exception) -> State:
        """Note another failure; the state that it has now."""
        ...

    async def settle(self, waiting: Waiting) -> None:
        """The stream has caught up behind this item."""
        ...

    async def close(self) -> None:
        """Give up the connection and all leases."""
        ...


class _Held(msgspec.Struct):
    """A reaction that this process has."""

    reaction: Reaction
    position: int
    topics: list[str]
    paused: bool = False
    waiting: dict[str, Waiting] = {}
    failures: int = 0
    error: str | None = None
    not_before: float = 0.0
    looked_at: float = 0.0
    beaten: float = 0.0


def key_of(reaction: str, recorded: Recorded) -> UUID:
    """The key under which a reaction acts on an event, for ever the same."""
    assert recorded.metadata is not None, "reactions read events with their metadata"
    return uuid5(_KEYS, f"{reaction}:{recorded.metadata.event_id}")


class Reactor:
    """Keeps reactions going until it is told to stop; each is a task of its own.

    ``source`` must give records with metadata; ``clock`` tells the time in UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        source: EventSource,
        reactions: Sequence[Reaction],
        *,
        page: int = PAGE,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._reactions = reactions
        self._page_size = page
        self._clock = clock
        self._reading = asyncio.Lock()
        self._head = 0
        self._moved = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set. Survives the loss of the database and of all else."""
        delay = 0.1
        while not stop.is_set():
            began = time.monotonic()
            try:
                await self._work(stop)
            except* _LOST as lost:
                log.warning("reactions_disconnected", reason=_name_of(lost))
            except* Exception as failed:  # noqa: BLE001 - nothing may end reactions for good
                log.error("reactions_failed", reason=_name_of(failed))
            await self._close()
            delay = 0.1 if time.monotonic() - began > MAX_BACKOFF else min(delay * 2, 2.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await stop.wait()

    async def _work(self, stop: asyncio.Event) -> None:
        await self._ledger.begin({each.name: each.from_beginning for each in self._reactions})
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(each, stop)) for each in self._reactions]
            tasks.append(group.create_task(self._watch(stop)))
            await stop.wait()
            self._wake()
            _, slow = await asyncio.wait(tasks, timeout=LEAVES_WITHIN)
            for task in slow:
                task.cancel()

    async def _close(self) -> None:
        with contextlib.suppress(*_LOST):
            await self._blocking(self._source.close)
            await self._ledger.close()

    async def _watch(self, stop: asyncio.Event) -> None:
        """Learn of new events: by a signal, and by looking now and then."""
        while not stop.is_set():
            head = await self._read(self._source.head)
            if head != self._head:
                self._head = head
                self._wake()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REST):
                        await stop.wait()
            await self._blocking(self._source.wait, POLL)

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _read(self, read: Callable[..., T], *values: Any) -> T:
        """Call the source for events: it has one connection for that."""
        async with self._reading:
            return await self._blocking(read, *values)

    async def _blocking(self, call: Callable[..., T], *values: Any) -> T:
        """Call what blocks, and do not leave before it has: it would still use the connection."""
        calling = asyncio.ensure_future(asyncio.to_thread(call, *values))
        try:
            return await asyncio.shield(calling)
        except asyncio.CancelledError:
            await asyncio.wait({calling})
            calling.exception()  # looked at, so that nobody complains that it was not
            raise

    async def _keep(self, reaction: Reaction, stop: asyncio.Event) -> None:
        held: _Held | None = None
        while not stop.is_set():
            moved = self._moved
            try:
                if held is None:
                    held = await self._lease(reaction)
                if held is not None and await self._step(held):
                    continue
            except Fenced:
                await self._ledger.release(reaction.name)
                held = None
            except _LOST:
                raise
            except Exception as error:  # noqa: BLE001 - an event that cannot be read, say
                if held is not None:
                    await self._wait(held, error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await moved.wait()

    async def _lease(self, reaction: Reaction) -> _Held | None:
        standing = await self._ledger.lease(reaction.name)
        if standing is None:
            return None
        log.info("reaction_leased", reaction=reaction.name, position=standing.position)
        return _Held(reaction, standing.position, topics_of(reaction.takes))

    async def _step(self, held: _Held) -> bool:
        """One round; whether there is more to do at once."""
        now = time.monotonic()
        if now - held.looked_at >= LOOK:
            await self._look(held)
        metrics.tell(held.reaction.name, held.position, self._head)
        if held.position < self._head and held.not_before <= now and not held.paused:
            return await self._advance(held)
        if now - held.beaten >= BEAT:
            await self._beat(held)
        return False

    async def _look(self, held: _Held) -> None:
        """Take note of what operators ask, and try again what is due."""
        held.looked_at = time.monotonic()
        name = held.reaction.name
        standing = await self._ledger.standing(name)
        if standing.position != held.position:
            raise Fenced(name)
        held.paused = standing.paused
        await self._take_in(held, standing.open_items)
        if held.not_before > held.looked_at:
            return
        for waiting in list(held.waiting.values()):
            due = waiting.item.state == "retrying" and waiting.due
            if (waiting.item.state == "discarded" or due) and not held.paused:
                await self._mend(held, waiting)

    async def _take_in(self, held: _Held, open_items: int = 1) -> None:
        found = await self._ledger.open_items(held.reaction.name) if open_items else ()
        held.waiting = {waiting.item.stream_id: waiting for waiting in reversed(found)}
        metrics.quarantined.labels(held.reaction.name).set(len(held.waiting))

    async def _advance(self, held: _Held) -> bool:
        """React to a page of events; False where it has to wait."""
        name, head = held.reaction.name, self._head
        read = (self._source.page, held.position, head, self._page_size, held.topics)
        page = await self._read(*read)
        to = page[-1].position if len(page) == self._page_size else head
        keys = {recorded.position: key_of(name, recorded) for recorded in page}
        known: frozenset[UUID] = frozenset()
        if page:
            # Whoever brought these in from elsewhere moved the position in the same commit.
            standing = await self._ledger.standing(name)
            if standing.position != held.position:
                raise Fenced(name)
            held.paused = standing.paused
            if held.paused:
                return False
            known = await self._ledger.done(name, set(keys.values()))
        for recorded in page:
            key = keys[recorded.position]
            if recorded.stream_id in held.waiting or key in known or self._stale(held, recorded):
                continue
            try:
                effect = await self._react(held, recorded, key)
            except (Unavailable, *_LOST) as error:
                await self._wait(held, error)
                return False
            except Exception as error:  # noqa: BLE001 - whatever a reaction raises
                await self._poisoned(held, recorded, error)
                continue
            if effect is not None:
                moved = (held.position, recorded.position)
                if not await self._ledger.record(name, key, recorded.position, effect, moved=moved):
                    raise Fenced(name)
                held.position = recorded.position
        if held.position < to:
            status = "live" if to >= head else "catching_up"
            if not await self._ledger.advance(name, (held.position, to), status):
                raise Fenced(name)
            held.position = to
        held.failures, held.error = 0, None
        held.beaten = 0.0 if to >= self._head else time.monotonic()
        return True

    async def _react(self, held: _Held, recorded: Recorded, key: UUID) -> Effect | None:
        name = held.reaction.name
        started = time.perf_counter()
        try:
            if (broken := undecodable(recorded)) is not None:
                raise broken.error
            async with asyncio.timeout(WITHIN):
                effect = await held.reaction.react(recorded, key)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody asked for it: it would end this reaction for good, and in silence.
            raise RuntimeError("cancelled from within") from None
        metrics.events.labels(name).inc()
        metrics.seconds.labels(name).observe(time.perf_counter() - started)
        if effect is not None:
            metrics.effects.labels(name).inc()
        return effect

    def _stale(self, held: _Held, recorded: Recorded) -> bool:
        limit = held.reaction.stale_after
        if limit is None or self._clock() - recorded.recorded_at <= limit:
            return False
        metrics.stale.labels(held.reaction.name).inc()
        return True

    async def _wait(self, held: _Held, error: Exception) -> None:
        """Nothing is wrong with the event: the reaction stays where it is, and says why."""
        name = held.reaction.name
        metrics.failures.labels(name).inc()
        held.failures += 1
        held.error = f"{type(error).__name__} after position {held.position}"
        backoff = min(0.1 * 2**held.failures, MAX_BACKOFF)
        held.not_before = time.monotonic() + backoff
        log.warning("reaction_waits", reaction=name, reason=type(error).__name__, retry_in=backoff)
        await self._beat(held)

    async def _poisoned(self, held: _Held, recorded: Recorded, error: Exception) -> None:
        name = held.reaction.name
        await self._ledger.put(name, recorded, error)
        await self._take_in(held)
        metrics.poisoned.labels(name).inc()
        # The message may quote what people wrote; its type and place may not.
        log.error(
            "reaction_poisoned",
            reaction=name,
            position=recorded.position,
            stream_id=recorded.stream_id,
            topic=recorded.event.TOPIC,
            error=type(error).__name__,
        )

    async def _mend(self, held: _Held, waiting: Waiting) -> None:
        """React to an item's event and to what waits behind it, in order.

        A discarded event is left out. If a later one of the stream fails, it takes its place.
        """
        item, name = waiting.item, held.reaction.name
        first = item.position if item.state == "discarded" else item.position - 1
        read = (self._source.stream, item.stream_id, first, held.position, held.topics)
        events = await self._read(*read)
        keys = {recorded.position: key_of(name, recorded) for recorded in events}
        known = await self._ledger.done(name, set(keys.values()))
        for recorded in events:
            key = keys[recorded.position]
            if key in known:
                continue
            try:
                effect = await self._react(held, recorded, key)
            except (Unavailable, *_LOST) as error:
                await self._wait(held, error)
                return
            except Exception as error:  # noqa: BLE001 - whatever a reaction raises
                if recorded.position == item.position:
                    state = await self._ledger.failed_again(waiting, error)
                    log.warning(
                        "reaction_retry_failed",
                        reaction=name,
                        position=item.position,
                        state=state,
                    )
                    await self._take_in(held)
                    return
                await self._ledger.put(name, recorded, error)
                break
            if effect is not None:
                await self._ledger.record(name, key, recorded.position, effect, moved=None)
        await self._ledger.settle(waiting)
        held.failures, held.error = 0, None
        await self._take_in(held)
        log.info("reaction_mended", reaction=name, position=item.position)

    async def _beat(self, held: _Held) -> None:
        held.beaten = time.monotonic()
        if held.error is not None:
            status = "stalled"
        else:
            status = "live" if held.position >= self._head else "catching_up"
        await self._ledger.beat(held.reaction.name, status, held.error)


def _name_of(group: BaseExceptionGroup[Any]) -> str:
    first = group.exceptions[0]
    return _name_of(first) if isinstance(first, BaseExceptionGroup) else type(first).__name__
