"""The projector's loop: read once, decode once, give every view its events, commit together.

Views that are at the same position share a page and a transaction. When that transaction fails,
each view is tried alone, so that one with a fault holds up nobody else. A partition is worked on by
the process that holds its lease: when a process dies, its leases go with its connection and another
takes over (``holdings``).

Owns scheduling and batches. It does not own the meaning of an event (views do), nor how rows are
written (``writer``), nor rebuilding (``rebuild``).
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg.rows import tuple_row

from domain.event import Recorded
from projections.engine import checkpoints, mending, metrics, quarantine
from projections.engine.held import Held, Turn, turns_at
from projections.engine.holdings import BEAT, LOOK, Holdings
from projections.engine.outside import StoreUnavailable, writer_of
from projections.engine.pages import PAGE, PagesAhead
from projections.engine.quarantine import Waiting
from projections.engine.source import EventSource
from projections.engine.view import RowView
from projections.engine.writer import USERS_NAMED

__all__ = ["CHANNEL", "LOOK", "Fenced", "Runner", "notify"]

log = structlog.get_logger()

POLL = 1.0
"""Seconds between two looks when nobody wakes the projector."""
HEAD_GOOD = 0.2
"""Seconds for which a head is good enough while pages that were read ahead wait to be folded."""
MAX_BACKOFF = 10.0
"""Seconds at most between two tries of a view that fails."""
CHANNEL = "mindstream_projected"
Told = Callable[[Sequence[tuple[str, Container[str], int]], int, int, float], None]
"""Is told of each batch that committed: of each view its name, its topics and how many events it
folded; the positions after which and up to which; and seconds."""


class Fenced(Exception):
    """Another process has moved this checkpoint."""


def notify(
    connection: checkpoints.Connection,
    position: int,
    moved: Mapping[str, Sequence[int] | None],
    users: set[UUID] | None,
) -> None:
    """Say with the commit which partitions (None: all) of which projections are at a position.

    ``users`` are those whose rows changed; None: anybody's may have.
    """
    named = users is not None and len(users) <= USERS_NAMED
    notice = {
        "position": position,
        "projections": moved,
        "users": [str(user) for user in users or ()] if named else None,
    }
    connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, msgspec.json.encode(notice).decode()))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: a page makes many objects, none in cycles, all soon gone."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _is_lost(error: Exception) -> bool:
    """Whether it means that the database is gone, which is nothing that one view can wait out."""
    return isinstance(error, psycopg.OperationalError) and not isinstance(error, StoreUnavailable)


class Runner:
    """Keeps views up to date until it is told to stop; one thread.

    ``dsn`` is of the database that holds the rows, where it acts as ``role``. For ``gather``
    seconds after it has caught up events come together; one that comes later is folded at once.
    """

    def __init__(
        self,
        dsn: str,
        source: EventSource,
        views: Sequence[RowView[Any]],
        *,
        role: str = "mindstream_project",
        page: int = PAGE,
        tell: Told | None = None,
        gather: float = 0.0,
    ) -> None:
        self._tell = tell
        self._dsn = dsn
        self._role = role
        self._source = source
        self._views = {view.name: view for view in views}
        self._connection: checkpoints.Connection | None = None
        self._holdings: Holdings | None = None
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._head = 0
        self._headed_at = 0.0
        self._changes = 0
        self._gather = gather
        self._caught_up = False
        self._pages = PagesAhead(source, page)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. Survives the loss of either database."""
        delay = 0.1
        while not stop.is_set():
            try:
                busy = self.step()
                delay = 0.1
                if not busy:
                    self._source.wait(POLL)
                elif self._gather and self._caught_up:
                    stop.wait(self._gather)
            except psycopg.OperationalError as error:
                log.warning("projector_disconnected", reason=type(error).__name__)
                self.close()
                stop.wait(delay)
                delay = min(delay * 2, 2.0)
        self.close()

    def catch_up(self) -> None:
        """Work until every view has reached the head that there was at the beginning."""
        while self.step():
            pass

    def look(self) -> None:
        """Have the next step look at leases and at what operators ask, however short ago it did."""
        if self._holdings is not None:
            self._holdings.expire()

    def step(self) -> bool:
        """One round over all views; whether there is more to do at once.

        Raises:
            psycopg.OperationalError: a database does not answer.
        """
        connection, holdings = self._connected()
        holdings.look()
        for state, waiting in holdings.heed():
            try:
                self._mend(connection, holdings, state, waiting)
            except StoreUnavailable as error:
                self._failed(holdings, state, error, self._head)
        if holdings.changes != self._changes:
            self._changes = holdings.changes
            self._pages.forget()  # what was read ahead may be nobody's turn any more
        now = time.monotonic()
        if not self._pages.pending or now - self._headed_at > HEAD_GOOD:
            self._headed_at = now
            self._head = self._source.head()
        head = self._head
        waiting_states: list[Held] = []
        for state in holdings:
            metrics.tell(state.view.name, state.positions, head)
            if state.position < head and state.not_before <= now and not state.paused:
                waiting_states.append(state)
            elif now - state.beaten > BEAT:
                holdings.beat(state, head)
        if not waiting_states:
            return False
        # The hindmost first, up to the next one: so they meet, and from then on share their pages.
        places = {at for state in waiting_states for at in state.positions.values() if at < head}
        behind = min(places)
        to = min([head, *(places - {behind})])
        self._caught_up = to >= head
        with _uncollected():
            self._advance(connection, holdings, turns_at(waiting_states, behind), behind, to, head)
        return True

    def _advance(
        self,
        connection: checkpoints.Connection,
        holdings: Holdings,
        turns: list[Turn],
        behind: int,
        to: int,
        head: int,
    ) -> None:
        started = time.perf_counter()
        topics = sorted(frozenset[str]().union(*(turn.state.topics for turn in turns)))
        page, to = self._pages.read(behind, to, topics, turns[0].streams)
        if page:
            age = max(0.0, time.time() - page[0].recorded_at.timestamp())
            for turn in turns:
                metrics.gap_seconds.labels(turn.state.view.name).set(age)
        try:
            self._commit(connection, turns, page, behind, to, head, started)
            self._pages.took(len(page), time.perf_counter() - started)
            return
        except Exception as error:
            if _is_lost(error):
                raise
            for turn in turns:
                turn.state.writer = None  # its staging table went with the transaction
            if len(turns) == 1:
                self._recover(connection, holdings, turns[0], error, page, behind, to, head)
                return
        for turn in turns:
            try:
                self._commit(connection, [turn], page, behind, to, head, time.perf_counter())
            except Exception as error:
                if _is_lost(error):
                    raise
                turn.state.writer = None
                self._recover(connection, holdings, turn, error, page, behind, to, head)

    def _recover(
        self,
        connection: checkpoints.Connection,
        holdings: Holdings,
        turn: Turn,
        error: Exception,
        page: Sequence[Recorded],
        behind: int,
        to: int,
        head: int,
    ) -> None:
        """Go on after a page that one view could not commit."""
        try:
            if isinstance(error, Fenced):
                raise error
            if isinstance(error, StoreUnavailable):
                self._failed(holdings, turn.state, error, head)
                return
            self._isolate(connection, holdings, turn, page, behind, to, head)
        except Fenced:
            # Rebuilt or taken over: look again where it is now.
            holdings.forget(turn.state)

    def _isolate(
        self,
        connection: checkpoints.Connection,
        holdings: Holdings,
        turn: Turn,
        page: Sequence[Recorded],
        behind: int,
        to: int,
        head: int,
    ) -> None:
        """Commit a page that failed, but for the poisoned events and those behind them."""
        state = turn.state
        name = state.view.name
        metrics.failures.labels(name).inc()
        started = time.perf_counter()
        try:
            with connection.transaction():
                status = "live" if to >= head else "catching_up"
                self._move(connection, [turn], behind, to, status, started)
                writer = writer_of(state.view, connection, state.view.table)
                poisoned = mending.apply_what_can_be(connection, writer, state.mine(page))
                for event, fault in poisoned:
                    quarantine.put(connection, name, event, fault, state.view.partitions)
                    metrics.poisoned.labels(name).inc()
                notify(connection, to, {name: turn.told()}, None)
        except Fenced:
            raise
        except Exception as error:
            if _is_lost(error):
                raise
            self._failed(holdings, state, error, head)
            return
        for event, fault in poisoned:
            log.error(
                "projection_poisoned",
                projection=name,
                position=event.position,
                stream_id=event.stream_id,
                topic=event.event.TOPIC,
                error=quarantine.describe(fault),
            )
        turn.moved(to)
        state.beaten = time.monotonic()
        holdings.take_in(state)

    def _mend(
        self,
        connection: checkpoints.Connection,
        holdings: Holdings,
        state: Held,
        waiting: Waiting,
    ) -> None:
        self._pages.settle()
        name, partition = state.view.name, waiting.item.partition
        position = state.positions[partition]
        with connection.transaction():
            row = connection.execute(checkpoints.LOCK, (name, partition)).fetchone()
            if row != (state.generation, position):
                return  # rebuilt meanwhile: the next batch finds out
            writer = writer_of(state.view, connection, state.view.table)
            mending.mend(connection, writer, self._source, waiting, position)
            checkpoints.revise(connection, name)
            moved = Turn(state, (partition,)).told()
            notify(connection, position, {name: moved}, None)
        holdings.take_in(state)

    def _commit(
        self,
        connection: checkpoints.Connection,
        turns: list[Turn],
        page: Sequence[Recorded],
        behind: int,
        to: int,
        head: int,
        started: float,
    ) -> None:
        users: set[UUID] | None = set()
        counts: dict[str, int] = {}
        status = "live" if to >= head else "catching_up"
        with connection.transaction():
            # First the checkpoints: their locks fence, and come before those of the rows.
            self._move(connection, turns, behind, to, status, started)
            for state, _ in turns:
                mine = state.mine(page)
                counts[state.view.name] = len(mine)
                if mine:
                    touched = state.writes(connection).apply(mine)
                    users = None if users is None or touched is None else users | touched
            notify(connection, to, {turn.state.view.name: turn.told() for turn in turns}, users)
        seconds = time.perf_counter() - started
        if self._tell is not None:
            views = [(each.view.name, each.topics, counts[each.view.name]) for each, _ in turns]
            self._tell(views, behind, to, seconds)
        for turn in turns:
            turn.moved(to)
            state = turn.state
            state.failures = 0
            state.error = None
            state.beaten = time.monotonic()
            count = counts[state.view.name]
            state.rate = count / seconds if count else state.rate
            metrics.events.labels(state.view.name).inc(count)
            metrics.batch.labels(state.view.name).observe(seconds)
            metrics.tell(state.view.name, state.positions, head)

    def _move(
        self,
        connection: checkpoints.Connection,
        turns: Sequence[Turn],
        behind: int,
        to: int,
        status: str,
        started: float,
    ) -> None:
        held = [(turn.state, partition) for turn in turns for partition in turn.partitions]
        moved = connection.execute(
            checkpoints.ADVANCE,
            {
                "names": [state.view.name for state, _ in held],
                "partitions": [partition for _, partition in held],
                "generations": [state.generation for state, _ in held],
                "rates": [state.rate for state, _ in held],
                "from": behind,
                "to": to,
                "status": status,
                "owner": self._owner,
                "batch_seconds": time.perf_counter() - started,
            },
            prepare=True,
        )
        if moved.rowcount != len(held):
            raise Fenced(", ".join(turn.state.view.name for turn in turns))

    def _failed(self, holdings: Holdings, state: Held, error: Exception, head: int) -> None:
        state.writer = None
        metrics.failures.labels(state.view.name).inc()
        state.failures += 1
        why = str(error) if isinstance(error, StoreUnavailable) else type(error).__name__
        state.error = f"{why} after position {state.position}"
        backoff = min(0.1 * 2**state.failures, MAX_BACKOFF)
        state.not_before = time.monotonic() + (0 if state.failures == 1 else backoff)
        # The message may quote a row, which may be private; its type and place may not.
        log.error(
            "projection_failed",
            projection=state.view.name,
            after=state.position,
            error=type(error).__name__,
            sqlstate=getattr(error, "sqlstate", None),
            retry_in=backoff,
        )
        holdings.beat(state, head)

    def _connected(self) -> tuple[checkpoints.Connection, Holdings]:
        if self._connection is None or self._connection.closed or self._holdings is None:
            self._connection = connection = self._connect()
            self._holdings = Holdings(connection, self._views, self._owner)
        return self._connection, self._holdings

    def _connect(self) -> checkpoints.Connection:
        return psycopg.connect(
            self._dsn,
            autocommit=True,
            row_factory=tuple_row,
            connect_timeout=5,
            # Rows and checkpoint are lost together or not at all, and what is lost is folded again:
            # waiting for the disk would buy nothing. A machine that is cut off loses its leases
            # within five seconds, and learns of it as soon.
            options=f"-c role={self._role} -c timezone=UTC -c synchronous_commit=off"
            " -c enable_seqscan=off -c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1"
            " -c tcp_keepalives_count=2 -c tcp_user_timeout=4000",
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=2,
            tcp_user_timeout=4000,
            application_name="mindstream-projector",
        )

    def close(self) -> None:
        """Give up connections and leases; ``step`` takes them again."""
        for state in self._holdings or ():
            for partition in state.positions:
                metrics.forget(state.view.name, partition)
        self._holdings = None
        self._pages.forget()
        self._source.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
