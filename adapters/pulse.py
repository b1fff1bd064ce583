"""What is open, counted: items in quarantine and operations, as consoles follow them.

Owns SQL that is asked once a second while somebody looks: each count goes by an index of what is
open, and no further than anybody would read. ``oversight`` joins it to how the projections are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psycopg

from adapters.operations import SET_OPERATOR, operation_of, operations_sql
from adapters.postgres.pipeline import Pipeline, PipelineLost, Statement
from adapters.statuses import PATIENCE, Elsewhere
from domain.operation import ANSWERS, Operation

_OPEN_ITEMS = Statement(
    "oversight_open_items",
    """
    SELECT state, count(*) FROM (SELECT state FROM projection_quarantine
                                 WHERE NOT settled AND state IN ('parked', 'retrying')
                                 LIMIT 10000) AS found
    GROUP BY state
    """,
    (),
)
_OPEN_OPERATIONS = Statement(
    "oversight_open_operations",
    """
    SELECT state, count(*) FROM (SELECT state FROM operations
                                 WHERE state IN ('pending', 'running') LIMIT 10000) AS found
    GROUP BY state
    UNION ALL
    SELECT 'failed', count(*) FROM (SELECT FROM operations WHERE state = 'failed'
                                      AND created_at >= now() - interval '1 day'
                                      AND error ->> 'code' <> ALL ($1) LIMIT 100) AS found
    """,
    ("text[]",),
)
_RUNNING = Statement(
    "oversight_running",
    operations_sql(
        "WHERE state = 'running' AND state IN ('pending', 'running')"
        " ORDER BY created_at DESC, id DESC LIMIT 25"
    ),
    (),
)


async def opened(
    pipeline: Pipeline, elsewhere: Sequence[Elsewhere]
) -> tuple[dict[str, int], dict[str, int], list[Operation]]:
    """Items by state, operations by state, and some that are running.

    ``failed`` are those of a day that somebody should look at. Items of a store that does not
    answer are left out.
    """
    [items, _, operations, running], *others = await asyncio.gather(
        pipeline.run(
            (_OPEN_ITEMS, ()),
            (SET_OPERATOR, ()),
            (_OPEN_OPERATIONS, (sorted(ANSWERS),)),
            (_RUNNING, ()),
        ),
        *(_items_of(store) for store in elsewhere),
    )
    counts: Counter[str] = Counter()
    for state, number in (*items, *(row for rows in others for row in rows)):
        counts[state] += number
    return counts, dict(operations), [operation_of(row) for row in running]


async def _items_of(store: Elsewhere) -> list[tuple[Any, ...]]:
    try:
        async with asyncio.timeout(PATIENCE):
            [rows] = await store.pipeline.run((_OPEN_ITEMS, ()), within=PATIENCE / 2)
    except (psycopg.Error, PipelineLost, TimeoutError):
        return []
    return rows
