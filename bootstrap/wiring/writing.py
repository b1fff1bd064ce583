"""The write API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import write_api.answering
from adapters.http.app import application
from adapters.http.health import health_handlers
from adapters.http.limits import RateLimiter
from adapters.http.pages import problem_handlers
from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from adapters.request_log import RequestLog
from adapters.statuses import Statuses
from adapters.tokens import KeyRing
from bootstrap.readiness import Dependencies
from bootstrap.search import place
from bootstrap.settings import Settings
from bootstrap.wiring.databases import READ, WRITE, write_dsn_of
from bootstrap.wiring.entrance import Entrance
from bootstrap.wiring.handlers import ERRORS, Writing, write_handlers
from bootstrap.wiring.serving import UNAVAILABLE, logging_requests, served, sharing
from bootstrap.wiring.write_side import WriteSide
from workers.broker import Offers, redis_broker


def write_api_app(settings: Settings) -> Any:
    """The write API as an ASGI application."""
    side = WriteSide(settings)
    place(settings)
    # Not where reads go: what is decided and answered here follows writes, and needs no standby.
    reads = Pipeline(write_dsn_of(settings), role=READ)
    keys = KeyRing(side.credentials)
    entrance = Entrance(
        side.credentials,
        keys,
        side.store,
        events=side.reads,
        views=reads,
        dsn=write_dsn_of(settings),
        role=WRITE,
    )
    entrance.tells(side.moods.forget)
    limiter = RateLimiter(settings.rate_limit_per_minute, side.cache)
    requests = RequestLog("write-api", side.bulk)
    offers = Offers(redis_broker(settings.redis_url or "", works=False))
    logins = side.logins()
    github, recovery = side.github_logins(logins), side.recovery()
    handlers = write_handlers(
        Writing(
            side=side,
            reader=PipelineReader([reads]),
            logins=logins,
            github=github,
            recovery=recovery,
            offers=offers,
        )
    )
    readiness = Dependencies(
        {"database": side.reads},
        side.cache,
        Statuses(side.reads, side.series.elsewhere),
        side.series.probes,
    )

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(side.opened())
            await reads.open()
            stack.push_async_callback(reads.close)
            await side.ensure_key()
            await stack.enter_async_context(side.tokens.keeping())
            await stack.enter_async_context(entrance.opened())
            await stack.enter_async_context(sharing(limiter))
            await stack.enter_async_context(logging_requests(requests))
            yield

    errors = {**ERRORS, **write_api.answering.ERRORS}
    return served(
        settings,
        "write-api",
        application(
            [*handlers, *health_handlers(readiness), *problem_handlers],
            errors={**UNAVAILABLE, **errors},
            lifespan=[lifespan],
        ),
        entrance,
        limiter,
        requests,
    )
