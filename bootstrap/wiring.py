"""The composition root: each role put together of its parts. Nothing else constructs adapters.

Read it from the bottom: ``write_api``, ``read_api``, ``projector``, ``worker``, ``scheduler`` are
the roles; ``setup`` and ``demo`` run once. Every function takes settings and nothing from its
surroundings, so that tests compose the same roles on servers of their own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID

import dramatiq
import msgspec
import psycopg
import redis.asyncio as redis
from litestar.handlers import HTTPRouteHandler
from prometheus_client import REGISTRY
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from uuid_utils.compat import uuid7

import commands.accounts
import commands.journal
import commands.journal_import  # noqa: F401 - importing registers handlers with the bus
import read_api.accounts
import read_api.journal
import read_api.journal_history
import read_api.journal_overview
import read_api.operations
import read_api.ops
import write_api.accounts
import write_api.journal
import write_api.journal_import
import write_api.logins
import write_api.operations
import write_api.ops
from adapters.attempts import RedisAttempts
from adapters.authentication import EndedLogins, TokenAuthenticator
from adapters.credentials import PostgresCredentials
from adapters.event_store.source import PostgresSource
from adapters.event_store.store import PostgresEventStore
from adapters.http.access_log import AccessLog
from adapters.http.addresses import UNIX
from adapters.http.app import application
from adapters.http.conventions import Conventions
from adapters.http.cursors import Cursors
from adapters.http.docs import openapi_handlers
from adapters.http.errors import Mapper, unavailable
from adapters.http.health import health_handlers
from adapters.http.limits import RateLimiter
from adapters.http.metrics import HttpMetrics
from adapters.http.pages import problem_handlers
from adapters.http.routes import Routes
from adapters.operations import PostgresOperations
from adapters.oversight import PostgresCare, PostgresOversight
from adapters.passwords import ArgonPasswords
from adapters.postgres.freshness import ProjectionWatch
from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from adapters.postgres.signals import Signals
from adapters.sealing import Sealer
from adapters.tokens import KeyRing, SignedTokens
from bootstrap import demonstration, imports
from bootstrap.engine import RANGED, DirectEngine
from bootstrap.master_key import master_key
from bootstrap.readiness import Dependencies
from bootstrap.settings import Settings
from bootstrap.views import VIEWS
from commands.bus import Bus
from commands.logins import Logins, Visit
from domain.accounts.person import Person
from domain.accounts.profile import email_key
from domain.operation import Operation
from projections.accounts.people import Totals
from projections.engine.runner import Runner
from projections.journal.days import streak_and_statistics
from projections.reading import Freshness, Reader
from workers.broker import Offers, OnLoop, redis_broker, work
from workers.journal import Importing, declare_import
from workers.projections import Tending, declare_projections
from workers.scheduler import schedule
from write_api.answering import Answering
from write_api.logins import Visiting

KNOWN = tuple((view.name, view.version) for view in VIEWS)
WRITE, READ, PROJECT = "mindstream_write", "mindstream_read", "mindstream_project"
UNAVAILABLE: dict[type[Exception], Mapper] = {
    psycopg.OperationalError: lambda error: unavailable(),
    psycopg.InterfaceError: lambda error: unavailable(),
}
"""How it is answered that PostgreSQL is away."""
SPARE_THREADS = 4
"""Threads of a worker beyond those of long work."""
CACHE_PATIENCE = 1.0
"""Seconds that Redis has for an answer before a request goes on without it."""


def _write_dsn(settings: Settings) -> str:
    assert settings.write_dsn is not None, "settings are connected before a role is composed"
    return settings.write_dsn


def _read_dsn(settings: Settings) -> str:
    return settings.read_dsn or _write_dsn(settings)


def _cache(settings: Settings) -> redis.Redis:
    assert settings.redis_url is not None, "settings are connected before a role is composed"
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=CACHE_PATIENCE,
        socket_connect_timeout=CACHE_PATIENCE,
        # Once more and at once: a server that came back leaves dead connections in the pool.
        retry=Retry(NoBackoff(), 1),
    )


class WriteSide:
    """The event store, what is beside it in the write database, and the command bus."""

    def __init__(self, settings: Settings) -> None:
        dsn = _write_dsn(settings)
        self.settings = settings
        self.reads = Pipeline(dsn, role=WRITE)
        self.writes = Pipeline(dsn, role=WRITE)
        self.cache = _cache(settings)
        self.sealer = Sealer(master_key(settings))
        self.signals = Signals(self.reads, self.cache)
        self.store = PostgresEventStore(self.reads, self.writes, self.sealer, self.signals.appended)
        self.bus = Bus(self.store)
        self.credentials = PostgresCredentials(self.reads, self.sealer)
        self.tokens = SignedTokens(self.credentials, new_id=uuid7)
        self.bulk = Pipeline(dsn, role=WRITE)  # pieces of imports must hold up nobody
        self.operations = PostgresOperations(self.bulk, self.sealer)
        self.care = PostgresCare(self.bulk)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connected as long as the context lasts."""
        try:
            await self.reads.open()
            await self.writes.open()
            await self.bulk.open()
            yield
        finally:
            await self.store.drain()
            await self.signals.close()
            await self.bulk.close()
            await self.writes.close()
            await self.reads.close()
            await self.cache.aclose()

    def logins(self) -> Logins:
        """Registration, login, refresh and logout."""
        return Logins(
            bus=self.bus,
            store=self.store,
            credentials=self.credentials,
            passwords=ArgonPasswords(),
            tokens=self.tokens,
            attempts=RedisAttempts(self.cache),
            new_id=uuid7,
        )

    async def ensure_key(self) -> None:
        """See to it that access tokens can be signed."""
        file = self.settings.jwt_private_key_file
        await self.tokens.ensure_key(file.read_bytes() if file is not None else None)


def _totals(reader: Reader) -> Any:
    async def totals(user_id: UUID, today: date) -> Totals:
        _, statistics = await streak_and_statistics(reader, user_id, today)
        return statistics

    return totals


def _write_handlers(
    side: WriteSide, reader: Reader, logins: Logins, offers: Offers
) -> list[HTTPRouteHandler]:
    errors = {**write_api.journal.ERRORS, **write_api.logins.ERRORS}
    answering = Answering(side.bus.dispatch, side.store, errors)
    visiting = Visiting(lambda data: side.sealer.digest(data, "idempotency"))
    around = write_api.accounts.surroundings(reader, _totals(reader))
    return [
        *write_api.logins.routes(answering, logins, visiting),
        *write_api.accounts.routes(answering, around),
        *write_api.journal.routes(answering, side.store, uuid7),
        *write_api.journal_import.routes(
            answering,
            side.store,
            side.operations,
            offers,
            uuid7,
            max_bytes=side.settings.max_import_bytes,
        ),
        *write_api.operations.routes(side.operations),
        *write_api.ops.routes(
            answering, side.store, side.operations, offers, side.care, uuid7, RANGED
        ),
    ]


def _read_handlers(
    reader: Reader,
    freshness: Freshness,
    cursors: Cursors,
    keys: KeyRing,
    streams: PostgresEventStore,
    operations: PostgresOperations,
    oversight: PostgresOversight,
) -> list[HTTPRouteHandler]:
    return [
        *read_api.accounts.routes(reader, freshness, _totals(reader), lambda: keys.jwks),
        *read_api.journal.routes(reader, freshness, cursors),
        *read_api.journal_history.routes(freshness, streams, cursors),
        *read_api.journal_overview.routes(reader, freshness, cursors),
        *read_api.operations.routes(operations),
        *read_api.ops.routes(oversight, cursors),
    ]


class _StandIn:
    """Stands in for a part where handlers are made only for what they say of themselves."""

    def __getattr__(self, name: str) -> Any:
        return self


def _described() -> list[HTTPRouteHandler]:
    """Every handler of both APIs, to be described and routed by, and not to be called."""
    stand_in = cast("Any", _StandIn())
    return [
        *_read_handlers(*[stand_in] * 7),
        *_write_handlers(stand_in, stand_in, stand_in, stand_in),
        *health_handlers(stand_in),
        *problem_handlers,
    ]


def write_api_app(settings: Settings) -> Any:
    """The write API as an ASGI application."""
    side = WriteSide(settings)
    reads = Pipeline(_read_dsn(settings), role=READ)
    keys = KeyRing(side.credentials)
    ended = EndedLogins(side.credentials, keys, dsn=_write_dsn(settings), role=WRITE)
    limiter = RateLimiter(settings.rate_limit_per_minute, side.cache)
    offers = Offers(redis_broker(settings.redis_url or "", works=False))
    handlers = _write_handlers(side, PipelineReader([reads]), side.logins(), offers)
    readiness = Dependencies({"database": side.reads}, side.cache, side.reads)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(side.opened())
            await reads.open()
            stack.push_async_callback(reads.close)
            await side.ensure_key()
            await ended.start()
            stack.push_async_callback(ended.close)
            await stack.enter_async_context(_beside(limiter))
            yield

    errors = {**write_api.journal.ERRORS, **write_api.logins.ERRORS, **write_api.answering.ERRORS}
    return _served(
        settings,
        "write-api",
        application(
            [*handlers, *health_handlers(readiness), *problem_handlers],
            errors={**UNAVAILABLE, **errors},
            lifespan=[lifespan],
        ),
        TokenAuthenticator(keys, ended),
        limiter,
    )


def read_api_app(settings: Settings) -> Any:
    """The read API as an ASGI application."""
    dsn = _read_dsn(settings)
    reads = [Pipeline(dsn, role=READ), Pipeline(dsn, role=READ)]
    # Events, operations and keys lie in the write database. Where that is the same one, the read
    # API needs no more rights than its own.
    same = _same_database(dsn, _write_dsn(settings))
    beside, slow = (
        Pipeline(dsn, role=READ) if same else Pipeline(_write_dsn(settings), role=WRITE)
        for _ in range(2)
    )
    cache = _cache(settings)
    sealer = Sealer(master_key(settings))
    streams = PostgresEventStore(beside, beside, sealer, lambda position: None)
    credentials = PostgresCredentials(beside)
    keys = KeyRing(credentials)
    ended = EndedLogins(credentials, keys, dsn=dsn, role=READ)
    watch = ProjectionWatch(dsn, role=READ, pipeline=reads[0])
    limiter = RateLimiter(settings.rate_limit_per_minute, cache)
    readiness = Dependencies({"database": reads[0], "event_store": beside}, cache, beside)
    handlers = _read_handlers(
        PipelineReader(reads),
        watch,
        Cursors(sealer.secret("cursors")),
        keys,
        streams,
        PostgresOperations(beside, sealer),
        PostgresOversight(slow, KNOWN),  # operators' lists must hold up nobody
    )
    documentation = openapi_handlers(_described(), title="Mindstream", version="1")

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pipeline in (*reads, beside, slow):
                await pipeline.open()
                stack.push_async_callback(pipeline.close)
            stack.push_async_callback(cache.aclose)
            await watch.open()
            stack.push_async_callback(watch.close)
            await ended.start()
            stack.push_async_callback(ended.close)
            await stack.enter_async_context(_beside(limiter))
            yield

    return _served(
        settings,
        "read-api",
        application(
            [*handlers, *health_handlers(readiness), *problem_handlers, *documentation],
            errors=UNAVAILABLE,
            lifespan=[lifespan],
        ),
        TokenAuthenticator(keys, ended),
        limiter,
    )


def _same_database(one: str, other: str) -> bool:
    ours, theirs = conninfo_to_dict(one), conninfo_to_dict(other)
    return all(ours.get(part) == theirs.get(part) for part in ("host", "port", "dbname"))


@asynccontextmanager
async def _beside(limiter: RateLimiter) -> AsyncIterator[None]:
    """Share the counts of requests as long as the context lasts."""
    stop = asyncio.Event()
    running = asyncio.create_task(limiter.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=3)


def _served(
    settings: Settings, service: str, app: Any, authenticator: TokenAuthenticator, limiter: Any
) -> Conventions:
    described = _described()
    policy: Literal["all", "notable"] = "all" if settings.log_level == "debug" else "notable"
    return Conventions(
        app,
        service=service,
        authenticator=authenticator,
        limiter=limiter,
        max_body_bytes=settings.max_body_bytes,
        body_limits={write_api.journal_import.PATH: settings.max_import_bytes},
        # Whoever reaches a socket of ours is our gateway: its folder is this user's alone.
        trusted_proxies=(*settings.trusted_proxies, UNIX),
        metrics=HttpMetrics(service, REGISTRY),
        access_log=AccessLog(policy),
        routes=Routes([*described, *openapi_handlers(described)]),
    )


async def projector(settings: Settings, stop: asyncio.Event) -> None:
    """Keep every view up to date until ``stop`` is set."""
    dsn = _write_dsn(settings)
    runner = Runner(dsn, PostgresSource(dsn, role=PROJECT), VIEWS, role=PROJECT)
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
        tending = Tending(side.operations, DirectEngine(_write_dsn(settings)), at_once)
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


async def setup(settings: Settings) -> Mapping[str, Any] | None:
    """Make the signing key, and the operator whom the settings name."""
    side = WriteSide(settings)
    async with side.opened():
        await side.ensure_key()
        if settings.operator_email and settings.operator_password:
            visit = Visit(now=datetime.now(UTC), correlation_id=f"setup_{uuid7().hex}")
            await side.logins().ensure_operator(
                settings.operator_email, settings.operator_password, visit
            )
    return None


async def demo(settings: Settings) -> Mapping[str, Any] | None:
    """Fill a store that has nobody but the operator with a demo; a login, or None.

    The login is kept beside the data (``HOME/demo.json``, mode 0600), so that every start can
    tell it.
    """
    kept = settings.home / "demo.json"
    if kept.exists():
        found: dict[str, Any] = msgspec.json.decode(kept.read_bytes())
        return found
    side = WriteSide(settings)
    async with side.opened():
        people = await side.store.count_claims("accounts.email")
        if people > (1 if settings.operator_email else 0):
            return None
        login = await demonstration.fill(
            side.bus, side.logins(), now=datetime.now(UTC), new_id=uuid7
        )
    kept.touch(mode=0o600)
    kept.write_bytes(msgspec.json.encode(login))
    return msgspec.to_builtins(login)  # type: ignore[no-any-return]  # a dict, as a struct is


async def import_diary(
    settings: Settings, path: Path, email: str, tell: Callable[[Operation], None]
) -> Operation | None:
    """Import a file for the person with this address; None where there is nobody."""
    side = WriteSide(settings)
    async with side.opened():
        key = email_key(email)
        holder = (await side.store.holders("accounts.email", [key])).get(key)
        person = await side.store.load(Person, holder) if holder is not None else None
        if person is None:
            return None
        return await imports.import_diary(
            path,
            person.id,
            person.tenant_id,
            operations=side.operations,
            offers=Offers(redis_broker(settings.redis_url or "", works=False)),
            new_id=uuid7,
            tell=tell,
        )
