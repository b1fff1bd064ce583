"""How far the projections are, as the read API hears it from several projectors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
import pytest

from adapters.postgres.freshness import ProjectionWatch
from projections.engine import checkpoints
from projections.engine.runner import notify
from tests.support.diary_view import Notes
from tests.support.servers import Database
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

SOMEBODY = UUID(int=7)
NAME = Notes.name


@pytest.fixture
def projector(empty_database: Database) -> Iterator[checkpoints.Connection]:
    with psycopg.connect(empty_database.project_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM projection_checkpoints")
        checkpoints.ensure(connection, [Notes()])
        yield connection


@asynccontextmanager
async def watching(database: Database) -> AsyncIterator[ProjectionWatch]:
    watch = ProjectionWatch(database.read_dsn)
    await watch.open()
    try:
        yield watch
    finally:
        await watch.close()


async def test_a_view_is_as_far_as_its_hindmost_partition(
    empty_database: Database, projector: checkpoints.Connection
) -> None:
    async with watching(empty_database) as watch:
        notify(projector, 5, {NAME: [0, 1]}, set())
        notify(projector, 7, {NAME: [2]}, set())
        assert await watch.passed(5, NAME, within=0.2) == NAME
        notify(projector, 6, {NAME: [3]}, set())
        assert await watch.passed(5, NAME, within=5) is None
        assert watch.position(NAME) == 5
        notify(projector, 9, {NAME: None}, set())
        assert await watch.passed(9, NAME, within=5) is None


async def test_a_notice_about_what_has_long_been_passed_takes_nothing_back(
    empty_database: Database, projector: checkpoints.Connection
) -> None:
    projector.execute("UPDATE projection_checkpoints SET position = 9")
    async with watching(empty_database) as watch:
        before = watch.epoch(SOMEBODY)
        notify(projector, 4, {NAME: None}, {SOMEBODY})

        async def heard() -> bool:
            return watch.epoch(SOMEBODY) != before

        await eventually_async(heard)
        assert watch.position(NAME) == 9


async def test_a_notice_that_cannot_be_read_costs_caches_only(
    empty_database: Database, projector: checkpoints.Connection
) -> None:
    async with watching(empty_database) as watch:
        before = watch.epoch(SOMEBODY)
        projector.execute("SELECT pg_notify('mindstream_projected', 'from another version')")

        async def heard() -> bool:
            return watch.epoch(SOMEBODY) != before

        await eventually_async(heard)
        projector.execute("UPDATE projection_checkpoints SET position = 3")
        assert await watch.passed(3, NAME, within=5) is None  # it still listens and polls


async def test_what_others_keep_is_judged_by_positions_and_by_repairs(
    empty_database: Database, projector: checkpoints.Connection
) -> None:
    nobody = UUID(int=8)
    projector.execute("UPDATE projection_checkpoints SET position = 5")
    async with watching(empty_database) as watch:
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
    empty_database: Database, projector: checkpoints.Connection
) -> None:
    async with watching(empty_database) as watch:
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
