"""The making of insights and all around it, composed: the analyst, the job, the schedule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from uuid_utils.compat import uuid7

from adapters.models.local import LocalAnalyst
from adapters.models.queue import QueueHints
from adapters.models.timed import TimedAnalyst
from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from adapters.writers import PostgresWriters
from bootstrap.settings import Settings
from bootstrap.wiring.databases import PROJECT, READ, read_dsn_of, watch_of, write_dsn_of
from bootstrap.wiring.write_side import WriteSide
from commands.analyst import Analyst
from workers.broker import Offers
from workers.insight_schedule import Calendar
from workers.insights import Making


def analyst_of(settings: Settings) -> Analyst:
    """Who tells: the model of the settings, or the analyser that comes along."""
    if settings.model_url is None:
        return TimedAnalyst(LocalAnalyst(), "local")
    # Only where it is set up: its HTTP client takes 0.2 s to import.
    from adapters.models.endpoint import EndpointAnalyst  # noqa: PLC0415

    analyst = EndpointAnalyst(
        settings.model_url,
        settings.model,
        settings.model_key,
        seconds=settings.model_timeout,
        chars=settings.model_chars,
    )
    return TimedAnalyst(analyst, settings.model)


@asynccontextmanager
async def making(side: WriteSide, analyst: Analyst | None = None) -> AsyncIterator[Making]:
    """What the worker needs, connected as long as the context lasts; ``side`` is, too."""
    dsn = read_dsn_of(side.settings)
    reads = Pipeline(dsn, role=READ)
    watch = watch_of(side.settings)
    try:
        await reads.open()
        await watch.open()
        yield Making(
            operations=side.operations,
            store=side.store,
            dispatch=side.bus.dispatch,
            reader=PipelineReader([reads]),
            freshness=watch,
            analyst=analyst or analyst_of(side.settings),
            hint=QueueHints(side.cache),
        )
    finally:
        await watch.close()
        await reads.close()


@asynccontextmanager
async def calendar_of(side: WriteSide, offers: Offers) -> AsyncIterator[Calendar]:
    """What comes by the calendar, connected as long as the context lasts; ``side`` is, too."""
    people = Pipeline(write_dsn_of(side.settings), role=PROJECT)
    try:
        await people.open()
        writers = PostgresWriters(people)
        yield Calendar(writers, side.operations, offers, side.bus.dispatch, uuid7)
    finally:
        await people.close()
