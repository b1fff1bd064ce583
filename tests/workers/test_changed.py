"""Projections that another version has built are rebuilt by themselves, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.operations import PostgresOperations
from adapters.postgres.pipeline import Pipeline
from projections.engine.telemetry import ProjectionStatus
from tests.support.servers import Database
from workers.changed import rebuild_changed

pytestmark = pytest.mark.anyio

STATUS = ProjectionStatus(
    name="a.view", version=1, status="stopped", generation=3, position=7, head=7, gap_events=0,
    gap_seconds=0.0, events_per_second=0.0, partitions=(), quarantined_streams=0, blocked_by=None,
    rebuild=None, error=None,
)  # fmt: skip


@pytest.fixture
async def operations(database: Database) -> AsyncIterator[PostgresOperations]:
    pipeline = Pipeline(database.write_dsn, role="mindstream_write")
    await pipeline.open()
    yield PostgresOperations(pipeline)
    await pipeline.close()
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM operations")


async def look(operations: PostgresOperations, newest: int, **changes: Any) -> int:
    async def statuses() -> list[ProjectionStatus]:
        return [msgspec.structs.replace(STATUS, **changes)]

    versions = {"a.view": newest, "another": 1}
    return await rebuild_changed(statuses, versions, operations, uuid7, lambda: datetime.now(UTC))


async def test_an_older_version_is_rebuilt_once_however_many_look(
    operations: PostgresOperations,
) -> None:
    for _ in range(3):
        assert await look(operations, 2) == 1
    [accepted] = await operations.open_rebuilds("a.view")
    assert accepted.state == "pending"
    await operations.cancel_rebuilds("a.view")
    assert await look(operations, 2) == 0, "what became of it is an operator's to change"
    assert await operations.open_rebuilds("a.view") == []
    assert await look(operations, 3) == 1, "another version is another wish"


@pytest.mark.parametrize(
    ("version", "changes"),
    [
        (1, {}),
        (1, {"version": 2}),  # newer code is at work elsewhere
        (2, {"rebuild": {"state": "running"}}),
        (2, {"name": "nobody.knows"}),
    ],
)
async def test_what_is_left_alone(
    operations: PostgresOperations, version: int, changes: dict[str, Any]
) -> None:
    assert await look(operations, version, **changes) == 0
    assert await operations.open_rebuilds("a.view") == []
