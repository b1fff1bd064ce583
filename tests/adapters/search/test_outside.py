"""A view that lies in an index outside: as fresh, as rebuildable and as hard to hurt as a table."""

from __future__ import annotations

import asyncio
import datetime
import functools
import itertools
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_store.source import PostgresSource
from adapters.event_store.subject_keys import SubjectKeys
from adapters.sealing import Sealer
from adapters.search.journal import IndexSearch
from adapters.search.store import IndexStore
from bootstrap.search import MAPPING
from domain.journal.events import EntryRevised
from projections.engine import erasure
from projections.engine.outside import StoreUnavailable
from projections.engine.rebuild import Options, rebuild, rollback, verify
from projections.journal.search import Searchable
from tests.support.found import Written
from tests.support.journal_stack import Stack, running_stack
from tests.support.relay import Relay, relay
from tests.support.searching import Folded, an_entry
from tests.support.servers import Database
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

SEARCH = "/v1/journal/search"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def way(opensearch: str) -> Any:
    parts = urlsplit(opensearch)
    with relay(parts.hostname or "", parts.port or 0) as made:
        yield made


def placed(url: str) -> tuple[Searchable, IndexStore, IndexSearch]:
    """A view in an index of its own, and what searches it."""
    prefix = f"outside{next(_numbers)}-"
    view, store = Searchable(), IndexStore(url, {Searchable.name: MAPPING}, prefix=prefix)
    view.kept_in(store)
    return view, store, IndexSearch(url, prefix=prefix)


class System:
    """A journal whose search lies outside."""

    def __init__(self, stack: Stack, view: Searchable, store: IndexStore, dsn: str) -> None:
        self.stack, self.view, self.store, self.dsn = stack, view, store, dsn

    async def engine(self, what: Any, **options: Any) -> Any:
        """Rebuild, verify or roll back."""
        keys = SubjectKeys(Sealer(bytes(range(32))))
        sources = functools.partial(PostgresSource, self.dsn, keys=keys)
        return await asyncio.to_thread(what, self.dsn, sources, self.view, **options)


@pytest.fixture(scope="module")
async def system(database: Database, way: Relay) -> AsyncIterator[System]:
    view, store, search = placed(f"http://127.0.0.1:{way.port}")
    async with running_stack(database, (view, search)) as stack:
        yield System(stack, view, store, database.project_dsn)
    await search.close()
    store.client.close()


async def write(client: httpx.AsyncClient, day: int, content: str) -> dict[str, str]:
    body = {"date": f"2026-03-{day:02}", "title": "A day", "content": content}
    answer = await client.post("/v1/journal/entries", json=body)
    assert answer.status_code == 201, answer.text
    return {"consistency-token": answer.headers["consistency-token"], "prefer": "wait=10"}


async def total(client: httpx.AsyncClient, q: str, fresh: dict[str, str]) -> int:
    answer = await client.get(SEARCH, params={"q": q}, headers=fresh)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["meta"]["total"])


async def test_a_fresh_search_finds_what_was_just_written(system: System) -> None:
    async with system.stack.client() as person:
        for day in range(1, 6):
            fresh = await write(person, day, "harbour")
            assert await total(person, "harbour", fresh) == day


async def test_while_it_is_away_everything_else_goes_on(
    system: System, way: Relay, database: Database
) -> None:
    async with system.stack.client() as person:
        fresh = await write(person, 1, "harbour")
        assert await total(person, "harbour", fresh) == 1
        way.cut()
        try:
            for day in range(2, 6):
                fresh = await write(person, day, "harbour")
            page = await person.get("/v1/journal/entries", headers=fresh)
            assert len(page.json()["data"]) == 5
            refused = await person.get(SEARCH, params={"q": "harbour"})
            assert (refused.status_code, refused.json()["code"]) == (503, "SEARCH_UNAVAILABLE")
            assert int(refused.headers["retry-after"]) > 0
            with psycopg.connect(database.owner_dsn, autocommit=True) as connection:

                async def told() -> bool:
                    row = connection.execute(
                        "SELECT error FROM projection_checkpoints WHERE name = 'journal.search'"
                    ).fetchone()
                    return row is not None and "does not answer" in (row[0] or "")

                await eventually_async(told)
                assert connection.execute("SELECT FROM projection_quarantine").rowcount == 0
        finally:
            way.restore()

        async def caught_up() -> bool:
            answer = await person.get(SEARCH, params={"q": "harbour"}, headers=fresh)
            return answer.status_code == 200 and answer.json()["meta"]["total"] == 5

        await eventually_async(caught_up, within=30)


async def test_a_rebuild_equals_the_live_rows_and_can_be_taken_back(system: System) -> None:
    async with system.stack.client() as person:
        for day in range(1, 4):
            fresh = await write(person, day, "harbour")
        assert await total(person, "harbour", fresh) == 3
        checked = await system.engine(verify)
        assert checked.equal, checked
        report = await system.engine(rebuild)
        assert (report.equal, report.swapped, report.rows) == (True, True, checked.rows_live)
        fresh = await write(person, 4, "harbour")
        assert await total(person, "harbour", fresh) == 4
        back = await system.engine(rollback)
        assert back.generation < report.generation
        assert await total(person, "harbour", fresh) == 4
        fresh = await write(person, 5, "harbour")
        assert await total(person, "harbour", fresh) == 5


async def test_what_was_damaged_is_told_and_repaired(system: System) -> None:
    async with system.stack.client() as person:
        fresh = await write(person, 1, "harbour")
        assert await total(person, "harbour", fresh) == 1
        [hit] = (await person.get(SEARCH, params={"q": "harbour"})).json()["data"]
        index = system.store.alias(system.view.table)
        document = dict(system.store.client.get(index=index, id=hit["entry_id"])["_source"])
        spoilt = {**document, "title": "spoilt", "en_title": "spoilt"}
        system.store.client.index(index=index, id=hit["entry_id"], document=spoilt)
        checked = await system.engine(verify)
        assert not checked.equal
        [difference] = checked.differences
        assert difference.key == hit["entry_id"]
        assert "spoilt" not in str(difference)
        assert difference.expected["title"]["sealed"]
        report = await system.engine(rebuild, options=Options(key=difference.key))
        assert report.rows == 1
        checked = await system.engine(verify)
        assert checked.equal, checked
        fresh = await write(person, 2, "harbour")
        assert await total(person, "harbour", fresh) == 2


async def test_an_index_that_was_lost_is_no_empty_one(system: System) -> None:
    async with system.stack.client() as person:
        fresh = await write(person, 1, "harbour")
        assert await total(person, "harbour", fresh) == 1
        system.store.drop(system.view.table)
        refused = await person.get(SEARCH, params={"q": "harbour"})
        assert (refused.status_code, refused.json()["code"]) == (503, "SEARCH_UNAVAILABLE")
        fresh = await write(person, 2, "harbour")
        report = await system.engine(rebuild)
        assert report.swapped
        assert await total(person, "harbour", fresh) == 2


async def test_a_person_is_counted_and_purged_in_every_generation(
    system: System, database: Database
) -> None:
    who = uuid7()
    async with system.stack.client(who) as person:
        fresh = await write(person, 1, "harbour")
        assert await total(person, "harbour", fresh) == 1
        with psycopg.connect(database.project_dsn, autocommit=True) as connection:
            counted = erasure.rows_of(connection, [system.view], who)
            assert counted["journal_search"] == 1
            assert sum(counted.values()) <= 2
            kept = next((name for name in counted if name != "journal_search"), None)
            purged = erasure.purge(connection, [system.view], who, 1 << 40)
        assert purged["journal_search"] == 1
        assert kept is None or kept in purged
        assert await total(person, "harbour", {}) == 0


def test_what_was_written_before_a_crash_is_skipped(opensearch: str) -> None:
    view, store, search = placed(opensearch)
    store.begin(view, view.table)
    writer = store.writer(view, view.table)
    seen: list[Any] = []
    folded = Folded(search, seen.extend)
    user_id, entry_id = uuid7(), str(uuid7())
    first = an_entry(user_id, Written(entry_id, datetime.date(2026, 3, 1), "a", "b"))
    second = EntryRevised(entry_id=UUID(entry_id), user_id=user_id, title="c")
    asyncio.run(folded.append(first, second))
    writer.apply(seen)
    for again in (seen, seen[:1], seen[1:]):
        store.writer(view, view.table).apply(again)
        found = store.client.get(index=store.alias(view.table), id=entry_id)
        assert (found["_source"]["title"], found["_version"]) == ("c", seen[1].position)
    store.drop(view.table)
    with pytest.raises(StoreUnavailable, match="no such index"):
        writer.apply(seen)
    store.client.close()
