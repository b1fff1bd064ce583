"""Finding the poisoned events of a failing batch, and folding them once they can be.

Owns the bisecting and the retrying. It runs inside the runner's transactions, with the checkpoint's
lock held, so that order within a stream is kept whoever asks for a retry at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import structlog

from domain.event import Recorded, topics_of
from projections.engine import erasure, quarantine
from projections.engine.checkpoints import Connection
from projections.engine.outside import Writer
from projections.engine.quarantine import Waiting
from projections.engine.source import EventSource

log = structlog.get_logger()

MOST = 50
"""Poisoned events in one batch beyond which the view is at fault and not its events."""

Poisoned = tuple[Recorded, Exception]


class TooManyPoisoned(Exception):
    """So many events of one batch fail that nothing but the view can be to blame.

    ``poisoned`` are the first of them.
    """

    def __init__(self, why: str, poisoned: Sequence[Poisoned]) -> None:
        super().__init__(why)
        self.poisoned = poisoned


def apply_what_can_be(
    connection: Connection, writer: Writer, events: Sequence[Recorded]
) -> list[Poisoned]:
    """Fold all events but those that fail and those behind them in their streams.

    Halves what fails until single events are left: of n events with one fault some 2 log n parts
    are folded again. An event about somebody who was erased is no poison: the rows that it tells of
    are gone, or will be.

    Raises:
        psycopg.OperationalError: the database, not an event, is at fault.
        TooManyPoisoned: the view is.
    """
    poisoned: list[Poisoned] = []
    blocked: set[str] = set()

    def fold(part: Sequence[Recorded]) -> None:
        part = [event for event in part if event.stream_id not in blocked]
        if not part:
            return
        try:
            with savepoint(connection, writer):
                writer.apply(part, careful=True)
        except (psycopg.OperationalError, TooManyPoisoned):
            raise
        except Exception as error:
            if len(part) == 1:
                if erasure.is_of_erased(connection, part[0]):
                    return
                poisoned.append((part[0], error))
                blocked.add(part[0].stream_id)
                if len(poisoned) > MOST:
                    raise TooManyPoisoned(quarantine.describe(error), poisoned) from error
                return
            middle = len(part) // 2
            fold(part[:middle])
            fold(part[middle:])

    fold(events)
    return poisoned


@contextmanager
def savepoint(connection: Connection, writer: Writer) -> Iterator[None]:
    """A part of the transaction that can fail alone."""
    try:
        with connection.transaction():
            yield
    except BaseException:
        writer.forget_staging()  # a staging table made here went with it
        raise


def mend(
    connection: Connection,
    writer: Writer,
    source: EventSource,
    waiting: Waiting,
    through: int,
) -> bool:
    """Fold an item's event and what waits behind it, up to the checkpoint; whether it is settled.

    A discarded event is left out. If a later event of the stream fails, what came before it stays
    and that one is put into quarantine in its place.
    """
    item = waiting.item
    first = item.position if item.state == "discarded" else item.position - 1
    events = source.stream(item.stream_id, first, through, topics_of(writer.view.takes))
    done = 0
    for event in events:
        try:
            with savepoint(connection, writer):
                writer.apply([event], careful=True)
        except psycopg.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a fold or a row raises
            if erasure.is_of_erased(connection, event):
                continue
            if event.position == item.position:
                state = quarantine.failed_again(connection, waiting, error)
                log.warning(
                    "quarantine_retry_failed",
                    projection=item.projection,
                    position=item.position,
                    state=state,
                )
                return False
            quarantine.put(connection, item.projection, event, error, writer.view.partitions)
            break
        done += 1
    quarantine.settle(connection, item)
    log.info("quarantine_settled", projection=item.projection, position=item.position, folded=done)
    return True
