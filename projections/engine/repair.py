"""Repairing rows in place: one, or those of a range of time, folded anew under the locks.

Owns what is done to the live generation without a swap. The checkpoints' locks hold its projector
up for a few streams at a time, so that nothing is folded into a row meanwhile.

A range takes the rows whose streams have an event recorded in it, and folds each of them anew from
all of its events. A view whose rows are not of one stream has no such rows; one with another way to
repair a range says so by ``ranged`` and is to be handled in ``rebuild_range``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from domain.accounts.events import SubjectErased
from domain.event import Recorded, topics_of
from projections.engine import generations, quarantine, series
from projections.engine.building import Cancelled, Progress, Signal
from projections.engine.checkpoints import Connection, partition_of, revise
from projections.engine.generations import Live
from projections.engine.growing import Sources
from projections.engine.outcomes import PoisonMet, RangeNotSupported, Report, UnknownKey
from projections.engine.outside import writer_of
from projections.engine.pages import PAGE
from projections.engine.runner import notify
from projections.engine.source import EventSource
from projections.engine.view import RowView

STREAMS_AT_ONCE = 100
"""Streams whose rows are folded in one transaction, which holds up the live projector."""
EVENTS_AT_ONCE = 5_000
"""Events after which a transaction takes no further stream."""
HEED_EVERY = 0.2

# The partition stands beside each stream, since its live rows are as far as that one is. All are
# copied here, since they may come from another database.
MAKE = """
CREATE TEMP TABLE repair_streams (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream_id text, partition int
)
"""
COPY = "COPY repair_streams (stream_id) FROM STDIN"
PLACE = "UPDATE repair_streams SET partition = abs(hashtextextended(stream_id, 0) %% %s::bigint)"
FORGET = "DROP TABLE IF EXISTS pg_temp.repair_streams"
NEXT = """
SELECT number, stream_id, partition FROM repair_streams WHERE number > %s ORDER BY number LIMIT %s
"""

Tell = Callable[[Progress], Signal]


def rebuild_row(connection: Connection, sources: Sources, view: RowView[Any], text: str) -> Report:
    """Fold the events of one key anew into the live table.

    Raises:
        UnknownKey: the text is no key of the view.
        PoisonMet: an event of it cannot be folded; the row is as it was.
    """
    began = time.monotonic()
    key = key_of(view, text)
    source = sources()
    try:
        with connection.transaction():
            live = generations.live(connection, view.name)
            stream = view.stream_of(key)
            at = 0 if stream is None else partition_of(connection, stream, view.partitions)
            position = live.positions[at]
            refolding = _Refolding(connection, view)
            refolding.look()
            if stream is not None:
                events: Iterator[Recorded] = iter(_of_stream(source, view, stream, position))
            else:
                events = _pages(source, view, position)
            rows = refolding.rows(
                event
                for event in events
                if type(event.event) is SubjectErased or key in view.keys_of(event)
            )
            if refolding.poisoned:
                raise PoisonMet(refolding.poisoned)
            refolding.write({key: rows.get(key)})
            revise(connection, view.name)
            notify(connection, live.position, {view.name: None}, None)
        series.refresh(connection, view, view.table)
    finally:
        source.close()
    repaired = 0 if rows.get(key) is None else 1
    return _report(view, live, position, repaired, refolding.events, began)


def rebuild_range(
    connection: Connection,
    sources: Sources,
    view: RowView[Any],
    from_: datetime | None,
    to: datetime | None,
    tell: Tell,
) -> Report:
    """Fold anew the rows of all streams with an event recorded in [``from_``, ``to``).

    A row whose events cannot be folded stays as it was, and the others are repaired.

    Raises:
        RangeNotSupported: the view's rows are not of one stream each.
        PoisonMet: some rows could not be folded.
        Cancelled: by ``tell``; what was repaired by then stays.
    """
    if not view.ranged:
        raise RangeNotSupported(view.name)
    began = time.monotonic()
    source = sources()
    heeding = _Heeding(view.name, _find(connection, source, view, from_, to), tell)
    refolding = _Refolding(connection, view)
    number, repaired, live = 0, 0, None
    try:
        while found := connection.execute(NEXT, (number, STREAMS_AT_ONCE)).fetchall():
            heeding.look(refolding.events)
            with connection.transaction():
                live = generations.live(connection, view.name)
                refolding.look()
                rows: dict[tuple[Any, ...], Any] = {}
                most = refolding.events + EVENTS_AT_ONCE
                for number, stream, partition in found:  # noqa: B007 - where to go on
                    events = _of_stream(source, view, stream, live.positions[partition])
                    rows |= refolding.rows(events)
                    if refolding.events >= most:
                        break
                refolding.write(rows)
                revise(connection, view.name)
                notify(connection, live.position, {view.name: None}, None)
            repaired += sum(row is not None for row in rows.values())
        if live is None:
            with connection.transaction():
                live = generations.live(connection, view.name)
        series.refresh(connection, view, view.table)
    finally:
        source.close()
        if not connection.closed:
            connection.execute(FORGET)
    if refolding.poisoned:
        raise PoisonMet(refolding.poisoned)
    return _report(view, live, live.position, repaired, refolding.events, began)


def _find(
    connection: Connection,
    source: EventSource,
    view: RowView[Any],
    from_: datetime | None,
    to: datetime | None,
) -> int:
    """Fill ``repair_streams``; how many events they have in all."""
    connection.execute(FORGET)
    connection.execute(MAKE)
    total = 0
    with connection.cursor().copy(COPY) as copy:
        for stream, events in source.streams(topics_of(view.takes), from_, to):
            copy.write_row((stream,))
            total += events
    connection.execute(PLACE, (view.partitions,))
    return total


def key_of(view: RowView[Any], text: str) -> tuple[Any, ...]:
    """The key that a text names, as a verification shows it: ``/`` between its parts.

    Raises:
        UnknownKey: it is none of this view.
    """
    kinds = {field.name: field.type for field in msgspec.structs.fields(view.row)}
    parts = text.split("/")
    if len(parts) != len(view.key):
        raise UnknownKey(text)
    try:
        return tuple(
            msgspec.convert(part, kinds[name], strict=False)
            for part, name in zip(parts, view.key, strict=True)
        )
    except msgspec.ValidationError:
        raise UnknownKey(text) from None


class _Refolding:
    """Folds rows from their first event on, as the live ones were: without what was left out."""

    def __init__(self, connection: Connection, view: RowView[Any]) -> None:
        self._view = view
        self._connection = connection
        self._left_out: frozenset[int] = frozenset()
        self._waits: dict[str, int] = {}
        self._kept_since: datetime | None = None
        self._writer = writer_of(view, connection, view.table)
        self.events = 0
        self.poisoned: list[dict[str, Any]] = []

    def look(self) -> None:
        """See what is left out of the live rows; to be called while their locks are held.

        What waits in quarantine is not in them, and neither is what waits behind it.
        """
        self._left_out = quarantine.discarded(self._connection, self._view.name)
        self._kept_since = series.kept_since(self._connection, self._view)
        self._waits = {}
        for waiting in quarantine.open_items(self._connection, self._view.name):
            item = waiting.item
            first = self._waits.get(item.stream_id, item.position)
            self._waits[item.stream_id] = min(first, item.position)

    def rows(self, events: Iterator[Recorded] | Sequence[Recorded]) -> dict[tuple[Any, ...], Any]:
        """The rows of all keys that the events touch; none of them if one cannot be folded.

        The events are of one stream or one key, so that a person who was erased is theirs all.
        """
        rows: dict[tuple[Any, ...], Any] = {}
        erased = False
        whose = self._view.erases
        for event in events:
            if type(event.event) is SubjectErased and whose is not None:
                user_id = event.event.user_id
                erased = erased or any(
                    row is not None and getattr(row, whose) == user_id for row in rows.values()
                )
                continue
            erased = erased or event.erased  # their own stream does not tell of the erasure
            waits = self._waits.get(event.stream_id)
            if event.position in self._left_out or (waits and event.position >= waits):
                continue
            self.events += 1
            try:
                for key in self._view.keys_of(event):
                    rows[key] = self._view.fold(key, rows.get(key), event)
            except Exception as error:  # noqa: BLE001 - whatever a fold raises
                self.poisoned.append(
                    {
                        "position": event.position,
                        "stream_id": event.stream_id,
                        "topic": event.event.TOPIC,
                        "error": quarantine.describe(error),
                    }
                )
                return {}
        return dict.fromkeys(rows) if erased and whose is not None else rows

    def write(self, rows: dict[tuple[Any, ...], Any]) -> None:
        """Put them in the place of what is there."""
        for key, row in rows.items():
            self._writer.replace(key, None if self._is_over(row) else row)

    def _is_over(self, row: Any | None) -> bool:
        """Whether the row would have been dropped by now."""
        since, timed = self._kept_since, self._view.timed
        if since is None or timed is None or row is None:
            return False
        return bool(getattr(row, timed) < since)


class _Heeding:
    """Tells how far a repair is, and waits or ends as is wished."""

    def __init__(self, name: str, total: int, tell: Tell) -> None:
        self._name = name
        self._total = total
        self._tell = tell
        self._began = time.monotonic()
        self._looked = 0.0

    def look(self, done: int) -> None:
        if time.monotonic() - self._looked < HEED_EVERY:
            return
        speed = done / max(time.monotonic() - self._began, 1e-6)
        total = max(self._total, done)
        left = round((total - done) / speed, 1) if speed else None
        signal = self._tell(Progress(done, total, round(speed, 1), left))
        while signal == "pause":
            rested = time.monotonic()
            threading.Event().wait(HEED_EVERY)
            self._began += time.monotonic() - rested
            signal = self._tell(Progress(done, total, round(speed, 1), left, "paused"))
        if signal == "cancel":
            raise Cancelled(self._name)
        self._looked = time.monotonic()


def _of_stream(
    source: EventSource, view: RowView[Any], stream: str, through: int
) -> Sequence[Recorded]:
    return source.stream(stream, 0, through, topics_of(view.takes))


def _pages(source: EventSource, view: RowView[Any], through: int) -> Iterator[Recorded]:
    position = 0
    topics = topics_of(view.takes)
    while position < through:
        page = source.page(position, through, PAGE, topics)
        yield from page
        position = page[-1].position if len(page) == PAGE else through


def _report(
    view: RowView[Any], live: Live, position: int, rows: int, events: int, began: float
) -> Report:
    return Report(
        projection=view.name,
        generation=live.generation,
        position=position,
        rows=rows,
        events=events,
        seconds=round(time.monotonic() - began, 3),
        checksum_live=None,
        checksum_shadow=None,
        equal=None,
        swapped=False,
    )
