"""Commands on the in-memory store: one entry a day, whoever races."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from commands.bus import Bus
from commands.journal import (
    DAY,
    DeleteEntry,
    RestoreEntry,
    ReviseEntry,
    WriteEntry,
    day_key,
)
from commands.journal_import import BatchResult, ImportEntries, read_line
from commands.ports import Append, Claim, Committed, Context
from domain.errors import NotFound, Stale
from domain.journal.entry import Changes, Draft, DuplicateEntryDate, Entry, stream_of
from tests.support.memory_store import MemoryEventStore

pytestmark = pytest.mark.anyio

USER = uuid7()
NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
ONE, TWO = datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)


def context(user_id: UUID = USER) -> Context:
    return Context(
        user_id=user_id, tenant_id=user_id, actor=f"user:{user_id}", now=NOW, correlation_id="r"
    )


@pytest.fixture
def store() -> MemoryEventStore:
    return MemoryEventStore()


@pytest.fixture
def bus(store: MemoryEventStore) -> Bus:
    return Bus(store)


def draft(date: datetime.date = ONE, title: str = "t") -> Draft:
    return Draft(date=date, title=title, content="c")


async def do(bus: Bus, command: object, user_id: UUID = USER) -> Any:
    return (await bus.dispatch(command, context(user_id))).result


async def test_writing_claims_the_day(bus: Bus, store: MemoryEventStore) -> None:
    entry = await do(bus, WriteEntry(uuid7(), draft()))
    assert store.claims[DAY, day_key(USER, ONE)] == stream_of(entry.entry_id)
    assert await store.load(Entry, stream_of(entry.entry_id)) == entry
    with pytest.raises(DuplicateEntryDate) as refused:
        await do(bus, WriteEntry(uuid7(), draft()))
    assert refused.value.entry_id == entry.entry_id
    other = await do(bus, WriteEntry(uuid7(), draft()), uuid7())
    assert other.entry_id != entry.entry_id


async def test_a_deleted_day_begins_again_on_its_stream(bus: Bus) -> None:
    entry = await do(bus, WriteEntry(uuid7(), draft()))
    await do(bus, DeleteEntry(entry.entry_id, 1))
    again = await do(bus, WriteEntry(uuid7(), draft(title="again")))
    assert (again.entry_id, again.version, again.title) == (entry.entry_id, 3, "again")


async def test_a_move_frees_the_old_day(bus: Bus, store: MemoryEventStore) -> None:
    entry = await do(bus, WriteEntry(uuid7(), draft()))
    moved = await do(bus, ReviseEntry(entry.entry_id, 1, Changes(date=TWO)))
    assert moved.date == TWO
    assert (DAY, day_key(USER, ONE)) not in store.claims
    back = await do(bus, ReviseEntry(entry.entry_id, None, Changes(date=ONE)))
    assert back.version == 3


async def test_a_deleted_entry_whose_day_was_taken_and_freed_can_be_restored(bus: Bus) -> None:
    deleted = await do(bus, WriteEntry(uuid7(), draft(ONE)))
    await do(bus, DeleteEntry(deleted.entry_id, None))
    mover = await do(bus, WriteEntry(uuid7(), draft(TWO)))
    await do(bus, ReviseEntry(mover.entry_id, 1, Changes(date=ONE)))
    with pytest.raises(DuplicateEntryDate) as refused:
        await do(bus, RestoreEntry(deleted.entry_id))
    assert refused.value.entry_id == mover.entry_id
    await do(bus, ReviseEntry(mover.entry_id, 2, Changes(date=TWO)))
    restored = await do(bus, RestoreEntry(deleted.entry_id))
    assert restored.state == "active"


async def test_stale_foreign_and_deleted(bus: Bus) -> None:
    entry = await do(bus, WriteEntry(uuid7(), draft()))
    with pytest.raises(Stale) as stale:
        await do(bus, ReviseEntry(entry.entry_id, 2, Changes(title="x")))
    assert (stale.value.expected, stale.value.actual) == (2, 1)
    for command in (
        ReviseEntry(entry.entry_id, 1, Changes(title="x")),
        DeleteEntry(entry.entry_id, 1),
        RestoreEntry(entry.entry_id),
    ):
        with pytest.raises(NotFound):
            await do(bus, command, uuid7())
    await do(bus, DeleteEntry(entry.entry_id, 1))
    with pytest.raises(NotFound):
        await do(bus, DeleteEntry(entry.entry_id, 2))
    with pytest.raises(NotFound):
        await do(bus, ReviseEntry(entry.entry_id, 2, Changes()))


class Raced(MemoryEventStore):
    """Somebody else does something between a load and the append that follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.before_append: list[Any] = []

    async def append(
        self, context: Context, *appends: Append, claims: Any = (), result: Any = None
    ) -> Committed:
        if self.before_append:
            await self.before_append.pop(0)()
        return await super().append(context, *appends, claims=claims, result=result)


async def test_a_lost_race_is_stale_for_a_version_and_repeated_for_any() -> None:
    store = Raced()
    bus = Bus(store)
    entry = await do(bus, WriteEntry(uuid7(), draft()))

    async def other() -> None:
        await do(bus, ReviseEntry(entry.entry_id, None, Changes(title="other")))

    store.before_append = [other]
    with pytest.raises(Stale):
        await do(bus, ReviseEntry(entry.entry_id, 1, Changes(mood="sad")))
    store.before_append = [lambda: do(bus, ReviseEntry(entry.entry_id, None, Changes(title="3")))]
    revised = await do(bus, ReviseEntry(entry.entry_id, None, Changes(mood="sad")))
    assert (revised.title, revised.mood, revised.version) == ("3", "sad", 4)


async def test_of_two_that_write_a_day_one_is_refused_and_a_freed_day_is_taken() -> None:
    store = Raced()
    bus = Bus(store)
    store.before_append = [lambda: do(bus, WriteEntry(uuid7(), draft()))]
    with pytest.raises(DuplicateEntryDate):
        await do(bus, WriteEntry(uuid7(), draft()))
    holder = UUID(store.claims[DAY, day_key(USER, ONE)].removeprefix("journal.entry-"))

    # The day is freed between the refusal and the look at its holder.
    async def move() -> None:
        await do(bus, ReviseEntry(holder, None, Changes(date=TWO)))

    load = store.load

    async def load_after_move(aggregate: Any, stream_id: str) -> Any:
        store.load = load  # type: ignore[method-assign]
        await move()
        return await load(aggregate, stream_id)

    store.load = load_after_move  # type: ignore[method-assign]
    assert (await do(bus, WriteEntry(uuid7(), draft()))).date == ONE
    with pytest.raises(DuplicateEntryDate):
        await do(bus, WriteEntry(uuid7(), draft()))
    active = {
        (entry.user_id, entry.date)
        for stream in {recorded.stream_id for recorded in store.events}
        if (entry := await load(Entry, stream)) is not None
    }
    assert active == {(USER, ONE), (USER, TWO)}


async def test_import(bus: Bus, store: MemoryEventStore) -> None:
    there = await do(bus, WriteEntry(uuid7(), draft(ONE)))
    gone = await do(bus, WriteEntry(uuid7(), draft(TWO)))
    await do(bus, DeleteEntry(gone.entry_id, 1))
    raws = [
        b'{"date": "2026-01-01", "title": "t", "content": "c"}',
        b'{"date": "2026-01-02", "title": "t", "content": "c"}',
        b'{"date": "2026-01-02", "title": "again", "content": "c"}',
        b'{"date": "2026-01-03", "title": "t", "content": ""}',
        b'{"date": "2026-01-03", "title": "t", "content": "c"}',
    ]
    lines = tuple(read_line(n, raw, uuid7(), USER) for n, raw in enumerate(raws, 1))
    result: BatchResult = await do(bus, ImportEntries(lines))
    assert result.accepted == 2
    assert [line.line for line in result.refused] == [1, 3, 4]
    assert there.version == 1
    restarted = await store.load(Entry, stream_of(gone.entry_id))
    assert restarted is not None
    assert (restarted.state, restarted.version) == ("active", 3)


async def test_an_import_that_races_with_a_writer_refuses_the_line() -> None:
    store = Raced()
    bus = Bus(store)
    store.before_append = [lambda: do(bus, WriteEntry(uuid7(), draft(ONE)))]
    lines = tuple(
        read_line(n, f'{{"date":"{date}","title":"t","content":"c"}}'.encode(), uuid7(), USER)
        for n, date in enumerate((ONE, TWO), 1)
    )
    result: BatchResult = await do(bus, ImportEntries(lines))
    assert result.accepted == 1
    assert [line.line for line in result.refused] == [1]
    assert Claim(DAY, day_key(USER, ONE), None, None).kind == DAY
