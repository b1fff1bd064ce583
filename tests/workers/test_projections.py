"""What becomes of an operation on a projection, whatever the engine makes of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.operations import PostgresOperations
from adapters.postgres.pipeline import Pipeline
from domain.operation import (
    PAUSE,
    REBUILD,
    RESUME,
    ROLLBACK,
    VERIFY,
    NewOperation,
    Operation,
)
from projections.engine import rebuild as engine_of
from projections.engine.building import Progress
from projections.oversight import ProjectionStatus
from tests.support.servers import Database
from tests.support.waiting import eventually_async
from workers.projections import Tending, tend

pytestmark = pytest.mark.anyio
HALF = Progress(50, 100, 10.0, 5.0)
POISON = {"position": 3, "stream_id": "s", "topic": "engine.NoteWritten.v1", "error": "ValueError"}


class FakeEngine:
    """Does what it is told to do when it is called."""

    notices_within = 0.0

    def __init__(self, work: Callable[[Any], Any] = lambda heed: {"done": True}) -> None:
        self.work = work
        self.generation = 1
        self.paused: list[tuple[str, bool]] = []
        self.rebuilding: dict[str, Any] | None = None
        self.together: list[list[str]] = []

    def rebuild(self, name: str, options: Any, operation_id: UUID, heed: Any) -> Any:
        return self.work(heed)

    def rebuild_together(self, asked: Any) -> None:
        self.together.append([one.name for one in asked])
        for one in asked:
            try:
                outcome = self.work(one.heed)
            except Exception as error:  # noqa: BLE001 - told, as the engine does
                outcome = error
            one.ended(outcome)

    def verify(self, name: str, heed: Any) -> Any:
        return self.work(heed)

    def rollback(self, name: str) -> Any:
        return self.work(None)

    def set_paused(self, name: str, paused: bool) -> bool:
        self.paused.append((name, paused))
        return True

    def status(self, name: str) -> ProjectionStatus:
        return ProjectionStatus(
            name=name, version=1, status="live", generation=self.generation, position=7, head=7,
            gap_events=0, gap_seconds=0.0, events_per_second=0.0, partitions=(),
            quarantined_streams=0, blocked_by=None, rebuild=self.rebuilding, error=None,
        )  # fmt: skip


@pytest.fixture
async def operations(database: Database) -> AsyncIterator[PostgresOperations]:
    pipeline = Pipeline(database.write_dsn, role="mindstream_write")
    await pipeline.open()
    yield PostgresOperations(pipeline)
    await pipeline.close()


async def ask(
    operations: PostgresOperations, kind: str, name: str = "a.view", **options: Any
) -> UUID:
    params = {"projection": name, "options": options}
    new = NewOperation(
        id=uuid7(), kind=kind, user_id=uuid7(), tenant_id=uuid7(), correlation_id="c",
        created_at=datetime.now(UTC), params=params,
    )  # fmt: skip
    return (await operations.accept(new)).id


async def done(operations: PostgresOperations, operation_id: UUID, engine: Any) -> Operation:
    await tend(operation_id, Tending(operations, engine, asyncio.Semaphore(1)))
    found = await operations.get_any(operation_id)
    assert found is not None
    return found


def raising(error: Exception) -> FakeEngine:
    def work(heed: Any) -> Any:
        raise error

    return FakeEngine(work)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (engine_of.PoisonMet([POISON]), "POISON_MET"),
        (engine_of.NothingKept("a.view"), "NOTHING_KEPT"),
        (engine_of.UnknownKey("x"), "UNKNOWN_KEY"),
        (engine_of.RangeNotSupported("a.view"), "RANGE_NOT_SUPPORTED"),
        (KeyError("a.view"), "UNKNOWN_PROJECTION"),
    ],
)
async def test_what_cannot_be_done_fails(
    operations: PostgresOperations, error: Exception, code: str
) -> None:
    ended = await done(operations, await ask(operations, REBUILD), raising(error))
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.code == code
    if code == "POISON_MET":
        assert b'"position":3' in bytes(ended.result)


async def test_one_that_waits_for_another_is_given_back(operations: PostgresOperations) -> None:
    operation_id = await ask(operations, REBUILD)
    busy = raising(engine_of.AlreadyRebuilding("a.view"))
    assert (await done(operations, operation_id, busy)).state == "running"

    async def is_over() -> bool:
        return (await done(operations, operation_id, FakeEngine())).state == "succeeded"

    await eventually_async(is_over)


async def test_a_swap_that_was_done_is_not_done_twice(operations: PostgresOperations) -> None:
    operation_id = await ask(operations, ROLLBACK)
    engine = raising(OSError("the database went away, after the swap"))
    await done(operations, operation_id, engine)
    engine.generation = 2

    async def is_over() -> bool:
        ended = await done(operations, operation_id, engine)
        return ended.state == "succeeded" and b'"generation":2' in bytes(ended.result)

    await eventually_async(is_over)


async def test_progress_a_pause_and_the_end_reach_the_engine(
    operations: PostgresOperations,
) -> None:
    heard: list[str] = []
    pause = threading.Event()

    def work(heed: Any) -> Any:
        while True:
            heard.append(heed(HALF))
            if heard[-1] == "pause":
                engine.rebuilding = {"state": "paused"}
            elif engine.rebuilding is not None:
                engine.rebuilding = {"state": "running"}
            if heard[-1] == "cancel":
                raise engine_of.Cancelled("a.view")
            pause.wait(0.05)

    engine = FakeEngine(work)
    operation_id = await ask(operations, REBUILD)
    working = asyncio.create_task(done(operations, operation_id, engine))

    async def under_way() -> bool:
        found = await operations.get_any(operation_id)
        return found is not None and found.progress == 0.5 and found.eta_seconds == 5

    await eventually_async(under_way)
    for kind, signal in ((PAUSE, "pause"), (RESUME, "go")):
        ended = await done(operations, await ask(operations, kind), engine)
        assert ended.state == "succeeded", ended
        assert heard[-1] == signal
        wish = "paused" if kind == PAUSE else "running"
        assert (ended.target, ended.detail) == ("a.view", f"the rebuild is {wish}")
    assert engine.paused == [], "the live one goes on"
    assert await operations.cancel_operators(operation_id) is not None
    assert (await working).state == "cancelled"
    ended = await done(operations, await ask(operations, PAUSE), engine)
    assert (ended.state, engine.paused) == ("succeeded", [("a.view", True)])
    assert ended.detail == "paused"


async def test_a_worker_that_stops_lets_another_go_on(operations: PostgresOperations) -> None:
    begun, left = threading.Event(), threading.Event()

    def work(heed: Any) -> Any:
        begun.set()
        try:
            while True:
                heed(HALF)
                left.wait(0.02)
        finally:
            left.set()

    operation_id = await ask(operations, REBUILD)
    working = asyncio.create_task(done(operations, operation_id, FakeEngine(work)))
    await asyncio.to_thread(begun.wait)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert left.is_set()
    ended = await done(operations, operation_id, FakeEngine())
    assert ended.state == "succeeded"


@pytest.fixture
async def _all_ended(operations: PostgresOperations, database: Database) -> None:
    """Nothing that an earlier test has left open is taken along."""
    async with await psycopg.AsyncConnection.connect(
        database.owner_dsn, autocommit=True
    ) as connection:
        await connection.execute("DELETE FROM operations")


async def found(operations: PostgresOperations, operation_id: UUID) -> Operation:
    operation = await operations.get_any(operation_id)
    assert operation is not None
    return operation


@pytest.mark.usefixtures("_all_ended")
async def test_rebuilds_that_nobody_has_begun_are_done_together(
    operations: PostgresOperations,
) -> None:
    first = await ask(operations, REBUILD)
    others = [await ask(operations, REBUILD, name) for name in ("b.view", "c.view")]
    again = await ask(operations, REBUILD, "b.view")
    apart = [
        await ask(operations, REBUILD, "d.view", key="1"),
        await ask(operations, REBUILD, "e.view", **{"from": "2024-01-01T00:00:00Z"}),
        await ask(operations, VERIFY, "f.view"),
    ]
    engine = FakeEngine()
    assert (await done(operations, first, engine)).state == "succeeded"
    assert engine.together == [["a.view", "b.view", "c.view"]]
    for operation_id in others:
        assert (await found(operations, operation_id)).state == "succeeded"
    for operation_id in (*apart, again):
        assert (await found(operations, operation_id)).state == "pending"


@pytest.mark.usefixtures("_all_ended")
async def test_of_rebuilds_done_together_each_has_its_own_end(
    operations: PostgresOperations,
) -> None:
    ends = iter([{"events": 3}, engine_of.PoisonMet([POISON]), OSError("gone")])

    def work(heed: Any) -> Any:
        heed(HALF)
        end = next(ends)
        if isinstance(end, Exception):
            raise end
        return end

    ids = [await ask(operations, REBUILD, name) for name in ("a.view", "b.view", "c.view")]
    await done(operations, ids[0], FakeEngine(work))
    ended = [await found(operations, operation_id) for operation_id in ids]
    assert [each.state for each in ended] == ["succeeded", "failed", "running"]
    assert ended[1].error is not None
    assert ended[1].error.code == "POISON_MET"


@pytest.mark.usefixtures("_all_ended")
async def test_one_that_is_not_wanted_any_more_does_not_keep_the_others_waiting(
    operations: PostgresOperations, database: Database
) -> None:
    first, other = [await ask(operations, REBUILD, name) for name in ("a.view", "b.view")]
    async with await psycopg.AsyncConnection.connect(
        database.owner_dsn, autocommit=True
    ) as connection:
        await connection.execute(
            "UPDATE operations SET cancel_requested = true, started_at = NULL WHERE id = %s",
            (first,),
        )
    engine = FakeEngine()
    assert (await done(operations, first, engine)).state == "cancelled"
    assert (await found(operations, other)).state == "succeeded"
    assert engine.together == []


@pytest.mark.usefixtures("_all_ended")
async def test_a_finished_rebuild_says_that_all_of_it_is_done(
    operations: PostgresOperations,
) -> None:
    class Report(msgspec.Struct):
        events: int = 100

    def work(heed: Any) -> Any:
        heed(Progress(0, 100, 0.0, None))
        return Report()

    ended = await done(operations, await ask(operations, REBUILD), FakeEngine(work))
    assert (ended.state, ended.progress) == ("succeeded", 1)
    assert ended.detail == "100 of 100 events"
