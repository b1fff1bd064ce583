"""The journal on real parts in one process: store, projector, both APIs, import, no network.

A request is authenticated by ``Authorization: Bearer <user id>``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import httpx
from uuid_utils.compat import uuid7

import commands.journal_import  # noqa: F401  registers its handler
from adapters.event_store.source import PostgresSource
from adapters.event_store.store import PostgresEventStore
from adapters.event_store.subject_keys import SubjectKeys
from adapters.http.app import application
from adapters.http.attachment_links import AttachmentLinks, OwnAddresses
from adapters.http.context import unauthenticated
from adapters.http.conventions import Conventions
from adapters.http.cursors import Cursors
from adapters.http.limits import RateLimiter
from adapters.http.links import Base, Links
from adapters.http.principal import Principal
from adapters.operations import PostgresOperations
from adapters.postgres.freshness import ProjectionWatch
from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from adapters.postgres.signals import Signals
from adapters.sealing import Sealer
from commands.bus import Bus
from projections.accounts.people import People
from projections.engine.runner import Runner
from projections.journal.days import Days
from projections.journal.entries import Entries
from projections.journal.search import PostgresSearch, Search, Searchable
from projections.journal.tags import Tags
from projections.journal.vocabulary import Vocabulary
from projections.reading import Reader
from read_api import journal as read_journal
from read_api import journal_history, journal_overview, journal_search
from read_api import operations as read_operations
from read_api.shared import Shared
from tests.support.servers import Database
from workers.journal import Importing
from write_api import answering as write_answering
from write_api import journal as write_journal
from write_api import journal_import
from write_api import operations as write_operations
from write_api.answering import Answering

VIEWS = (Entries(), Days(), Tags(), People(), Searchable(), Vocabulary())


class Bearer:
    """Whoever says so is a person with the rights that everyone has."""

    def cached(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        raw = headers.get(b"authorization", b"").removeprefix(b"Bearer ").decode()
        if not raw:
            return None
        rights = frozenset({"journal:read", "journal:write"})
        return Principal(UUID(raw), UUID(raw), None, None, "free", rights)

    async def authenticate(self, headers: Mapping[bytes, bytes], client: str | None) -> Principal:
        raise unauthenticated()


class Offered:
    """A broker that only remembers."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []

    def offer_soon(self, kind: str, operation_id: UUID) -> None:
        self.ids.append(operation_id)


class Stack:
    """What ``running_stack`` gives: the parts, and a client for each person."""

    def __init__(self, app: Any, store: Any, operations: Any, importing: Importing) -> None:
        self.app = app
        self.store = store
        self.operations = operations
        self.importing = importing
        self.offered = Offered()
        self.reader: Reader

    def client(self, user_id: UUID | None = None) -> httpx.AsyncClient:
        """A client as this person, or as a new one."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://mindstream",
            headers={"authorization": f"Bearer {user_id or uuid7()}"},
        )


@contextlib.asynccontextmanager
async def running_stack(
    database: Database, outside: tuple[Searchable, Search] | None = None
) -> AsyncIterator[Stack]:
    """Everything that the journal needs, on this database; ``outside`` is a search elsewhere."""
    stop = threading.Event()
    sealer = Sealer(bytes(range(32)))
    keys = SubjectKeys(sealer)
    source = PostgresSource(database.project_dsn, keys=SubjectKeys(sealer))
    views = [view for view in VIEWS if outside is None or not isinstance(view, Searchable)]
    runners = [Runner(database.project_dsn, source, views)]
    if outside is not None:
        beside = PostgresSource(database.project_dsn, keys=SubjectKeys(sealer))
        runners.append(Runner(database.project_dsn, beside, [outside[0]]))
    projectors = [threading.Thread(target=each.run, args=(stop,)) for each in runners]
    pipelines = {
        name: Pipeline(dsn, role=role)
        for name, dsn, role in (
            ("reads", database.write_dsn, "mindstream_write"),
            ("writes", database.write_dsn, "mindstream_write"),
            ("signals", database.write_dsn, "mindstream_write"),
            ("work", database.write_dsn, "mindstream_write"),
            ("views", database.read_dsn, "mindstream_read"),
            ("shows", database.read_dsn, "mindstream_read"),
        )
    }
    watch = ProjectionWatch(database.read_dsn)
    async with contextlib.AsyncExitStack() as closing:
        for pipeline in pipelines.values():
            await pipeline.open()
            closing.push_async_callback(pipeline.close)
        await watch.open()
        closing.push_async_callback(watch.close)
        for projector in projectors:
            projector.start()
            closing.push_async_callback(asyncio.to_thread, projector.join)
        closing.callback(stop.set)
        signals = Signals(pipelines["signals"])
        closing.push_async_callback(signals.close)
        store = PostgresEventStore(
            pipelines["reads"], pipelines["writes"], sealer, signals.appended, keys
        )
        bus = Bus(store)
        operations = PostgresOperations(pipelines["work"], sealer)
        importing = Importing(operations, store, bus.dispatch, uuid7)
        stack = Stack(None, store, operations, importing)
        stack.reader = PipelineReader([pipelines["views"]])
        errors = {**write_answering.ERRORS, **write_journal.ERRORS}
        answering = Answering(bus.dispatch, store, errors)
        links = AttachmentLinks(OwnAddresses(Links(b"0123456789abcdef")), Base(None, ""), 900)
        writes = application(
            [
                *write_journal.routes(answering, store, uuid7, links),
                *journal_import.routes(answering, store, operations, stack.offered, uuid7),
                *write_operations.routes(operations, store, uuid7),
            ],
            errors=errors,
        )
        reader, cursors = stack.reader, Cursors(b"0123456789abcdef")
        reads = application(
            [
                *read_journal.routes(reader, watch, cursors, Shared(None, watch), links),
                *journal_history.routes(watch, store, cursors, links),
                *journal_overview.routes(reader, watch, cursors),
                *journal_search.routes(
                    reader, outside[1] if outside else PostgresSearch(reader), watch, cursors
                ),
                *read_operations.routes(PostgresOperations(pipelines["shows"], sealer)),
            ]
        )

        async def gateway(scope: Any, receive: Any, send: Any) -> None:
            await (reads if scope["method"] == "GET" else writes)(scope, receive, send)

        stack.app = Conventions(
            gateway,
            service="test",
            authenticator=Bearer(),
            limiter=RateLimiter(1_000_000),
            body_limits=journal_import.BODY_LIMITS,
        )
        yield stack
