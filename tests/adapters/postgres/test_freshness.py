"""How far the projections are, as the read API hears it: on a primary, and on a standby of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
import pytest
from prometheus_client import REGISTRY

from adapters.postgres.freshness import ProjectionWatch
from adapters.postgres.standby import Primary
from projections.engine import checkpoints
from projections.engine.runner import notify
from tests.support.diary_view import Notes
from tests.support.servers import Database, Servers
from tests.support.standby import Standby, standby_of
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

SOMEBODY = UUID(int=7)
NAME = Notes.name


@pytest.fixture(scope="module")
def standby(servers: Servers) -> Iterator[Standby]:
    with standby_of(servers) as running:
        yield running


@pytest.fixture(params=["primary", "standby"])
def read(request: pytest.FixtureRequest, empty_database: Database) -> Database:
    """The database, as it is read on either."""
    if request.param == "primary":
        return empty_database
    standby: Standby = request.getfixturevalue("standby")
    return standby.of(empty_database)


@pytest.fixture
def on_standby(empty_database: Database, standby: Standby) -> Database:
    return standby.of(empty_database)


@pytest.fixture
def projector(empty_database: Database) -> Iterator[checkpoints.Connection]:
    with psycopg.connect(
        # As the projector does: nobody waits until it is on disk.
        empty_database.project_dsn,
        autocommit=True,
        options="-c synchronous_commit=off",
    ) as connection:
        connection.execute("DELETE FROM projection_checkpoints")
        checkpoints.ensure(connection, [Notes()])
        yield connection


@asynccontextmanager
async def watching(database: Database) -> AsyncIterator[ProjectionWatch]:
    primary = Primary(database.write_dsn, "mindstream_write")
    watch = ProjectionWatch(database.read_dsn, primary=primary)
    await watch.open()
    try:

        async def begun() -> bool:
            return watch.since(SOMEBODY) is not None

        await eventually_async(begun)
        yield watch
    finally:
        await watch.close()


async def test_a_view_is_as_far_as_its_hindmost_partition(
    read: Database, projector: checkpoints.Connection
) -> None:
    async with watching(read) as watch:
        notify(projector, 5, {NAME: [0, 1]}, set())
        notify(projector, 7, {NAME: [2]}, set())
        assert await watch.passed(5, NAME, within=0.2) == NAME
        notify(projector, 6, {NAME: [3]}, set())
        assert await watch.passed(5, NAME, within=5) is None
        assert watch.position(NAME) == 5
        notify(projector, 9, {NAME: None}, set())
        assert await watch.passed(9, NAME, within=5) is None


async def test_a_notice_about_what_has_long_been_passed_takes_nothing_back(
    read: Database, projector: checkpoints.Connection
) -> None:
    projector.execute("UPDATE projection_checkpoints SET position = 9")
    async with watching(read) as watch:
        before = watch.epoch(SOMEBODY)
        notify(projector, 4, {NAME: None}, {SOMEBODY})

        async def heard() -> bool:
            return watch.epoch(SOMEBODY) != before

        await eventually_async(heard)
        assert watch.position(NAME) == 9


async def test_a_notice_that_cannot_be_read_costs_caches_only(
    read: Database, projector: checkpoints.Connection
) -> None:
    async with watching(read) as watch:
        before = watch.epoch(SOMEBODY)
        projector.execute("SELECT pg_notify('mindstream_projected', 'from another version')")

        async def heard() -> bool:
            return watch.epoch(SOMEBODY) != before

        await eventually_async(heard)
        projector.execute("UPDATE projection_checkpoints SET position = 3")
        assert await watch.passed(3, NAME, within=5) is None  # it still listens and polls


async def test_what_others_keep_is_judged_by_positions_and_by_repairs(
    read: Database, projector: checkpoints.Connection
) -> None:
    nobody = UUID(int=8)
    projector.execute("UPDATE projection_checkpoints SET position = 5")
    async with watching(read) as watch:
        assert (watch.since(SOMEBODY), watch.since(nobody)) == (5, 5)
        before = watch.basis(NAME)
        assert before is not None
        with projector.transaction():
            projector.execute("UPDATE projection_checkpoints SET position = 7")
            notify(projector, 7, {NAME: None}, {SOMEBODY})
        assert await watch.passed(7, NAME, within=5) is None
        assert watch.since(SOMEBODY) == 7
        assert watch.basis(NAME) == before

        # A repair: whose rows it changed is not told, and positions stand still.
        with projector.transaction():
            checkpoints.revise(projector, NAME)
            notify(projector, 7, {NAME: None}, None)

        async def repaired() -> bool:
            return watch.basis(NAME) not in (None, before)

        await eventually_async(repaired)
        assert watch.since(nobody) == 7
        assert watch.basis("another") is None  # nobody here tells of it


async def test_what_waits_in_quarantine_is_not_to_be_kept(
    read: Database, projector: checkpoints.Connection
) -> None:
    async with watching(read) as watch:
        assert watch.basis(NAME) is not None
        projector.execute(
            "INSERT INTO projection_quarantine (id, projection, stream_id, position, topic, error,"
            " state) VALUES (gen_random_uuid(), %s, 's', 1, 't', 'e', 'parked')",
            (NAME,),
        )

        async def unknown() -> bool:
            return watch.basis(NAME) is None

        await eventually_async(unknown)
        projector.execute("UPDATE projection_quarantine SET settled = true")
        checkpoints.revise(projector, NAME)

        async def known() -> bool:
            return watch.basis(NAME) not in (None, "")

        await eventually_async(known)


async def test_what_nobody_told_is_found_and_may_be_anybody_s(
    read: Database, projector: checkpoints.Connection
) -> None:
    async with watching(read) as watch:
        before = watch.epoch(SOMEBODY)
        projector.execute("UPDATE projection_checkpoints SET position = 4")
        assert await watch.passed(4, NAME, within=10) is None
        assert watch.epoch(SOMEBODY) != before
        assert watch.since(SOMEBODY) == 4


async def test_what_a_standby_does_not_show_yet_has_not_happened(
    on_standby: Database, projector: checkpoints.Connection, standby: Standby
) -> None:
    async with watching(on_standby) as watch:
        assert watch.on_standby
        before = watch.epoch(SOMEBODY), watch.since(SOMEBODY), watch.basis(NAME)
        with standby.held_back():
            with projector.transaction():
                projector.execute("UPDATE projection_checkpoints SET position = 3")
                notify(projector, 3, {NAME: None}, {SOMEBODY})
            with projector.transaction():
                checkpoints.revise(projector, NAME)
                notify(projector, 3, {NAME: None}, None)
            # Longer than it takes to poll: neither notices nor looks tell of it.
            assert await watch.passed(3, NAME, within=1.5) == NAME
            assert (watch.epoch(SOMEBODY), watch.since(SOMEBODY), watch.basis(NAME)) == before
            assert watch.behind is not None
            assert watch.behind > 1
            lag = REGISTRY.get_sample_value("mindstream_standby_lag_seconds", {"database": "read"})
            assert lag is not None
            assert lag > 1
        assert await watch.passed(3, NAME, within=10) is None

        async def caught_up() -> bool:
            return watch.basis(NAME) not in (None, before[2]) and (watch.behind or 0) < 1

        await eventually_async(caught_up)
        assert watch.since(SOMEBODY) == 3


async def test_a_standby_shows_soon_what_was_committed_without_waiting_for_the_disk(
    on_standby: Database, projector: checkpoints.Connection
) -> None:
    with psycopg.connect(on_standby.owner_dsn, autocommit=True) as owner:
        owner.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        owner.execute("SELECT pg_reload_conf()")
        try:
            async with watching(on_standby) as watch:
                for position in range(1, 6):
                    with projector.transaction():
                        projector.execute(
                            "UPDATE projection_checkpoints SET position = %s", (position,)
                        )
                        notify(projector, position, {NAME: None}, {SOMEBODY})
                    assert await watch.passed(position, NAME, within=5) is None
        finally:
            owner.execute("ALTER SYSTEM RESET wal_writer_delay")
            owner.execute("SELECT pg_reload_conf()")


async def test_while_the_primary_tells_nothing_a_standby_is_looked_at(
    on_standby: Database, projector: checkpoints.Connection, standby: Standby
) -> None:
    async with watching(on_standby) as watch:
        with contextlib.ExitStack() as away:
            with standby.held_back():
                projector.execute("UPDATE projection_checkpoints SET position = 6")
                away.enter_context(standby.primary_away(on_standby))

                async def deaf() -> bool:
                    return watch.epoch(SOMEBODY) == -1

                await eventually_async(deaf)
                assert watch.since(SOMEBODY) is None
                assert watch.position(NAME) == 0
            assert await watch.passed(6, NAME, within=10) is None
            assert watch.epoch(SOMEBODY) == -1
            assert watch.behind is None

        async def heard_again() -> bool:
            return watch.since(SOMEBODY) == 6

        await eventually_async(heard_again)


async def test_more_than_can_be_held_says_that_anybody_s_rows_may_have_changed(
    on_standby: Database,
    projector: checkpoints.Connection,
    standby: Standby,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.postgres.standby.MOST_HELD", 3)
    async with watching(on_standby) as watch:
        before = watch.epoch(UUID(int=8))
        with standby.held_back():
            for position in range(1, 8):
                with projector.transaction():
                    projector.execute(
                        "UPDATE projection_checkpoints SET position = %s", (position,)
                    )
                    notify(projector, position, {NAME: None}, {SOMEBODY})
            assert await watch.passed(1, NAME, within=0.5) == NAME
        assert await watch.passed(7, NAME, within=10) is None

        async def all_of_them() -> bool:
            return watch.epoch(UUID(int=8)) != before and watch.since(SOMEBODY) == 7

        await eventually_async(all_of_them)


async def test_a_standby_that_is_promoted_is_heard_itself(
    empty_database: Database, projector: checkpoints.Connection, servers: Servers
) -> None:
    with standby_of(servers) as standby:
        async with watching(standby.of(empty_database)) as watch:
            promoted = standby.promoted(empty_database)
            with psycopg.connect(promoted.project_dsn, autocommit=True) as connection:
                connection.execute("UPDATE projection_checkpoints SET position = 5")

                async def heard() -> bool:
                    return not watch.on_standby and watch.since(SOMEBODY) == 5

                await eventually_async(heard)
                with connection.transaction():
                    connection.execute("UPDATE projection_checkpoints SET position = 6")
                    notify(connection, 6, {NAME: None}, {SOMEBODY})
                assert await watch.passed(6, NAME, within=5) is None
                assert (watch.since(SOMEBODY), watch.since(UUID(int=8))) == (6, 5)
