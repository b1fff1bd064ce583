"""Telling the cache what happens: all of it, in order, and anew where nobody knows any more."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_store.happened import PostgresHappenings
from bootstrap.views import VIEWS
from bootstrap.wiring.caching import KINDS
from domain.accounts.events import SubjectErased
from domain.event import topics_of
from domain.journal.events import EntryDeleted, EntryWritten
from projections import invalidation
from projections.caching import Kept, Kind, Place, Stamp
from projections.invalidation import Happened, Invalidator
from tests.support.memory_cache import MemoryCache
from tests.support.servers import Database

pytestmark = pytest.mark.anyio

ANN, BEN = UUID(int=1), UUID(int=2)
WRITTEN = EntryWritten.TOPIC
ALL = Kind("all", "all:{user}", 60, ("v",), (EntryWritten, EntryDeleted))
DELETED = Kind("deleted", "deleted:{user}", 60, ("v",), (EntryDeleted,))


class Events:
    """A store in a list."""

    def __init__(self, *happened: tuple[str, UUID | None]) -> None:
        self.all = [Happened(at, *each) for at, each in enumerate(happened, 1)]

    async def head(self) -> int:
        return len(self.all)

    async def page(
        self, after: int, through: int, limit: int, topics: Sequence[str]
    ) -> Sequence[Happened]:
        found = [one for one in self.all[after:through] if one.topic in topics]
        return found[:limit]

    async def wait(self, seconds: float) -> None:
        raise AssertionError("nobody waits in a test")


async def keep(cache: MemoryCache, kind: Kind, user_id: UUID, position: int) -> None:
    place = Place(kind, user_id)
    found = await cache.fetch(place, 1 << 40, "b", "me")
    assert found.epoch is not None
    await cache.fill(place, Stamp(position, "b", found.epoch), b"value", "me")


async def is_kept(cache: MemoryCache, kind: Kind, user_id: UUID, needed: int) -> bool:
    return isinstance(await cache.fetch(Place(kind, user_id), needed, "b", "me"), Kept)


async def caught_up(invalidator: Invalidator) -> None:
    while await invalidator.step():
        pass


async def test_each_kind_is_void_by_what_it_takes() -> None:
    events, cache = Events(), MemoryCache()
    invalidator = Invalidator(events, cache, (ALL, DELETED))
    await caught_up(invalidator)
    for kind in (ALL, DELETED):
        for user in (ANN, BEN):
            await keep(cache, kind, user, 0)
    events.all = Events((WRITTEN, ANN), ("accounts.LoggedIn.v1", BEN)).all
    await caught_up(invalidator)
    assert not await is_kept(cache, ALL, ANN, 2)
    assert await is_kept(cache, DELETED, ANN, 2)
    assert await is_kept(cache, ALL, BEN, 2)
    events.all = Events(*[(WRITTEN, ANN)] * 2, (SubjectErased.TOPIC, BEN)).all
    await caught_up(invalidator)
    assert not await is_kept(cache, ALL, BEN, 2)
    assert not await is_kept(cache, DELETED, BEN, 2)


async def test_long_histories_are_told_by_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidation, "PAGE", 3)
    cache = MemoryCache()
    await cache.restart(0)
    await keep(cache, ALL, ANN, 9)
    await keep(cache, ALL, BEN, 1)
    events = Events(*[(WRITTEN, ANN), (WRITTEN, BEN)] * 4, ("accounts.LoggedIn.v1", ANN))
    await caught_up(Invalidator(events, cache, (ALL,)))
    assert await cache.reached() == 9
    assert await is_kept(cache, ALL, ANN, 9)
    assert not await is_kept(cache, ALL, BEN, 1)


async def test_it_begins_anew_where_the_cache_knows_nothing_or_another_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(invalidation, "FAR", 3)
    events = Events(*[(WRITTEN, BEN)] * 5)
    for begun in (None, 9, 1):  # lost; the store was put back; too much to tell
        cache = MemoryCache()
        if begun is not None:
            await cache.restart(begun)
            await keep(cache, ALL, ANN, begun)
        await caught_up(Invalidator(events, cache, (ALL,)))
        assert await cache.reached() == 5
        assert not await is_kept(cache, ALL, ANN, 0)


async def test_an_event_that_cannot_be_read_makes_everything_void() -> None:
    cache = MemoryCache()
    await cache.restart(0)
    await keep(cache, ALL, ANN, 0)
    await caught_up(Invalidator(Events((WRITTEN, None)), cache, (ALL,)))
    assert await cache.reached() == 1
    assert not await is_kept(cache, ALL, ANN, 0)


async def test_two_who_tell_at_once_tell_everything_once() -> None:
    cache = MemoryCache()
    await cache.restart(0)
    await keep(cache, ALL, ANN, 0)
    events = Events((WRITTEN, BEN), (WRITTEN, ANN))
    one, other = (Invalidator(events, cache, (ALL,)) for _ in range(2))
    await one.step()
    await other.step()
    assert await cache.reached() == 2
    assert not await is_kept(cache, ALL, ANN, 0)


async def test_every_event_that_changes_a_view_makes_what_is_read_of_it_void() -> None:
    views = {view.name: view for view in VIEWS}
    for kind in KINDS:
        for name in kind.views:
            missing = {each.TOPIC for each in views[name].takes} - set(topics_of(kind.takes))
            assert missing <= {SubjectErased.TOPIC}, f"{kind.name} does not heed {missing}"


async def test_the_store_tells_about_whom_each_event_is(empty_database: Database) -> None:
    rows = [
        (WRITTEN, b'{"entry_id":"x","user_id":"%s"}' % str(ANN).encode()),
        (WRITTEN, b'{"user_id":"%s"}\x00sealed \x00 bytes' % str(BEN).encode()),
        ("other.Thing.v1", b"{}"),
        (WRITTEN, b"broken"),
        (WRITTEN, b"{}"),
    ]
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        for at, (topic, data) in enumerate(rows, 1):
            connection.execute(
                "INSERT INTO events"
                " VALUES (%s, %s, 1, %s, %s, %s, 'c', NULL, 'a', NULL, now(), %s)",
                (at, f"s-{at}", topic, uuid7(), uuid7(), data),
            )
    events = PostgresHappenings(empty_database.project_dsn)
    assert await events.head() == 5
    found = await events.page(0, 5, 10, [WRITTEN])
    assert found == [
        (1, WRITTEN, ANN),
        (2, WRITTEN, BEN),
        (4, WRITTEN, None),
        (5, WRITTEN, None),
    ]
    assert [one.position for one in await events.page(1, 4, 1, [WRITTEN])] == [2]
    await events.close()
    assert await events.head() == 5
    await events.close()
