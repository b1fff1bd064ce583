"""Looks at insights: told by the read API, kept in a table, made into events by the scheduler.

The read API commands nothing and a GET waits for no write. What it tells here is at most one row
for an insight and a day, written beside the answer; where the database is away it is lost, and the
look with it. ``append_views`` makes events of what was told, and forgets it only then.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from uuid import UUID

import psycopg
import structlog

from adapters.http.principal import Principal
from adapters.postgres.pipeline import Pipeline, Statement
from commands.bus import Outcome
from commands.insights import ViewInsight
from commands.ports import Context, SubjectErased
from domain.errors import NotFound

log = structlog.get_logger()

REMEMBERED = 10_000
"""Looks that a process remembers to have told."""
AT_ONCE = 200

_TELL = Statement(
    "insight_viewed",
    "INSERT INTO insight_views (insight_id, user_id, tenant_id, day, request_id)"
    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    ("uuid", "uuid", "uuid", "date", "text"),
)
_TOLD = Statement(
    "insight_views",
    "SELECT insight_id, user_id, tenant_id, day, request_id FROM insight_views"
    f" ORDER BY day, insight_id LIMIT {AT_ONCE}",
    (),
)
_FORGET = Statement(
    "insight_views_forget",
    "DELETE FROM insight_views WHERE insight_id = $1 AND day = $2",
    ("uuid", "date"),
)


class InsightViews:
    """Tells of looks: ``read_api.journal_insights.Viewed``. Its role may insert into the table."""

    def __init__(
        self,
        pipeline: Pipeline,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._told: OrderedDict[tuple[UUID, datetime.date], None] = OrderedDict()
        self._under_way: set[asyncio.Task[None]] = set()

    def __call__(self, insight_id: UUID, who: Principal, request_id: str) -> None:
        """Note it without waiting, once for each day as far as this process knows."""
        day = self._clock().date()
        if (insight_id, day) in self._told:
            return
        self._told[insight_id, day] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        task = asyncio.create_task(self._tell(insight_id, who, day, request_id))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _tell(
        self, insight_id: UUID, who: Principal, day: datetime.date, request_id: str
    ) -> None:
        values = (insight_id, who.user_id, who.tenant_id, day, request_id)
        try:
            await self._pipeline.run((_TELL, values))
        except psycopg.Error as error:
            self._told.pop((insight_id, day), None)
            log.warning("insight_view_lost", reason=type(error).__name__)


Dispatch = Callable[[object, Context], Awaitable[Outcome[object]]]


async def append_views(
    pipeline: Pipeline,
    dispatch: Dispatch,
    clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> int:
    """Make events of what was told; how many looks that were.

    A crash between the two repeats the command, which does nothing then.
    """
    [rows] = await pipeline.run((_TOLD, ()))
    for insight_id, user_id, tenant_id, day, request_id in rows:
        context = Context(
            user_id=user_id,
            tenant_id=tenant_id,
            actor=f"user:{user_id}",
            now=clock(),
            correlation_id=request_id,
        )
        try:
            await dispatch(ViewInsight(insight_id, day), context)
        except (NotFound, SubjectErased):
            log.info("insight_view_without_insight", insight_id=str(insight_id))
        await pipeline.run((_FORGET, (insight_id, day)))
    return len(rows)
