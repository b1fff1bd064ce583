"""Repairing one row in place: its events are folded anew under the checkpoint's lock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from domain.event import Recorded, topics_of
from projections.engine import generations, quarantine
from projections.engine.building import Sources
from projections.engine.checkpoints import Connection, partition_of
from projections.engine.outcomes import Report, UnknownKey
from projections.engine.pages import PAGE
from projections.engine.runner import notify
from projections.engine.source import EventSource
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter


def rebuild_row(connection: Connection, sources: Sources, view: RowView[Any], text: str) -> Report:
    """Fold the events of one key anew into the live table."""
    began = time.monotonic()
    key = _key_of(view, text)
    topics = topics_of(view.takes)
    source = sources()
    try:
        with connection.transaction():
            live = generations.live(connection, view.name)
            position = live.positions[_partition_of(connection, view, key)]
            left_out = quarantine.discarded(connection, view.name)
            row: Any = None
            count = 0
            for event in _events_of(source, view, key, position, topics):
                if key in view.keys_of(event) and event.position not in left_out:
                    row = view.fold(key, row, event)
                    count += 1
            writer = ViewWriter(view, connection, view.table)
            writer.replace(key, row)
            notify(connection, live.position, {view.name: None}, None)
    finally:
        source.close()
    return Report(
        projection=view.name,
        generation=live.generation,
        position=position,
        rows=0 if row is None else 1,
        events=count,
        seconds=round(time.monotonic() - began, 3),
        checksum_live=None,
        checksum_shadow=None,
        equal=None,
        swapped=False,
    )


def _partition_of(connection: Connection, view: RowView[Any], key: tuple[Any, ...]) -> int:
    """The partition that a row belongs to."""
    stream = view.stream_of(key)
    return 0 if stream is None else partition_of(connection, stream, view.partitions)


def _events_of(
    source: EventSource,
    view: RowView[Any],
    key: tuple[Any, ...],
    through: int,
    topics: Sequence[str],
) -> Iterator[Recorded]:
    stream = view.stream_of(key)
    if stream is not None:
        yield from source.stream(stream, 0, through, topics)
        return
    position = 0
    while position < through:
        page = source.page(position, through, PAGE, topics)
        yield from page
        position = page[-1].position if len(page) == PAGE else through


def _key_of(view: RowView[Any], text: str) -> tuple[Any, ...]:
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
