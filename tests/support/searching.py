"""Stores that a search can be made of, each filled by the view that the product fills it with."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

import psycopg
import pytest

from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from adapters.search.journal import IndexSearch
from adapters.search.store import IndexStore
from bootstrap.search import MAPPING
from domain.event import Event, Recorded
from domain.journal.entry import stream_of
from domain.journal.events import EntryWritten
from projections.engine.writer import ViewWriter
from projections.journal.search import PostgresSearch, Search, Searchable
from projections.journal.vocabulary import Vocabulary
from tests.support.found import Written
from tests.support.servers import Database

_positions = itertools.count(1)


class Store(Protocol):
    """A search, and how entries come into its store."""

    search: Search

    async def write(self, user_id: UUID, entries: list[Written]) -> None:
        """Write all of these."""
        ...

    async def append(self, *events: Event) -> None:
        """Fold these."""
        ...


def an_entry(user_id: UUID, entry: Written) -> EntryWritten:
    """The event that says it was written."""
    return EntryWritten(
        entry_id=UUID(entry.id),
        user_id=user_id,
        date=entry.date,
        title=entry.title,
        content=entry.content,
        mood=entry.mood,
        location=None,
        weather=None,
        tags=entry.tags,
        is_private=entry.is_private,
        word_count=0,
    )


class Folded:
    """Events given to writers, as the projector would."""

    def __init__(self, search: Search, apply: Callable[[list[Recorded]], object]) -> None:
        self.search = search
        self._apply = apply
        self._versions: dict[str, int] = {}

    async def write(self, user_id: UUID, entries: list[Written]) -> None:
        """Write all of these."""
        await self.append(*(an_entry(user_id, entry) for entry in entries))

    async def append(self, *events: Event) -> None:
        """Fold these."""
        recorded = [self._recorded(event) for event in events]
        await asyncio.to_thread(self._apply, recorded)

    def _recorded(self, event: Any) -> Recorded:
        stream = stream_of(event.entry_id) if hasattr(event, "entry_id") else str(event.user_id)
        self._versions[stream] = version = self._versions.get(stream, 0) + 1
        now = datetime.datetime.now(datetime.UTC)
        return Recorded(
            position=next(_positions),
            stream_id=stream,
            stream_version=version,
            tenant_id=event.user_id,
            recorded_at=now,
            event=event,
        )


Opening = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def on_postgres(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """The tables of a fresh database."""
    database: Database = request.getfixturevalue("database")
    pipeline = Pipeline(database.read_dsn, role="mindstream_read")
    await pipeline.open()
    with psycopg.connect(database.project_dsn, autocommit=True) as connection:
        views = (Searchable(), Vocabulary())
        writers = [ViewWriter(view, connection, view.table) for view in views]

        def apply(events: list[Recorded]) -> None:
            with connection.transaction():
                for writer in writers:
                    takes = writer.view.takes
                    writer.apply([each for each in events if type(each.event) in takes])

        try:
            yield Folded(PostgresSearch(PipelineReader([pipeline])), apply)
        finally:
            await pipeline.close()


def mappings() -> dict[str, Any]:
    """How the views' documents are indexed."""
    return {Searchable.name: MAPPING}


@asynccontextmanager
async def on_opensearch(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An index of a real OpenSearch, as a store outside the database."""
    url: str = request.getfixturevalue("opensearch")
    prefix = f"test{next(_positions)}-"
    store = IndexStore(url, mappings(), prefix=prefix)
    view = Searchable()
    view.kept_in(store)
    store.begin(view, view.table)
    writer = store.writer(view, view.table)
    search = IndexSearch(url, prefix=prefix)
    try:
        yield Folded(search, writer.apply)
    finally:
        await search.close()
        store.drop(view.table)
        store.client.close()


def stores() -> list[Any]:
    """Every store, as parameters of a fixture."""
    return [
        pytest.param(on_postgres, id="postgres"),
        pytest.param(on_opensearch, id="opensearch"),
    ]
