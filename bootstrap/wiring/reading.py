"""The read API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import read_api.live
from adapters.audit import PostgresAuditLog
from adapters.cache import RedisCache
from adapters.credentials import PostgresCredentials
from adapters.erasure import AskedErasures
from adapters.event_store.store import PostgresEventStore
from adapters.event_store.subject_keys import SubjectKeys
from adapters.http.app import application
from adapters.http.cursors import Cursors
from adapters.http.docs import openapi_handlers
from adapters.http.health import health_handlers
from adapters.http.limits import RateLimiter
from adapters.http.pages import problem_handlers
from adapters.insight_views import InsightViews
from adapters.keys import PostgresKeys
from adapters.live.feed import LiveFeed
from adapters.live.presence import Presence
from adapters.live.wakes import heed_postgres, heed_redis
from adapters.operations import PostgresOperations
from adapters.oversight import PostgresOversight
from adapters.planning import PostgresPlans
from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from adapters.request_log import RequestLog
from adapters.statuses import Statuses
from adapters.tokens import KeyRing
from bootstrap.readiness import Dependencies, pinging
from bootstrap.search import index_search
from bootstrap.settings import Settings
from bootstrap.views import VIEWS
from bootstrap.wiring.caching import KINDS
from bootstrap.wiring.databases import (
    READ,
    WRITE,
    SeriesStore,
    cache_of,
    hasty_cache_of,
    read_dsn_of,
    same_database,
    watch_of,
    write_dsn_of,
)
from bootstrap.wiring.entrance import Entrance
from bootstrap.wiring.exports import files
from bootstrap.wiring.handlers import Reading, described, read_handlers
from bootstrap.wiring.keys import sealer_of
from bootstrap.wiring.objects import files_of
from bootstrap.wiring.serving import UNAVAILABLE, logging_requests, served, sharing
from projections.journal.search import PostgresSearch
from read_api.console.pulse import Beats
from read_api.shared import Shared


def read_api_app(settings: Settings) -> Any:
    """The read API as an ASGI application."""
    dsn = read_dsn_of(settings)
    reads = [Pipeline(dsn, role=READ), Pipeline(dsn, role=READ)]
    searching = Pipeline(dsn, role=READ)  # of its own: a search takes longer than a page
    # Events, operations and keys lie in the write database. Where that is the same one, the read
    # API needs no more rights than its own.
    same = same_database(dsn, write_dsn_of(settings))
    events_dsn, role = (dsn, READ) if same else (write_dsn_of(settings), WRITE)
    # The last one is for those who catch up from far behind: they hold up only each other.
    beside, slow, replays = (Pipeline(events_dsn, role=role) for _ in range(3))
    # Of its own: a long series must hold up nobody.
    series = SeriesStore(settings)
    cache = cache_of(settings)
    sealer = sealer_of(settings)
    answers = hasty_cache_of(settings)
    subjects = SubjectKeys(sealer)
    streams = PostgresEventStore(beside, beside, sealer, lambda position: None, subjects)
    credentials = PostgresCredentials(beside)
    keys = KeyRing(credentials)
    entrance = Entrance(
        credentials,
        keys,
        streams,
        events=beside,
        views=reads[0],
        dsn=events_dsn,
        role=role,
    )
    attached = files_of(settings, sealer, subjects, slow)
    watch = series.watching(watched := watch_of(settings, reads[0]), beside)
    shared = Shared(RedisCache(answers, KINDS, sealer), watch)
    limiter = RateLimiter(settings.rate_limit_per_minute, cache)
    requests = RequestLog("read-api", slow)
    index = index_search(settings)
    # Told of what is read here: while the primary is away, a standby goes on being read.
    readiness = Dependencies(
        {"database": reads[0], **({"event_store": beside} if same else {})},
        cache,
        Statuses(beside if same else searching, series.elsewhere),
        {
            **({} if same else {"event_store": pinging(beside)}),
            **series.probes,
            **({} if index is None else {"search": index.answers}),
        },
        watched,
    )
    feed = LiveFeed(
        beside,
        replays,
        subjects,
        most=settings.live_connections,
        wakes=(partial(heed_postgres, events_dsn, role), partial(heed_redis, cache)),
    )
    presence = Presence(cache)
    beats = Beats(
        # On a pipeline of its own: operators' lists must hold up nobody.
        oversight := PostgresOversight(
            slow, [(view.name, view.version) for view in VIEWS], subjects, series.elsewhere
        )
    )
    handlers = read_handlers(
        Reading(
            reader=PipelineReader(reads),
            freshness=watch,
            cursors=Cursors(sealer.secret("cursors")),
            keys=keys,
            streams=streams,
            operations=PostgresOperations(beside, sealer),
            oversight=oversight,
            plans=PostgresPlans(slow, VIEWS, series.elsewhere),
            credentials=PipelineReader([beside]),
            audit=PostgresAuditLog(slow, subjects),
            exports=files(slow, subjects),
            links=attached.signed,
            api_keys=PostgresKeys(beside),
            viewed=InsightViews(slow),
            live=feed,
            beats=beats,
            comment_every=settings.live_comment_seconds,
            shared=shared,
            files=attached,
            series=PipelineReader([series.reads]),
            # A time series, too, and asked for like an entry.
            insights=PipelineReader(reads if series.dsn is None else [series.reads]),
            search=index or PostgresSearch(PipelineReader([searching])),
            readiness=readiness,
        )
    )
    documentation = openapi_handlers(described(settings), title="Mindstream", version="1")

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pipeline in (*reads, beside, slow, replays, searching):
                await pipeline.open()
                stack.push_async_callback(pipeline.close)
            await stack.enter_async_context(series.opened())
            stack.push_async_callback(cache.aclose)
            if index is not None:
                stack.push_async_callback(index.close)
            stack.push_async_callback(answers.aclose)
            stack.push_async_callback(shared.close)
            await watch.open()
            stack.push_async_callback(watch.close)
            await stack.enter_async_context(subjects.heeding(beside))
            await stack.enter_async_context(attached.objects.opened())
            await stack.enter_async_context(entrance.opened())
            await stack.enter_async_context(sharing(limiter))
            await stack.enter_async_context(logging_requests(requests))
            await stack.enter_async_context(presence.shown())
            await stack.enter_async_context(feed.opened())
            yield

    app = served(
        settings,
        "read-api",
        application(
            [
                *handlers,
                *read_api.live.sockets(feed, presence),
                *health_handlers(readiness),
                *problem_handlers,
                *documentation,
            ],
            errors=UNAVAILABLE,
            lifespan=[lifespan],
        ),
        entrance,
        limiter,
        requests,
        AskedErasures(beside),
    )
    app.closing += [feed.wind_down, beats.wind_down]
    return app
