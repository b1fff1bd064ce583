"""Folding pages of events into the tables of generations, several of them from one reading.

Owns one part's way through the events: a page is read and decoded once, and each generation that
stands where it begins folds what it takes, rows and position in a transaction of its own. So one
that fails or waits holds up no other. Which processes do it, and until when, is ``growing``'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg
import structlog
from psycopg.rows import tuple_row

from domain.event import Recorded, topics_of, undecodable
from projections.engine import generations, mending, quarantine
from projections.engine.checkpoints import Connection
from projections.engine.generations import Generation
from projections.engine.outside import writer_of
from projections.engine.pages import PAGE, PagesAhead
from projections.engine.source import WHOLE, EventSource, Slice
from projections.engine.view import RowView

log = structlog.get_logger()

HEED_EVERY = 0.2
"""Seconds between two looks at what operators want, and at how far the parts are."""

GO, WAIT, LEAVE = range(3)
"""What each generation's folding is to do."""


class Target(msgspec.Struct, frozen=True):
    """A generation to be filled, and the view whose rows it has."""

    view: RowView[Any]
    generation: Generation

    @property
    def shadow(self) -> str:
        """The name under which its quarantine is kept."""
        return f"{self.generation.name}@g{self.generation.generation}"


def connect(dsn: str, role: str, purpose: str) -> Connection:
    """A connection that owns read models; what it commits may be lost and is then done again."""
    return psycopg.connect(
        dsn,
        autocommit=True,
        row_factory=tuple_row,
        options=f"-c role={role} -c timezone=UTC -c synchronous_commit=off -c enable_seqscan=off",
        application_name=f"mindstream-{purpose}",
    )


class Folding:
    """Folds the pages of one part into the generation's table, position and rows together."""

    def __init__(self, connection: Connection, target: Target, part: generations.Part) -> None:
        self.part = part
        self.position = part.position
        self.topics = tuple(topics_of(target.view.takes))
        self._connection = connection
        self._target = target
        self._takes = frozenset(target.view.takes)
        self._left_out = quarantine.discarded(connection, target.view.name)
        found = quarantine.open_items(connection, target.shadow)
        self._blocked = {waiting.item.stream_id for waiting in found}
        self._writer = writer_of(target.view, connection, target.generation.table)

    @property
    def streams(self) -> Slice:
        """Which streams the part has."""
        return WHOLE if self.part.parts == 1 else Slice((self.part.index,), self.part.parts)

    def take(self, page: Sequence[Recorded], to: int, *, all_mine: bool) -> None:
        """Fold what the view takes of a page (``all_mine``: all) that reaches up to ``to``."""
        taken = page if all_mine else [event for event in page if self._is_mine(event)]
        mine = taken
        if self._blocked or self._left_out:
            mine = [
                event
                for event in taken
                if event.stream_id not in self._blocked and event.position not in self._left_out
            ]
        try:
            with self._connection.transaction():
                self._move(to, len(taken))
                if mine:
                    self._writer.apply(mine)
        except psycopg.OperationalError:
            raise
        except Exception:  # noqa: BLE001 - whatever a fold or a row raises
            self._isolate(mine, to, len(taken))
        self.position = to

    def _is_mine(self, recorded: Recorded) -> bool:
        if type(recorded.event) in self._takes:
            return True
        broken = undecodable(recorded)
        return broken is not None and broken.TOPIC in self.topics

    def _isolate(self, events: Sequence[Recorded], to: int, count: int) -> None:
        self._writer.forget_staging()
        try:
            with self._connection.transaction():
                self._move(to, count)
                self._put(mending.apply_what_can_be(self._connection, self._writer, events))
        except mending.TooManyPoisoned as many:
            self._put(many.poisoned)  # no way on, but it can be told what was found
            raise

    def _put(self, poisoned: Sequence[mending.Poisoned]) -> None:
        for event, error in poisoned:
            quarantine.put(self._connection, self._target.shadow, event, error)
            self._blocked.add(event.stream_id)

    def _move(self, to: int, count: int) -> None:
        made = self._target.generation
        moved = self._connection.execute(
            generations.ADVANCE,
            (to, count, made.name, made.generation, self.part.index, self.position),
            prepare=True,
        )
        if moved.rowcount != 1:
            raise psycopg.OperationalError("another process builds this part")


def fold(
    source: EventSource,
    foldings: Sequence[Folding],
    goal: int,
    *,
    states: Sequence[int],
    failed: list[bool],
    tick: Callable[[], bool],
) -> None:
    """Take all foldings, which are of the same part, up to ``goal``.

    ``states`` says what each is to do, and may be changed meanwhile. One that cannot go on is
    marked in ``failed``; the others go on. ``tick`` is called before each page, and says whether
    to go on at all.

    Raises:
        psycopg.OperationalError: the database does not answer.
    """
    ahead = PagesAhead(source, PAGE)
    streams = foldings[0].streams
    try:
        while tick():
            left = [at for at, each in enumerate(foldings) if each.position < goal]
            left = [at for at in left if not failed[at] and states[at] != LEAVE]
            if not left:
                return
            going = [at for at in left if states[at] == GO]
            if not going:
                threading.Event().wait(HEED_EVERY)
                continue
            position = min(foldings[at].position for at in going)
            chosen = [at for at in going if foldings[at].position == position]
            # Up to where the next one stands, so that they meet and share pages from there.
            beyond = [foldings[at].position for at in going if at not in chosen]
            topics = sorted({topic for at in chosen for topic in foldings[at].topics})
            started = time.perf_counter()
            page, to = ahead.read(position, min(beyond, default=goal), topics, streams)
            for at in chosen:
                one = foldings[at]
                try:
                    one.take(page, to, all_mine=len(topics) == len(one.topics))
                except psycopg.OperationalError:
                    raise
                except Exception as error:  # noqa: BLE001 - it must not stop the others
                    log.warning("rebuild_failed", reason=quarantine.describe(error))
                    failed[at] = True
            ahead.took(len(page), time.perf_counter() - started)
    finally:
        ahead.forget()


def close_up(connection: Connection, source: EventSource, target: Target, goal: int) -> None:
    """Fold the few events up to ``goal`` in every part, in the caller's transaction.

    Raises:
        Unfoldable: they cannot be.
    """
    failed = [False]
    for part in generations.parts_of(connection, target.generation):
        alone = [Folding(connection, target, part)]
        fold(source, alone, goal, states=[GO], failed=failed, tick=lambda: True)
        if failed[0]:
            raise Unfoldable(target.view.name)


class Unfoldable(Exception):
    """So many events of one page fail that nothing but the view can be to blame."""
