"""The roles without clients: projector, scheduler and worker."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import dramatiq
from uuid_utils.compat import uuid7

from adapters.event_store.source import PostgresSource
from bootstrap.engine import DirectEngine
from bootstrap.settings import Settings
from bootstrap.views import VIEWS
from bootstrap.wiring.databases import PROJECT, write_dsn_of
from bootstrap.wiring.keys import subject_keys_of
from bootstrap.wiring.write_side import WriteSide
from projections.engine.runner import Runner
from workers.broker import Offers, OnLoop, redis_broker, work
from workers.journal import Importing, declare_import
from workers.projections import Tending, declare_projections
from workers.scheduler import schedule

SPARE_THREADS = 4
"""Threads of a worker beyond those of long work."""


async def projector(settings: Settings, stop: asyncio.Event) -> None:
    """Keep every view up to date until ``stop`` is set."""
    dsn = write_dsn_of(settings)
    source = PostgresSource(dsn, role=PROJECT, keys=subject_keys_of(settings))
    runner = Runner(dsn, source, VIEWS, role=PROJECT)
    halt = threading.Event()
    working = asyncio.ensure_future(asyncio.to_thread(runner.run, halt))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    halt.set()
    stopping.cancel()
    await working


async def scheduler(settings: Settings, stop: asyncio.Event) -> None:
    """Offer stranded operations again and sweep leftovers until ``stop`` is set."""
    side = WriteSide(settings)
    offers = Offers(redis_broker(settings.redis_url or "", works=False))

    async def forget_answers() -> int:
        before = datetime.now(UTC) - timedelta(hours=settings.idempotency_ttl_hours)
        return await side.store.forget_answers(before)

    async def forget_logins() -> int:
        return await side.credentials.sweep(datetime.now(UTC) - timedelta(days=1))

    async with side.opened():
        await schedule(side.operations, offers, stop, sweeps=(forget_answers, forget_logins))


def worker(settings: Settings) -> None:
    """Run jobs until ``KeyboardInterrupt``."""
    broker = redis_broker(settings.redis_url or "", works=True)
    dramatiq.set_broker(broker)

    async def open_all(closing: AsyncExitStack) -> tuple[Importing, Tending]:
        side = WriteSide(settings)
        await closing.enter_async_context(side.opened())
        importing = Importing(
            operations=side.operations,
            store=side.store,
            dispatch=side.bus.dispatch,
            new_id=uuid7,
        )
        at_once = asyncio.Semaphore(settings.worker_threads)
        tending = Tending(side.operations, DirectEngine(write_dsn_of(settings), side.keys), at_once)
        return importing, tending

    shared = OnLoop(open_all)
    broker.add_middleware(shared)

    async def importing() -> Importing:
        return (await shared())[0]

    async def tending() -> Tending:
        return (await shared())[1]

    declare_import(broker, importing)
    declare_projections(broker, tending)
    # Whoever pauses or resumes must find a thread, even while rebuilds have all of theirs.
    threads = settings.worker_threads + SPARE_THREADS
    work(broker, threading.Event(), threads=threads)
