"""One contract for event stores, held to the fake in memory and to PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_store.store import SNAPSHOT_AFTER, PostgresEventStore
from adapters.postgres.pipeline import Pipeline
from commands.ports import (
    Append,
    Claim,
    ClaimTaken,
    Context,
    EventStore,
    Idempotency,
    KeyReused,
    Replayed,
    Response,
    VersionConflict,
)
from domain.event import Event, Recorded, upcasts
from tests.support.memory_store import MemoryEventStore
from tests.support.servers import Database

pytestmark = pytest.mark.anyio


class Counted(Event, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "contract.Counted.v2"
    by: int


@upcasts("contract.Counted.v1", "contract.Counted.v2")
def _count_has_a_step(fields: dict[str, Any]) -> dict[str, Any]:
    return {"by": fields.get("amount", 1)}


class Counter(msgspec.Struct, frozen=True):
    CATEGORY: ClassVar[str] = "contract.counter"
    SNAPSHOT: ClassVar[str] = "1"
    total: int
    version: int

    @classmethod
    def evolve(cls, state: Self | None, recorded: Recorded) -> Self:
        assert isinstance(recorded.event, Counted)
        total = state.total if state is not None else 0
        return cls(total + recorded.event.by, recorded.stream_version)


class PlainSealer:
    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        return context + plaintext

    def open(self, sealed: bytes, context: bytes) -> bytes:
        assert sealed.startswith(context)
        return sealed[len(context) :]


def context(**changes: Any) -> Context:
    user = UUID(int=7)
    values: dict[str, Any] = {
        "user_id": user,
        "tenant_id": user,
        "actor": f"user:{user}",
        "now": datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
        "correlation_id": "req_1",
    }
    return Context(**{**values, **changes})


def keyed(key: str = "k", request: bytes = b"r" * 32) -> Context:
    def render(result: Any) -> Response:
        return Response(201, (("etag", '"1"'),), b"made %d" % result)

    return context(idempotency=Idempotency("user:7", key, request, render))


def stream() -> str:
    return f"contract.counter-{uuid7()}"


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
        return
    database: Database = request.getfixturevalue("empty_database")
    reads = Pipeline(database.write_dsn, role="mindstream_write")
    writes = Pipeline(database.write_dsn, role="mindstream_write")
    await reads.open()
    await writes.open()
    made = PostgresEventStore(reads, writes, PlainSealer(), lambda position: None)
    yield made
    await made.drain()
    await reads.close()
    await writes.close()


async def test_what_was_appended_is_read_in_order_with_its_metadata(store: EventStore) -> None:
    name = stream()
    first = await store.append(context(), Append(name, 0, (Counted(by=1), Counted(by=2))))
    second = await store.append(context(trace_id="t"), Append(name, 2, (Counted(by=3),)))
    assert second.position == first.position + 1
    events = await store.read(name)
    assert [e.event for e in events] == [Counted(by=1), Counted(by=2), Counted(by=3)]
    assert [e.stream_version for e in events] == [1, 2, 3]
    assert [e.position for e in events] == [1, 2, 3]
    assert [e.stream_version for e in await store.read(name, after=2)] == [3]
    last = events[-1]
    assert last.recorded_at == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert last.tenant_id == UUID(int=7)
    assert last.metadata is not None
    assert last.metadata.correlation_id == "req_1"
    assert last.metadata.trace_id == "t"
    assert last.metadata.event_id.version == 7
    assert await store.load(Counter, name) == Counter(6, 3)
    assert await store.load(Counter, stream()) is None


async def test_several_streams_are_appended_together_or_not_at_all(store: EventStore) -> None:
    one, two = stream(), stream()
    await store.append(context(), Append(one, 0, (Counted(by=1),)))
    with pytest.raises(VersionConflict):
        await store.append(
            context(), Append(two, 0, (Counted(by=1),)), Append(one, 0, (Counted(by=1),))
        )
    assert await store.read(two) == []
    await store.append(
        context(), Append(two, 0, (Counted(by=5),)), Append(one, 1, (Counted(by=1),))
    )
    assert await store.load_many(Counter, [one, two, stream()]) == {
        one: Counter(2, 2),
        two: Counter(5, 1),
    }


@pytest.mark.parametrize("expected", [0, 2, 7])
async def test_a_version_that_is_not_the_last_is_refused(store: EventStore, expected: int) -> None:
    name = stream()
    await store.append(context(), Append(name, 0, (Counted(by=1),)))
    with pytest.raises(VersionConflict):
        await store.append(context(), Append(name, expected, (Counted(by=9),)))
    assert await store.load(Counter, name) == Counter(1, 1)


async def test_of_fifty_writers_on_one_version_one_succeeds(store: EventStore) -> None:
    name = stream()
    outcomes = await asyncio.gather(
        *(store.append(context(), Append(name, 0, (Counted(by=n),))) for n in range(50)),
        return_exceptions=True,
    )
    assert sum(not isinstance(o, BaseException) for o in outcomes) == 1
    assert all(isinstance(o, VersionConflict) for o in outcomes if isinstance(o, BaseException))
    assert len(await store.read(name)) == 1


async def test_a_conflict_fails_only_its_own_command(store: EventStore) -> None:
    name = stream()
    await store.append(context(), Append(name, 0, (Counted(by=1),)))
    outcomes = await asyncio.gather(
        *(store.append(context(), Append(stream(), 0, (Counted(by=1),))) for _ in range(20)),
        store.append(context(), Append(name, 0, (Counted(by=1),))),
        *(store.append(context(), Append(stream(), 0, (Counted(by=1),))) for _ in range(20)),
        return_exceptions=True,
    )
    refused = [o for o in outcomes if isinstance(o, BaseException)]
    assert [type(o) for o in refused] == [VersionConflict]
    positions = sorted(o.position for o in outcomes if not isinstance(o, BaseException))
    assert positions == list(range(2, 42))


async def test_claims_pass_from_holder_to_holder(store: EventStore) -> None:
    one, two = stream(), stream()
    await store.append(
        context(), Append(one, 0, (Counted(by=1),)), claims=(Claim("day", "x", None, one),)
    )
    with pytest.raises(ClaimTaken) as taken:
        await store.append(
            context(), Append(two, 0, (Counted(by=1),)), claims=(Claim("day", "x", None, two),)
        )
    assert taken.value.holder == one
    assert await store.read(two) == []
    assert await store.holders("day", ["x", "y"]) == {"x": one}
    await store.append(
        context(),
        Append(two, 0, (Counted(by=1),)),
        claims=(Claim("day", "x", one, two), Claim("day", "y", None, two)),
    )
    assert await store.holders("day", ["x", "y"]) == {"x": two, "y": two}
    await store.append(
        context(), Append(two, 1, (Counted(by=1),)), claims=(Claim("day", "x", two, None),)
    )
    assert await store.holders("day", ["x", "y"]) == {"y": two}


async def test_a_key_is_answered_once_and_replayed(store: EventStore) -> None:
    name = stream()
    done = await store.append(keyed(), Append(name, 0, (Counted(by=1),)), result=5)
    with pytest.raises(Replayed) as again:
        await store.append(keyed(), Append(stream(), 0, (Counted(by=1),)), result=6)
    assert again.value.response == Response(201, (("etag", '"1"'),), b"made 5")
    assert again.value.position == done.position
    with pytest.raises(Replayed):
        await store.answered("user:7", "k", b"r" * 32)
    with pytest.raises(KeyReused):
        await store.append(keyed(request=b"x" * 32), Append(name, 1, (Counted(by=1),)), result=1)
    await store.answered("user:8", "k", b"r" * 32)  # another principal's key is another key
    assert len(await store.read(name)) == 1


async def test_of_a_hundred_uses_of_one_key_one_appends(store: EventStore) -> None:
    outcomes = await asyncio.gather(
        *(
            store.append(keyed(), Append(stream(), 0, (Counted(by=1),)), result=n)
            for n in range(100)
        ),
        return_exceptions=True,
    )
    first = [n for n, o in enumerate(outcomes) if not isinstance(o, BaseException)]
    assert len(first) == 1
    replays = [o for o in outcomes if isinstance(o, Replayed)]
    assert len(replays) == 99
    assert {o.response.body for o in replays} == {b"made %d" % first[0]}


async def test_a_refusal_is_remembered_without_events(store: EventStore) -> None:
    idempotency = keyed().idempotency
    assert idempotency is not None
    await store.remember(context(), idempotency, Response(409, (), b"no"))
    with pytest.raises(Replayed) as again:
        await store.remember(context(), idempotency, Response(404, (), b"other"))
    assert again.value.response == Response(409, (), b"no")


async def test_old_events_are_brought_to_their_current_form(
    empty_database: Database,
) -> None:
    name = stream()
    with psycopg.connect(empty_database.write_dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO events VALUES (1, %s, 1, 'contract.Counted.v1', %s, %s, 'c', NULL, 'a',"
            " NULL, now(), %s)",
            (name, UUID(int=7), uuid7(), b'{"amount": 4}'),
        )
    reads = Pipeline(empty_database.write_dsn, role="mindstream_write")
    await reads.open()
    store = PostgresEventStore(reads, reads, PlainSealer(), lambda position: None)
    assert await store.load(Counter, name) == Counter(4, 1)
    await reads.close()


async def test_a_long_stream_is_loaded_from_its_snapshot(empty_database: Database) -> None:
    reads = Pipeline(empty_database.write_dsn, role="mindstream_write")
    writes = Pipeline(empty_database.write_dsn, role="mindstream_write")
    await reads.open()
    await writes.open()
    store = PostgresEventStore(reads, writes, PlainSealer(), lambda position: None)
    name = stream()
    length = SNAPSHOT_AFTER + 5
    await store.append(context(), Append(name, 0, (Counted(by=1),) * length))
    assert await store.load(Counter, name) == Counter(length, length)
    await store.drain()
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        [(version, topic)] = connection.execute(
            "SELECT stream_version, topic FROM snapshots WHERE stream_id = %s", (name,)
        ).fetchall()
        assert (version, topic) == (length, "contract.counter/1")
        # Only the snapshot can tell of events that are gone.
        connection.execute(
            "DELETE FROM events WHERE stream_id = %s AND stream_version < 50", (name,)
        )
    await store.append(context(), Append(name, length, (Counted(by=10),)))
    assert await store.load(Counter, name) == Counter(length + 10, length + 1)
    await reads.close()
    await writes.close()


async def test_the_application_cannot_change_what_happened(empty_database: Database) -> None:
    with psycopg.connect(empty_database.write_dsn, autocommit=True) as connection:
        for statement in ("UPDATE events SET topic = 'x'", "DELETE FROM events", "TRUNCATE events"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
