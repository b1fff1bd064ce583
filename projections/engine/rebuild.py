"""Rebuilding a view: a shadow grows beside the live table and takes its place in one transaction.

Readers see the live rows until the swap and the new ones after it, never an empty table. Owns the
shadow and the swap. The live projector goes on meanwhile; the swap takes the checkpoint's lock, so
the projector's next batch finds itself fenced and looks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier

from domain.event import topics_of
from projections.engine import checkpoints
from projections.engine.runner import CHANNEL, PAGE
from projections.engine.source import EventSource
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter

log = structlog.get_logger()

CLOSE = 2_000
"""Events that may be left for the transaction of the swap, which holds up the live projector."""
SWAP_LOCK = "500ms"
"""How long the swap waits for the live table before it lets readers pass and tries again."""
SWAP_TRIES = 120


class AlreadyRebuilding(Exception):
    """Another process rebuilds this projection."""


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is; ``eta_seconds`` is None until the speed is known."""

    events_done: int
    events_total: int
    events_per_second: float
    eta_seconds: float | None

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return self.events_done / self.events_total if self.events_total else 1.0


class Report(msgspec.Struct, frozen=True):
    """What a rebuild did: the API's result of a rebuild as far as it is known here."""

    projection: str
    generation: int
    position: int
    rows: int
    events: int
    seconds: float
    swapped: bool


def plan(source: EventSource, view: RowView[Any]) -> dict[str, int]:
    """How many events of each topic a rebuild would read."""
    head = source.head()
    return {topic: source.count(0, head, [topic]) for topic in topics_of(view.takes)}


def rebuild(
    dsn: str,
    source: EventSource,
    view: RowView[Any],
    *,
    tell: Callable[[Progress], None] = lambda progress: None,
    role: str = "mindstream_project",
) -> Report:
    """Build the view anew from all events and put it in the place of the live one.

    Raises:
        AlreadyRebuilding: somebody else does so now.
        psycopg.Error: a database does not answer; the live view is as it was.
    """
    connection: checkpoints.Connection = psycopg.connect(
        dsn,
        autocommit=True,
        row_factory=tuple_row,
        options=f"-c role={role} -c timezone=UTC -c synchronous_commit=off -c enable_seqscan=off",
        application_name="mindstream-rebuild",
    )
    with connection:
        lease = f"rebuild:{view.name}"
        row = connection.execute(checkpoints.TRY_LEASE, (lease,)).fetchone()
        if row is None or not row[0]:
            raise AlreadyRebuilding(view.name)
        checkpoints.ensure(connection, [(view.name, view.version)])
        shadow = f"{view.table}__shadow"
        try:
            _make_shadow(connection, view.table, shadow)
            return _build(connection, source, view, shadow, tell)
        finally:
            if not connection.closed:
                connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(shadow)))
                connection.execute(checkpoints.REBUILDING, (None, view.name))


def _make_shadow(connection: checkpoints.Connection, table: str, shadow: str) -> None:
    connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(shadow)))
    connection.execute("SELECT mirror_table(%s, %s)", (table, shadow))


def _build(
    connection: checkpoints.Connection,
    source: EventSource,
    view: RowView[Any],
    shadow: str,
    tell: Callable[[Progress], None],
) -> Report:
    topics = topics_of(view.takes)
    writer = ViewWriter(view, connection, shadow)
    started = time.monotonic()
    position = done = 0
    head = source.head()
    total = source.count(0, head, topics)
    while True:
        page = source.page(position, head, PAGE, topics)
        if page:
            with connection.transaction():
                writer.apply(page)
        position = page[-1].position if len(page) == PAGE else head
        done += len(page)
        total = max(total, done)
        speed = done / max(time.monotonic() - started, 1e-6)
        progress = Progress(done, total, speed, (total - done) / speed if done else None)
        tell(progress)
        _publish(connection, view, progress)
        if position >= head:
            newer = source.head()
            if newer - position <= CLOSE:
                break
            total += source.count(head, newer, topics)
            head = newer
    return _swap(connection, source, view, writer, shadow, position, done, started)


def _publish(connection: checkpoints.Connection, view: RowView[Any], progress: Progress) -> None:
    connection.execute(
        checkpoints.REBUILDING,
        (
            msgspec.json.encode(
                {
                    "state": "running",
                    "progress": round(progress.fraction, 4),
                    "eta_seconds": progress.eta_seconds,
                    "events_done": progress.events_done,
                    "events_total": progress.events_total,
                    "events_per_second": round(progress.events_per_second, 1),
                }
            ).decode(),
            view.name,
        ),
    )


def _swap(
    connection: checkpoints.Connection,
    source: EventSource,
    view: RowView[Any],
    writer: ViewWriter,
    shadow: str,
    position: int,
    done: int,
    started: float,
) -> Report:
    topics = topics_of(view.takes)
    retired = f"{view.table}__retired"
    for attempt in range(SWAP_TRIES):
        try:
            with connection.transaction():
                # The checkpoint first, as the projector does: the two cannot wait for each other.
                row = connection.execute(checkpoints.LOCK, (view.name,)).fetchone()
                assert row is not None
                generation, live = row
                to = max(source.head(), live)
                behind, folded = position, done
                while behind < to:
                    page = source.page(behind, to, PAGE, topics)
                    if page:
                        writer.apply(page)
                    folded += len(page)
                    behind = page[-1].position if len(page) == PAGE else to
                connection.execute(SQL(f"SET LOCAL lock_timeout = '{SWAP_LOCK}'"))
                rename = SQL("ALTER TABLE {} RENAME TO {}")
                connection.execute(rename.format(Identifier(view.table), Identifier(retired)))
                connection.execute(rename.format(Identifier(shadow), Identifier(view.table)))
                connection.execute(checkpoints.SWAP, (view.version, to, view.name))
                rows = connection.execute(
                    SQL("SELECT count(*) FROM {}").format(Identifier(view.table))
                ).fetchone()
                notice = {"position": to, "projections": [view.name], "users": None}
                connection.execute(
                    "SELECT pg_notify(%s, %s)", (CHANNEL, msgspec.json.encode(notice).decode())
                )
            break
        except psycopg.errors.LockNotAvailable:
            log.info("rebuild_swap_waits", projection=view.name, attempt=attempt)
    else:
        raise TimeoutError(f"{view.table} was never free for the swap")
    connection.execute(SQL("DROP TABLE {}").format(Identifier(retired)))
    assert rows is not None
    return Report(
        projection=view.name,
        generation=generation + 1,
        position=to,
        rows=rows[0],
        events=folded,
        seconds=round(time.monotonic() - started, 3),
        swapped=True,
    )
