"""The roles without clients: projector, scheduler and worker."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import dramatiq
import msgspec
from uuid_utils.compat import uuid7

from adapters.audit import PostgresAuditLog
from adapters.census import Census
from adapters.event_store.metadata import SourceWithMetadata
from adapters.event_store.source import PostgresSource
from adapters.insight_views import append_views
from adapters.oversight import PostgresOversight
from adapters.statuses import Statuses
from bootstrap import tracing
from bootstrap.engine import DirectEngine
from bootstrap.pair import Share
from bootstrap.search import place
from bootstrap.settings import Settings
from bootstrap.views import AUDIT, VIEWS
from bootstrap.wiring.caching import invalidating
from bootstrap.wiring.databases import PROJECT, series_dsn_of, write_dsn_of
from bootstrap.wiring.erasure import erasing_of
from bootstrap.wiring.exports import exporting, files
from bootstrap.wiring.insights import calendar_of, making
from bootstrap.wiring.keys import subject_keys_of
from bootstrap.wiring.reacting import on_its_own_loop, reactor
from bootstrap.wiring.write_side import WriteSide
from commands.departure import Departed, ask_for_erasures
from domain.operation import ERASURE, NewOperation
from projections.engine.runner import Runner
from projections.engine.view import RowView
from projections.ops.audit import cutoff
from workers.broker import NAMESPACE, QUEUE, Offers, OnLoop, redis_broker, work
from workers.changed import rebuild_changed
from workers.erasure import Erasing, declare_erasure
from workers.exports.work import Exporting, declare_export
from workers.insights import Making, declare_insights
from workers.journal import Importing, declare_import
from workers.journal_files import FileSweeps
from workers.projections import Tending, declare_projections
from workers.scheduler import schedule

SWITCH = 0.001
"""Seconds after which one of a projector's threads lets another one go on."""
GATHER: dict[Share, float] = {"awaited": 0.0, "aside": 0.05}
"""Seconds for which events come together once all were folded: many at once are cheaper. One that
comes later is folded at once."""
SPARE_THREADS = 4
"""Threads of a worker beyond those of long work."""


class Jobs(msgspec.Struct, frozen=True):
    """What the jobs of a worker share, opened when the first of them begins."""

    importing: Importing
    tending: Tending
    exporting: Exporting
    erasing: Erasing
    making: Making


async def projector(settings: Settings, stop: asyncio.Event, share: Share | None = None) -> None:
    """Keep every view up to date until ``stop`` is set, or one share of the views."""
    place(settings)
    dsn = write_dsn_of(settings)
    keys = subject_keys_of(settings)
    AUDIT.keep_days = settings.audit_retention_days
    ours = [view for view in VIEWS if view.store != "timeseries"]
    inside = [view for view in ours if view.outside is None]
    shown = [view for view in inside if not view.with_metadata | view.apart]
    shares: dict[Share, list[tuple[str, type[PostgresSource], list[RowView[Any]]]]] = {
        "awaited": [(dsn, PostgresSource, shown)],
        # On threads of their own, since each of them waits for something else.
        "aside": [
            (dsn, SourceWithMetadata, [view for view in inside if view.with_metadata]),
            (dsn, PostgresSource, [view for view in inside if view.apart]),
            # A store that is away holds up nobody else.
            (dsn, PostgresSource, [view for view in ours if view.outside is not None]),
            (
                series_dsn_of(settings) or dsn,
                PostgresSource,
                [view for view in VIEWS if view.store == "timeseries"],
            ),
        ],
    }
    traced = tracing.projections(settings, dsn, PROJECT)
    tell = None if traced is None else traced.told
    runners = [
        Runner(
            rows,
            source(dsn, role=PROJECT, keys=keys),
            views,
            role=PROJECT,
            gather=GATHER[each],
            tell=tell,
        )
        for each in (shares if share is None else (share,))
        for rows, source, views in shares[each]
        if views
    ]
    if len(runners) > 1:
        # What is folded on another thread holds one up for so long at most, each time it waits.
        sys.setswitchinterval(SWITCH)
    halt = threading.Event()
    # Threads of their own: they never end, and the loop's few are for what does.
    threads = ThreadPoolExecutor(len(runners), thread_name_prefix="runner")
    async with AsyncExitStack() as stack:
        if share != "awaited":
            await stack.enter_async_context(invalidating(settings))
        working = [asyncio.wrap_future(threads.submit(each.run, halt)) for each in runners]
        stopping = asyncio.ensure_future(stop.wait())
        ends: list[asyncio.Future[Any]] = [*working, stopping]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            halt.set()
            stopping.cancel()
        await asyncio.gather(*working)
    threads.shutdown()
    if traced is not None:
        traced.close()


async def scheduler(settings: Settings, stop: asyncio.Event) -> None:
    """Offer stranded operations again and sweep leftovers until ``stop`` is set."""
    place(settings)
    side = WriteSide(settings)
    offers = Offers(redis_broker(settings.redis_url or "", works=False))

    async def forget_answers() -> int:
        before = datetime.now(UTC) - timedelta(hours=settings.idempotency_ttl_hours)
        return await side.store.forget_answers(before)

    async def forget_logins() -> int:
        return await side.credentials.sweep(datetime.now(UTC) - timedelta(days=1))

    async def forget_exports() -> int:
        return await files(side.bulk, side.keys).sweep()

    async def forget_keys() -> int:
        return await side.api_keys.sweep(datetime.now(UTC) - timedelta(days=1))

    async def erase_departed() -> int:
        now = datetime.now(UTC)
        return await ask_for_erasures(side.departures, erasing(side, offers, now), now)

    kept_for = timedelta(seconds=settings.object_url_ttl_seconds)
    attached = FileSweeps(side.files.objects, side.uploads, side.store, kept_for)
    audit = PostgresAuditLog(side.bulk)

    async def trim_logs() -> int:
        return await audit.trim(
            cutoff(settings.audit_retention_days), cutoff(settings.request_log_days)
        )

    engine = DirectEngine(write_dsn_of(settings), side.keys, series_dsn_of(settings))

    async def trim_series() -> int:
        return await asyncio.to_thread(engine.retain, datetime.now(UTC))

    async def changed() -> int:
        known = [(each.name, each.version) for each in VIEWS]
        oversight = PostgresOversight(side.bulk, known, elsewhere=side.series.elsewhere)
        versions = {each.name: each.version for each in VIEWS}
        return await rebuild_changed(
            oversight.projections, versions, side.operations, uuid7, lambda: datetime.now(UTC)
        )

    async def viewed() -> int:
        return await append_views(side.bulk, side.bus.dispatch)

    census = Census(
        side.bulk,
        Statuses(side.bulk, side.series.elsewhere),
        side.cache,
        {QUEUE: f"{NAMESPACE}:{QUEUE}"},
    )

    async with side.opened(), AsyncExitStack() as stack:
        sweeps = (
            census.count_people,
            forget_answers,
            forget_logins,
            forget_exports,
            forget_keys,
            erase_departed,
            side.mail_tokens.sweep,
            trim_logs,
            attached.forget_uploads,
            attached.forget_files,
            trim_series,
        )
        looks: tuple[Callable[[], Awaitable[int]], ...] = (viewed,)
        if settings.rebuild_changed_projections:
            looks = (changed, *looks)
        calendar = await stack.enter_async_context(calendar_of(side, offers))
        # The last of them: while it cannot be taken the others go on.
        looks = (*looks, calendar.look, census.take)
        await schedule(side.operations, offers, stop, sweeps=sweeps, looks=looks)


def erasing(
    side: WriteSide, offers: Offers, now: datetime
) -> Callable[[Departed], Awaitable[bool]]:
    """What asks for the erasure of somebody who left: an operation, at most one a day."""

    async def ask(one: Departed) -> bool:
        new = NewOperation(
            id=uuid7(),
            kind=ERASURE,
            user_id=one.user_id,
            tenant_id=one.tenant_id,
            correlation_id=f"departure_{one.position}",
            created_at=now,
            # The next day it is asked for again, should it have failed.
            idempotency_key=f"departure:{one.position}:{now.date()}",
            request_hash=sha256(b"departure").digest(),
        )
        accepted = await side.operations.accept(new)
        if accepted.id != new.id:
            return False
        await offers.offer(ERASURE, new.id)
        return True

    return ask


def worker(settings: Settings) -> None:
    """Run jobs until ``KeyboardInterrupt``."""
    place(settings)
    AUDIT.keep_days = settings.audit_retention_days
    broker = redis_broker(settings.redis_url or "", works=True)
    dramatiq.set_broker(broker)

    async def open_all(closing: AsyncExitStack) -> Jobs:
        side = WriteSide(settings)
        await closing.enter_async_context(side.opened())
        importing = Importing(
            operations=side.operations,
            store=side.store,
            dispatch=side.bus.dispatch,
            new_id=uuid7,
            # An import may begin right after somebody asked for moods: it looks each time.
            infers=side.moods.learn,
        )
        at_once = asyncio.Semaphore(settings.worker_threads)
        # Rebuilds and analyses take threads for as long as they last; others must find one, too.
        spare = ThreadPoolExecutor(settings.worker_threads + SPARE_THREADS)
        asyncio.get_running_loop().set_default_executor(spare)
        engine = DirectEngine(write_dsn_of(settings), side.keys, series_dsn_of(settings))
        tending = Tending(side.operations, engine, at_once)
        await closing.enter_async_context(side.tokens.keeping())
        to_export = await closing.enter_async_context(exporting(side))
        to_erase = erasing_of(settings, side, engine)
        to_make = await closing.enter_async_context(making(side))
        return Jobs(
            importing=importing,
            tending=tending,
            exporting=to_export,
            erasing=to_erase,
            making=to_make,
        )

    jobs = OnLoop(open_all)
    broker.add_middleware(jobs)

    async def importing() -> Importing:
        return (await jobs()).importing

    async def tending() -> Tending:
        return (await jobs()).tending

    async def to_export() -> Exporting:
        return (await jobs()).exporting

    async def to_erase() -> Erasing:
        return (await jobs()).erasing

    async def to_make() -> Making:
        return (await jobs()).making

    declare_import(broker, importing)
    declare_insights(broker, to_make)
    declare_export(broker, to_export)
    declare_erasure(broker, to_erase)
    declare_projections(broker, tending)
    # Whoever pauses or resumes must find a thread, even while rebuilds have all of theirs.
    threads = settings.worker_threads + SPARE_THREADS
    with on_its_own_loop(lambda stop: reactor(settings, stop)):
        work(broker, threading.Event(), threads=threads)
