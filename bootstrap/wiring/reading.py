"""The read API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from adapters.audit import PostgresAuditLog
from adapters.credentials import PostgresCredentials
from adapters.erasure import AskedErasures
from adapters.event_store.store import PostgresEventStore
from adapters.event_store.subject_keys import SubjectKeys
from adapters.http.app import application
from adapters.http.cursors import Cursors
from adapters.http.docs import openapi_handlers
from adapters.http.health import health_handlers
from adapters.http.limits import RateLimiter
from adapters.http.links import Links
from adapters.http.pages import problem_handlers
from adapters.keys import PostgresKeys
from adapters.operations import PostgresOperations
from adapters.oversight import PostgresOversight
from adapters.postgres.freshness import ProjectionWatch
from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from adapters.request_log import RequestLog
from adapters.tokens import KeyRing
from bootstrap.readiness import Dependencies
from bootstrap.settings import Settings
from bootstrap.views import VIEWS
from bootstrap.wiring.databases import (
    READ,
    WRITE,
    cache_of,
    read_dsn_of,
    same_database,
    write_dsn_of,
)
from bootstrap.wiring.entrance import Entrance
from bootstrap.wiring.exports import files
from bootstrap.wiring.handlers import Reading, described, read_handlers
from bootstrap.wiring.keys import sealer_of
from bootstrap.wiring.serving import UNAVAILABLE, logging_requests, served, sharing


def read_api_app(settings: Settings) -> Any:
    """The read API as an ASGI application."""
    dsn = read_dsn_of(settings)
    reads = [Pipeline(dsn, role=READ), Pipeline(dsn, role=READ)]
    # Events, operations and keys lie in the write database. Where that is the same one, the read
    # API needs no more rights than its own.
    same = same_database(dsn, write_dsn_of(settings))
    beside, slow = (
        Pipeline(dsn, role=READ) if same else Pipeline(write_dsn_of(settings), role=WRITE)
        for _ in range(2)
    )
    cache = cache_of(settings)
    sealer = sealer_of(settings)
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
        dsn=dsn if same else write_dsn_of(settings),
        role=READ if same else WRITE,
    )
    watch = ProjectionWatch(dsn, role=READ, pipeline=reads[0])
    limiter = RateLimiter(settings.rate_limit_per_minute, cache)
    requests = RequestLog("read-api", slow)
    readiness = Dependencies({"database": reads[0], "event_store": beside}, cache, beside)
    handlers = read_handlers(
        Reading(
            reader=PipelineReader(reads),
            freshness=watch,
            cursors=Cursors(sealer.secret("cursors")),
            keys=keys,
            streams=streams,
            operations=PostgresOperations(beside, sealer),
            # On a pipeline of its own: operators' lists must hold up nobody.
            oversight=PostgresOversight(
                slow, [(view.name, view.version) for view in VIEWS], subjects
            ),
            credentials=PipelineReader([beside]),
            audit=PostgresAuditLog(slow, subjects),
            exports=files(slow, subjects),
            links=Links(sealer.secret("links")),
            api_keys=PostgresKeys(beside),
        )
    )
    documentation = openapi_handlers(described(settings), title="Mindstream", version="1")

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pipeline in (*reads, beside, slow):
                await pipeline.open()
                stack.push_async_callback(pipeline.close)
            stack.push_async_callback(cache.aclose)
            await watch.open()
            stack.push_async_callback(watch.close)
            await stack.enter_async_context(subjects.heeding(beside))
            await stack.enter_async_context(entrance.opened())
            await stack.enter_async_context(sharing(limiter))
            await stack.enter_async_context(logging_requests(requests))
            yield

    return served(
        settings,
        "read-api",
        application(
            [*handlers, *health_handlers(readiness), *problem_handlers, *documentation],
            errors=UNAVAILABLE,
            lifespan=[lifespan],
        ),
        entrance,
        limiter,
        requests,
        AskedErasures(beside),
    )
