"""The projector's loop: read once, decode once, give every view its events, commit together.

Views that are at the same position share a page and a transaction. When that transaction fails,
each view is tried alone, so that one with a fault holds up nobody else. A view is worked on by the
process that holds its lease, a session lock in the database of its rows: when a process dies, its
locks go with its connection and another takes over.

Owns scheduling, batches and telemetry. It does not own the meaning of an event (views do), nor how
rows are written (``writer``), nor rebuilding (``rebuild``).
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg.rows import tuple_row

from domain.event import Recorded
from projections.engine import checkpoints, mending, metrics, quarantine
from projections.engine.checkpoints import Checkpoint
from projections.engine.held import Held
from projections.engine.pages import PAGE, PagesAhead
from projections.engine.quarantine import Waiting
from projections.engine.source import EventSource
from projections.engine.view import RowView
from projections.engine.writer import USERS_NAMED, ViewWriter

log = structlog.get_logger()

POLL = 1.0
"""Seconds between two looks when nobody wakes the projector."""
LOOK = 0.5
"""Seconds between two looks for what operators ask: pauses, retries and discards."""
BEAT = 3.0
"""Seconds between two signs of life of a view that has nothing to do."""
MAX_BACKOFF = 10.0
"""Seconds at most between two tries of a view that fails."""
CHANNEL = "mindstream_projected"


class Fenced(Exception):
    """Another process has moved this checkpoint."""


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


class Runner:
    """Keeps views up to date until it is told to stop; one thread.

    ``dsn`` is of the database that holds the rows, where it acts as ``role``.
    """

    def __init__(
        self,
        dsn: str,
        source: EventSource,
        views: Sequence[RowView[Any]],
        *,
        role: str = "mindstream_project",
        page: int = PAGE,
    ) -> None:
        self._dsn = dsn
        self._role = role
        self._source = source
        self._views = {view.name: view for view in views}
        self._connection: checkpoints.Connection | None = None
        self._held: dict[str, Held] = {}
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._leased_at = 0.0
        self._looked_at = 0.0
        self._head = 0
        self._pages = PagesAhead(source, page)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. Survives the loss of either database."""
        delay = 0.1
        while not stop.is_set():
            try:
                busy = self.step()
                delay = 0.1
                if not busy:
                    self._source.wait(POLL if self._held else BEAT)
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

    def step(self) -> bool:
        """One round over all views; whether there is more to do at once.

        Raises:
            psycopg.OperationalError: a database does not answer.
        """
        connection = self._connected()
        self._lease(connection)
        now = time.monotonic()
        if now - self._looked_at >= LOOK:
            self._look(connection)
        if not self._pages.pending:
            self._head = self._source.head()
        head = self._head
        waiting = [
            state
            for state in self._held.values()
            if state.position < head and state.not_before <= now and not state.paused
        ]
        for state in self._held.values():
            metrics.tell(state.view.name, state.position, head)
            if state not in waiting and now - state.beaten > BEAT:
                self._beat(connection, state, head)
        if not waiting:
            return False
        # The hindmost first, up to the next one: so they meet, and from then on share their pages.
        behind = min(state.position for state in waiting)
        group = [state for state in waiting if state.position == behind]
        others = [state.position for state in waiting if state.position > behind]
        with _uncollected():
            self._advance(connection, group, behind, min([head, *others]), head)
        return True

    def _advance(
        self,
        connection: checkpoints.Connection,
        group: list[Held],
        behind: int,
        to: int,
        head: int,
    ) -> None:
        started = time.perf_counter()
        topics = sorted(frozenset[str]().union(*(state.topics for state in group)))
        page, to = self._pages.read(behind, to, topics)
        if page:
            age = max(0.0, time.time() - page[0].recorded_at.timestamp())
            for state in group:
                metrics.gap_seconds.labels(state.view.name).set(age)
        try:
            self._commit(connection, group, page, behind, to, head, started)
        except psycopg.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a fold raises
            for state in group:
                state.writer = None  # its staging table went with the transaction
            if len(group) == 1:
                self._recover(connection, group[0], error, page, behind, to, head)
                return
            for state in group:
                try:
                    self._commit(connection, [state], page, behind, to, head, time.perf_counter())
                except psycopg.OperationalError:
                    raise
                except Exception as one:  # noqa: BLE001 - likewise
                    state.writer = None
                    self._recover(connection, state, one, page, behind, to, head)

    def _recover(
        self,
        connection: checkpoints.Connection,
        state: Held,
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
            self._isolate(connection, state, page, behind, to, head)
        except Fenced:
            self._forget(connection, state)  # rebuilt or taken over: look again where it is now

    def _isolate(
        self,
        connection: checkpoints.Connection,
        state: Held,
        page: Sequence[Recorded],
        behind: int,
        to: int,
        head: int,
    ) -> None:
        """Commit a page that failed, but for the poisoned events and those behind them."""
        name = state.view.name
        metrics.failures.labels(name).inc()
        started = time.perf_counter()
        try:
            with connection.transaction():
                status = "live" if to >= head else "catching_up"
                self._move(connection, state, behind, to, status, started)
                writer = ViewWriter(state.view, connection, state.view.table)
                poisoned = mending.apply_what_can_be(connection, writer, state.mine(page))
                for event, fault in poisoned:
                    quarantine.put(connection, name, event, fault)
                    metrics.poisoned.labels(name).inc()
                self._notify(connection, to, [name], None)
        except (psycopg.OperationalError, Fenced):
            raise
        except Exception as error:  # noqa: BLE001 - not an event's fault: the view's, or ours
            self._failed(connection, state, error, head)
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
        state.position = to
        state.beaten = time.monotonic()
        self._take_in(connection, state)

    def _look(self, connection: checkpoints.Connection) -> None:
        """Take note of what operators ask, and try again what is due."""
        self._looked_at = time.monotonic()
        paused = {name for (name,) in connection.execute(checkpoints.PAUSED)}
        for state in list(self._held.values()):
            state.paused = state.view.name in paused
            self._take_in(connection, state)
            for waiting in list(state.waiting.values()):
                if waiting.item.state == "discarded" or (
                    waiting.item.state == "retrying" and waiting.due and not state.paused
                ):
                    self._mend(connection, state, waiting)

    def _take_in(self, connection: checkpoints.Connection, state: Held) -> None:
        found = quarantine.open_items(connection, state.view.name)
        state.waiting = {waiting.item.stream_id: waiting for waiting in reversed(found)}
        metrics.quarantined.labels(state.view.name).set(len(state.waiting))

    def _mend(self, connection: checkpoints.Connection, state: Held, waiting: Waiting) -> None:
        self._pages.settle()
        with connection.transaction():
            row = connection.execute(checkpoints.LOCK, (state.view.name,)).fetchone()
            if row != (state.generation, state.position):
                return  # rebuilt meanwhile: the next batch finds out
            writer = ViewWriter(state.view, connection, state.view.table)
            mending.mend(
                connection, writer, self._source, waiting, state.position, sorted(state.topics)
            )
            self._notify(connection, state.position, [state.view.name], None)
        self._take_in(connection, state)

    def _commit(
        self,
        connection: checkpoints.Connection,
        group: list[Held],
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
            for state in group:
                self._move(connection, state, behind, to, status, started)
            for state in group:
                if state.writer is None:
                    state.writer = ViewWriter(state.view, connection, state.view.table)
                mine = state.mine(page)
                counts[state.view.name] = len(mine)
                if mine:
                    touched = state.writer.apply(mine)
                    users = None if users is None or touched is None else users | touched
            self._notify(connection, to, [state.view.name for state in group], users)
        seconds = time.perf_counter() - started
        for state in group:
            state.position = to
            state.failures = 0
            state.error = None
            state.beaten = time.monotonic()
            count = counts[state.view.name]
            state.rate = count / seconds if count else state.rate
            metrics.events.labels(state.view.name).inc(count)
            metrics.batch.labels(state.view.name).observe(seconds)
            metrics.tell(state.view.name, state.position, head)

    def _notify(
        self,
        connection: checkpoints.Connection,
        position: int,
        names: list[str],
        users: set[UUID] | None,
    ) -> None:
        """Say how far these are and whose rows changed (None: anybody's), with the commit."""
        named = users is not None and len(users) <= USERS_NAMED
        notice = {
            "position": position,
            "projections": names,
            "users": [str(user) for user in users or ()] if named else None,
        }
        connection.execute(
            "SELECT pg_notify(%s, %s)", (CHANNEL, msgspec.json.encode(notice).decode())
        )

    def _move(
        self,
        connection: checkpoints.Connection,
        state: Held,
        behind: int,
        to: int,
        status: str,
        started: float,
    ) -> None:
        moved = connection.execute(
            checkpoints.ADVANCE,
            {
                "name": state.view.name,
                "generation": state.generation,
                "from": behind,
                "to": to,
                "status": status,
                "owner": self._owner,
                "batch_seconds": time.perf_counter() - started,
                "events_per_second": state.rate,
            },
            prepare=True,
        )
        if moved.rowcount != 1:
            raise Fenced(state.view.name)

    def _failed(
        self, connection: checkpoints.Connection, state: Held, error: Exception, head: int
    ) -> None:
        state.writer = None
        metrics.failures.labels(state.view.name).inc()
        state.failures += 1
        state.error = f"{type(error).__name__} after position {state.position}"
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
        self._beat(connection, state, head)

    def _beat(self, connection: checkpoints.Connection, state: Held, head: int) -> None:
        if state.error is not None:
            status = "stalled"
        else:
            status = "live" if state.position >= head else "catching_up"
        connection.execute(
            checkpoints.BEAT, (status, self._owner, state.error, state.view.name), prepare=True
        )
        state.beaten = time.monotonic()

    def _lease(self, connection: checkpoints.Connection) -> None:
        missing = [view for name, view in self._views.items() if name not in self._held]
        if not missing or time.monotonic() - self._leased_at < 0.5:
            return
        self._leased_at = time.monotonic()
        checkpoints.ensure(connection, [(view.name, view.version) for view in missing])
        for view in missing:
            row = connection.execute(checkpoints.TRY_LEASE, (view.name,)).fetchone()
            if row is None or not row[0]:
                continue
            checkpoint = checkpoints.read_all(connection)[view.name]
            if checkpoint.version != view.version:
                self._announce(connection, view, checkpoint)
                continue
            state = self._held[view.name] = Held(view, checkpoint)
            self._take_in(connection, state)
            log.info("projection_leased", projection=view.name, position=checkpoint.position)

    def _announce(
        self, connection: checkpoints.Connection, view: RowView[Any], built: Checkpoint
    ) -> None:
        """Rows of another version stay as they are, and say so, until somebody rebuilds them."""
        remedy = f"version {view.version} waits for: mindstream projections rebuild {view.name}"
        if built.error != remedy:
            log.error("projection_version_changed", projection=view.name, built=built.version)
        connection.execute(checkpoints.BEAT, ("stopped", self._owner, remedy, view.name))
        connection.execute(checkpoints.RELEASE, (view.name,))

    def _forget(self, connection: checkpoints.Connection, state: Held) -> None:
        connection.execute(checkpoints.RELEASE, (state.view.name,))
        del self._held[state.view.name]
        self._leased_at = 0.0

    def _connected(self) -> checkpoints.Connection:
        if self._connection is None or self._connection.closed:
            self._held = {}
            self._connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                row_factory=tuple_row,
                connect_timeout=5,
                # Rows and checkpoint are lost together or not at all, and what is lost is folded
                # again: waiting for the disk would buy nothing.
                options=f"-c role={self._role} -c timezone=UTC -c synchronous_commit=off"
                " -c enable_seqscan=off",
                application_name="mindstream-projector",
            )
        return self._connection

    def close(self) -> None:
        """Give up connections and leases; ``step`` takes them again."""
        self._held = {}
        self._pages.forget()
        self._source.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
