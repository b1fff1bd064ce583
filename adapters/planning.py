"""What a rebuild or a rollback would touch: events by topic, the time it takes, the tables.

Implements ``projections.oversight.Plans``. The numbers are those of ``projections rebuild
--dry-run``; here nobody waits for more than a moment for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg.errors import QueryCanceled

from adapters.postgres.pipeline import Pipeline, Statement
from adapters.statuses import Elsewhere
from domain.event import topics_of
from projections.engine.measures import USUAL, Measure
from projections.engine.view import RowView
from projections.oversight import Kept, Plan

PATIENCE = 1000
"""Milliseconds for counting. Whoever asks for a rebuild need not wait to know it to the event."""

_PATIENCE = Statement(
    "plan_patience", f"SELECT set_config('statement_timeout', '{PATIENCE}', true)", ()
)
_HEAD = Statement("plan_head", "SELECT coalesce(max(position), 0) FROM events", ())
_COUNTS = Statement(
    "plan_counts",
    """
    SELECT topic, (SELECT count(*) FROM events e WHERE e.topic = wanted.topic)
    FROM unnest($1) WITH ORDINALITY AS wanted (topic, number) ORDER BY number
    """,
    ("text[]",),
)
_MEASURE = Statement(
    "plan_measure",
    "SELECT name, events, folding_seconds, finishing_seconds FROM projection_measures"
    " WHERE name = $1",
    ("text",),
)
_KEPT = Statement(
    "plan_kept",
    """
    SELECT g.generation, g.table_name, coalesce(min(p.position), 0)
    FROM projection_generations g
    LEFT JOIN projection_generation_partitions p USING (name, generation)
    WHERE g.name = $1 AND g.state = 'kept'
    GROUP BY g.generation, g.table_name, g.changed_at ORDER BY g.changed_at DESC LIMIT 1
    """,
    ("text",),
)


class PostgresPlans:
    """Plans for ``views``; ``pipeline`` is on the event store.

    ``elsewhere`` are the stores of those views that have one of their own.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        views: Iterable[RowView[Any]],
        elsewhere: Sequence[Elsewhere] = (),
    ) -> None:
        self._pipeline = pipeline
        self._views = {view.name: view for view in views}
        self._elsewhere = elsewhere

    async def plan(self, name: str) -> Plan | None:
        """What rebuilding the projection of that name would touch; None if there is none."""
        view = self._views.get(name)
        if view is None:
            return None
        own = [store for store in self._elsewhere if name in store.versions]
        pipeline = own[0].pipeline if own else self._pipeline
        [[(head,)], measured] = await self._pipeline.run((_HEAD, ()), (_MEASURE, (name,)))
        [kept] = await pipeline.run((_KEPT, (name,)))
        counted = await self._counted(topics_of(view.takes))
        total = head if counted is None else sum(counted.values())
        measure = Measure(*measured[0]) if measured else USUAL
        return Plan(
            projection=name,
            table=view.table,
            store=_where(view, apart=bool(own)),
            events_by_topic=counted,
            events_total=total,
            expected_seconds=measure.foretold(total),
            measured=bool(measured),
            kept=Kept(kept[0][0], kept[0][1], max(head - kept[0][2], 0)) if kept else None,
        )

    async def _counted(self, topics: list[str]) -> dict[str, int] | None:
        try:
            _, rows = await self._pipeline.run((_PATIENCE, ()), (_COUNTS, (topics,)))
        except QueryCanceled:
            return None
        return dict(rows)


def _where(view: RowView[Any], *, apart: bool) -> str:
    """Which store the table is in, as a sentence goes on."""
    if view.outside is not None:
        return "in the search index"
    return "in the time-series database" if apart else "in the read models' database"
