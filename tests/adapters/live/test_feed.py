"""The feed on a real store: each event to its owner, once and in order, whatever breaks off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.event_store.store import PostgresEventStore
from adapters.event_store.subject_keys import SubjectKeys
from adapters.live import feed as feeding
from adapters.live import lines
from adapters.live.feed import LiveFeed
from adapters.live.lines import LiveLine
from adapters.postgres.pipeline import Pipeline
from adapters.sealing import Sealer
from bootstrap.views import VIEWS
from commands.ports import Append, Context
from domain.accounts.events import SubjectErased
from domain.event import Event
from domain.journal.entry import stream_of
from domain.journal.events import EntryDeleted, EntryWritten
from projections.following import (
    CONTEXTS,
    OWNER,
    Beyond,
    Ended,
    Reason,
    Told,
    TooMany,
    chosen,
    followed,
    open_to,
)
from tests.support.servers import Database

assert VIEWS  # every context's events are known

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Kept:
    """Credentials that are good until somebody says why not."""

    def __init__(self) -> None:
        self.reason: Reason | None = None

    def good(self) -> bool:
        return self.reason is None

    async def check(self) -> Reason | None:
        return self.reason


class Stack:
    """A store, and a feed that is woken by it."""

    def __init__(self, store: PostgresEventStore, feed: LiveFeed) -> None:
        self.store = store
        self.feed = feed

    async def append(self, user: UUID, *events: Event, stream: str, after: int = 0) -> int:
        context = Context(
            user_id=user,
            tenant_id=user,
            actor=f"user:{user}",
            now=NOW,
            correlation_id="req_1",
        )
        return (await self.store.append(context, Append(stream, after, events))).position

    async def write(self, user: UUID, **fields: Any) -> tuple[UUID, int]:
        entry = uuid7()
        event = entry_written(entry, user, **fields)
        return entry, await self.append(user, event, stream=stream_of(entry))

    async def follow(
        self, user: UUID, after: int | None = None, names: frozenset[str] | None = None
    ) -> LiveLine:
        wanted = frozenset(followed()) if names is None else names
        return await self.feed.follow(
            user, f"user:{user}", names=wanted, after=after, credentials=Kept(), kind="sse"
        )


def entry_written(entry: UUID, user: UUID, **fields: Any) -> EntryWritten:
    known = EntryWritten(
        entry_id=entry,
        user_id=user,
        date=date(2024, 1, 1),
        title="A day",
        content="Up, and to the office.",
        mood=None,
        location=None,
        weather=None,
        tags=(),
        is_private=False,
        word_count=5,
    )
    return msgspec.structs.replace(known, **fields)


@asynccontextmanager
async def stacked(database: Database, *, woken: bool = True, most: int = 5) -> AsyncIterator[Stack]:
    sealer = Sealer(bytes(32))
    wakes: list[Callable[[], None]] = []

    async def wake(call: Callable[[], None]) -> None:
        wakes.append(call)
        await asyncio.Event().wait()

    def appended(position: int) -> None:
        for call in wakes:
            call()

    writes = [Pipeline(database.write_dsn, role="mindstream_write") for _ in range(2)]
    reads = [Pipeline(database.read_dsn, role="mindstream_read") for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        for pipeline in (*writes, *reads):
            await pipeline.open()
            stack.push_async_callback(pipeline.close)
        store = PostgresEventStore(*writes, sealer, appended)
        stack.push_async_callback(store.drain)
        keys = SubjectKeys(sealer)
        feed = LiveFeed(*reads, keys, most=most, wakes=[wake] if woken else [])
        await stack.enter_async_context(feed.opened())
        yield Stack(store, feed)


@pytest.fixture
async def stack(empty_database: Database) -> AsyncIterator[Stack]:
    async with stacked(empty_database) as made:
        yield made


async def told_by(line: LiveLine, count: int) -> list[Told]:
    """The next events of a line."""
    found: list[Told] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += await line.next(1)
    return found


async def why_it_ends(line: LiveLine) -> Reason:
    async with asyncio.timeout(10):
        while True:
            try:
                await line.next(1)
            except Ended as ended:
                return ended.reason


Act = tuple[str, int]
acts = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2)),
        st.tuples(st.just("burst"), st.integers(0, 2)),
        st.tuples(st.just("break off"), st.integers(0, 3)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=25,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(acts=acts)
def test_whatever_breaks_off_nothing_is_lost_or_told_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch, acts: list[Act]
) -> None:
    # So small that every border is met.
    for name, value in {"NEAR": 2, "_STRIDE": 3, "_PAGE": 3, "_OWN_PAGE": 2, "POLL": 0.05}.items():
        monkeypatch.setattr(feeding, name, value)
    monkeypatch.setattr(lines, "MOST_WAITING", 2)
    asyncio.run(_play(database, acts))


async def _play(database: Database, acts: list[Act]) -> None:
    async with contextlib.AsyncExitStack() as outer:
        stack = await outer.enter_async_context(stacked(database))
        play = _Play(stack, await stack.feed._head())
        for what, number in acts:
            if what == "write":
                await play.write(number)
            elif what == "burst":
                play.burst(number)
            elif what == "break off":
                await asyncio.sleep(0.001 * number)
                await play.begin_again(number % 3)
            else:
                play.stack = await outer.enter_async_context(stacked(database))
                for each in range(3):
                    await play.begin_again(each)
        await play.until_all_is_seen()
    assert play.seen == [sorted(each) for each in play.expected]


class _Play:
    """Three people who write and listen; each listens again from the last event that came."""

    def __init__(self, stack: Stack, start: int) -> None:
        self.stack = stack
        self.start = start
        self.users = [uuid7() for _ in range(3)]
        self.seen: list[list[int]] = [[], [], []]
        self.expected: list[list[int]] = [[], [], []]
        self.readers = [asyncio.create_task(self.read(number)) for number in range(3)]
        self.writing: list[asyncio.Task[None]] = []

    async def read(self, number: int) -> None:
        seen = self.seen[number]
        line = await self.stack.follow(self.users[number], max(seen, default=self.start))
        try:
            while True:
                for told in await line.next(0.2):
                    seen.append(told.position)
                    await asyncio.sleep(0)
        finally:
            line.close()

    async def write(self, number: int) -> None:
        _, position = await self.stack.write(self.users[number])
        self.expected[number].append(position)

    def burst(self, number: int) -> None:
        self.writing += [asyncio.create_task(self.write((number + n) % 3)) for n in range(6)]

    async def begin_again(self, number: int) -> None:
        self.readers[number].cancel()
        await asyncio.gather(self.readers[number], return_exceptions=True)
        self.readers[number] = asyncio.create_task(self.read(number))

    async def until_all_is_seen(self) -> None:
        if self.writing:
            await asyncio.gather(*self.writing)
        async with asyncio.timeout(10):
            while any(len(s) < len(e) for s, e in zip(self.seen, self.expected, strict=True)):
                assert not any(reader.done() for reader in self.readers)
                await asyncio.sleep(0.005)
        for reader in self.readers:
            reader.cancel()
        await asyncio.gather(*self.readers, return_exceptions=True)


@pytest.mark.anyio
async def test_it_polls_where_nobody_wakes_it(empty_database: Database) -> None:
    async with stacked(empty_database, woken=False) as stack:
        user = uuid7()
        line = await stack.follow(user)
        assert await line.next(0.01) == []
        entry, position = await stack.write(user)
        [told] = await told_by(line, 1)
        assert told.position == position
        assert msgspec.json.decode(told.data)["entry_id"] == str(entry)


@pytest.mark.anyio
async def test_it_reads_nothing_while_nobody_listens(stack: Stack) -> None:
    user = uuid7()
    _, first = await stack.write(user)
    assert stack.feed._known == 0
    line = await stack.follow(user)
    assert stack.feed._known == first
    line.close()
    _, second = await stack.write(user)
    line = await stack.follow(user, first)
    assert [told.position for told in await told_by(line, 1)] == [second]
    with pytest.raises(Beyond):
        await stack.follow(user, second + 1)


@pytest.mark.anyio
async def test_who_does_not_read_is_dropped(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_BYTES", 5_000)
    monkeypatch.setattr(lines, "SLOW_AFTER", 0.0)
    slow, quick = uuid7(), uuid7()
    one, other = await stack.follow(slow), await stack.follow(quick)
    assert await one.next(0.01) == await other.next(0.01) == []  # both have joined
    for _ in range(2):
        await stack.write(slow, content="x" * 4_000)
        await stack.write(quick, content="x" * 4_000)
        await told_by(other, 1)
    assert await why_it_ends(one) == "slow"
    assert one.position == 1


@pytest.mark.anyio
async def test_a_burst_is_read_at_the_pace_of_its_reader(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST_BYTES", 5_000)
    user, witness = uuid7(), uuid7()
    line, other = await stack.follow(user), await stack.follow(witness)
    assert await line.next(0.01) == await other.next(0.01) == []
    written = [(await stack.write(user, content="x" * 2_000))[1] for _ in range(9)]
    await stack.write(witness)
    await told_by(other, 1)  # all of it has been read by now
    assert len(line._waiting) < 3
    assert [told.position for told in await told_by(line, 9)] == written
    _, last = await stack.write(user)
    assert [told.position for told in await told_by(line, 1)] == [last]
    assert line.joined


@pytest.mark.anyio
async def test_an_erasure_ends_what_it_reaches(stack: Stack) -> None:
    user, other = uuid7(), uuid7()
    joined, stays = await stack.follow(user), await stack.follow(other)
    await joined.next(0.01)
    _, first = await stack.write(user)
    await stack.append(user, SubjectErased(user_id=user), stream=f"erasure-{user}")
    assert await why_it_ends(joined) == "unauthenticated"
    # One that begins before the erasure ends there, too.
    assert await why_it_ends(await stack.follow(user, first - 1)) == "unauthenticated"
    _, position = await stack.write(other)
    assert [told.position for told in await told_by(stays, 1)] == [position]


@pytest.mark.anyio
async def test_what_cannot_be_read_is_passed_over(stack: Stack, empty_database: Database) -> None:
    user = uuid7()
    _, broken = await stack.write(user)
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER USER")
        connection.execute("UPDATE events SET data = data || 'x'::bytea")
        connection.execute("ALTER TABLE events ENABLE TRIGGER USER")
    line = await stack.follow(user, 0)
    _, position = await stack.write(user)
    assert [told.position for told in await told_by(line, 1)] == [position]
    assert position == broken + 1


@pytest.mark.anyio
async def test_who_may_not_go_on_is_told_no_more(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "LOOK", 0.02)
    user = uuid7()
    line = await stack.follow(user)
    credentials = line.credentials
    assert isinstance(credentials, Kept)
    await line.next(0.01)
    credentials.reason = "forbidden"
    assert await why_it_ends(line) == "forbidden"


@pytest.mark.anyio
async def test_a_principal_has_so_many_connections(empty_database: Database) -> None:
    async with stacked(empty_database, most=2) as stack:
        user = uuid7()
        first, second = await stack.follow(user), await stack.follow(user)
        with pytest.raises(TooMany):
            await stack.follow(user)
        await stack.follow(uuid7())
        first.close()
        await stack.follow(user)
        assert second.joined is False
        stack.feed.end()
        assert await why_it_ends(second) == "closing"
        with pytest.raises(Ended):
            await stack.follow(user)


@pytest.mark.anyio
async def test_only_what_is_wanted_is_told(stack: Stack) -> None:
    user = uuid7()
    line = await stack.follow(user, 0, chosen("EntryDeleted"))
    entry, _ = await stack.write(user)
    gone = EntryDeleted(entry_id=entry, user_id=user, date=date(2024, 1, 1))
    position = await stack.append(user, gone, stream=stream_of(entry), after=1)
    [told] = await told_by(line, 1)
    assert (told.position, told.name) == (position, "journal.EntryDeleted")


def test_the_owner_stands_within_the_bytes_that_are_sieved() -> None:
    """Only ids of 36 characters stand before it, so that no value moves it out of sight."""
    names = followed()
    assert len(names) > 20
    for name, kind in names.items():
        fields = msgspec.structs.fields(kind)
        at = [field.encode_name for field in fields].index(OWNER)
        assert all(field.type in (UUID, UUID | None) for field in fields[:at]), name
        before = sum(len(field.encode_name) + len('"":"",') + 36 for field in fields[:at])
        assert before + len(f'{{"{OWNER}":"') + 36 <= feeding.OWNER_WITHIN, name


def test_what_is_open_to_whom() -> None:
    contexts = {name.partition(".")[0] for name in followed()}
    assert contexts == set(CONTEXTS) == {"journal", "accounts"}
    assert open_to(None) == set(CONTEXTS)
    assert open_to({"journal:read", "ops:read"}) == {"journal"}
    assert open_to(set()) == set()
    assert "accounts.SubjectErased" not in followed()
    assert chosen("journal") == {name for name in followed() if name.startswith("journal.")}
    assert chosen("EntryWritten") == chosen("journal.EntryWritten") == {"journal.EntryWritten"}
    assert chosen("ops") == chosen("ActionTaken") == chosen("") == set()
