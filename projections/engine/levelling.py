"""Bringing a shadow, within a transaction, to just where the partitions of the live rows are.

Each live partition is at a position of its own, and a shadow at one that all have passed. To
compare the two, the few events that only some live partitions include are folded into the shadow
too, in a transaction that is rolled back afterwards: nobody is held up, and neither of them moves.
"""

from __future__ import annotations

from typing import Any

from domain.event import topics_of
from projections.engine import mending, quarantine
from projections.engine.checkpoints import Connection
from projections.engine.generations import Live
from projections.engine.outside import writer_of
from projections.engine.pages import PAGE
from projections.engine.source import EventSource, Slice
from projections.engine.view import RowView


def level(
    connection: Connection, source: EventSource, view: RowView[Any], table: str, live: Live
) -> None:
    """Fold into ``table``, which is at ``live.position``, what each partition has beyond that.

    In the caller's transaction, which is not to be committed. An event that cannot be folded is
    left out, with those behind it in its stream: the live rows are without it as well.
    """
    left_out = quarantine.discarded(connection, view.name)
    topics = topics_of(view.takes)
    writer = writer_of(view, connection, table)
    for partition, through in enumerate(live.positions):
        streams = Slice((partition,), len(live.positions))
        after = live.position
        while after < through:
            page = source.page(after, through, PAGE, topics, streams)
            mine = [event for event in page if event.position not in left_out]
            mending.apply_what_can_be(connection, writer, mine)
            after = page[-1].position if len(page) == PAGE else through
