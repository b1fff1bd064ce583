"""What both APIs have around their handlers: the HTTP conventions and the shared counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import psycopg
from prometheus_client import REGISTRY

import write_api.accounts
import write_api.journal
import write_api.journal_attachments
import write_api.journal_import
import write_api.logins
import write_api.operations
import write_api.ops
from adapters.http.access_log import AccessLog
from adapters.http.addresses import UNIX
from adapters.http.conventions import Conventions, Witness
from adapters.http.cors import Cors
from adapters.http.docs import openapi_handlers
from adapters.http.doors import Access
from adapters.http.errors import Mapper, unavailable
from adapters.http.limits import RateLimiter
from adapters.http.metrics import HttpMetrics
from adapters.http.routes import Routes
from adapters.request_log import RequestLog
from bootstrap.settings import Settings
from bootstrap.wiring.entrance import Entrance
from bootstrap.wiring.handlers import described
from commands.journal_attachments import ObjectsUnavailable

UNAVAILABLE: dict[type[Exception], Mapper] = {
    psycopg.OperationalError: lambda error: unavailable(),
    psycopg.InterfaceError: lambda error: unavailable(),
    ObjectsUnavailable: lambda error: unavailable(),
}
"""How it is answered that PostgreSQL, or the store of files, is away."""


@asynccontextmanager
async def sharing(limiter: RateLimiter) -> AsyncIterator[None]:
    """Share the counts of requests as long as the context lasts."""
    stop = asyncio.Event()
    running = asyncio.create_task(limiter.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=3)


@asynccontextmanager
async def logging_requests(requests: RequestLog) -> AsyncIterator[None]:
    """Write the log of requests as long as the context lasts."""
    stop = asyncio.Event()
    running = asyncio.create_task(requests.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=3)


def served(
    settings: Settings,
    service: str,
    app: Any,
    entrance: Entrance,
    limiter: Any,
    requests: RequestLog,
    witness: Witness | None = None,
) -> Conventions:
    """An API as clients see it: the application within the conventions."""
    handlers = described(settings)
    everything = [*handlers, *openapi_handlers(handlers)]
    policy: Literal["all", "notable"] = "all" if settings.log_level == "debug" else "notable"
    return Conventions(
        app,
        service=service,
        authenticator=entrance.authenticator,
        limiter=limiter,
        max_body_bytes=settings.max_body_bytes,
        body_limits={
            write_api.journal_import.PATH: settings.max_import_bytes,
            **write_api.journal_attachments.BODY_LIMITS,
        },
        # Whoever reaches a socket of ours is our gateway: its folder is this user's alone.
        trusted_proxies=(*settings.trusted_proxies, UNIX),
        metrics=HttpMetrics(service, REGISTRY),
        access_log=AccessLog(policy),
        request_log=requests,
        body_timeout=settings.body_timeout,
        hsts_seconds=settings.hsts_seconds,
        routes=Routes(everything),
        access=Access(everything),
        cors=Cors(settings.cors_origins, lambda: entrance.standing.origins),
        witness=witness,
    )
