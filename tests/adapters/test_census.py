from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from adapters.census import Census
from adapters.postgres.pipeline import Pipeline, PipelineLost
from adapters.statuses import Statuses
from tests.support.servers import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pipeline(database: Database) -> AsyncIterator[Pipeline]:
    opened = Pipeline(database.write_dsn, role="mindstream_write")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def owner(empty_database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        yield connection
        connection.execute("DELETE FROM operations")
        connection.execute("DELETE FROM accounts_people")


async def test_what_the_database_and_the_broker_tell_is_counted_and_forgotten_with_them(
    owner: psycopg.Connection[Any], pipeline: Pipeline, redis_url: str
) -> None:
    owner.execute(
        """
        INSERT INTO projection_checkpoints (name, version, status, owner, heartbeat_at)
        VALUES ('journal.entries', 1, 'live', 'here', now() - interval '1 hour')
        """
    )
    owner.execute(
        """
        INSERT INTO operations (id, kind, user_id, tenant_id, correlation_id, created_at)
        SELECT gen_random_uuid(), 'journal.import', gen_random_uuid(), gen_random_uuid(), 'c',
               now() - interval '90 seconds'
        FROM generate_series(1, 2)
        """
    )
    owner.execute(
        """
        INSERT INTO accounts_people
            (user_id, tenant_id, timezone, language, version, created_at, document)
        SELECT gen_random_uuid(), gen_random_uuid(), 'UTC', 'en', 1, now(), '{"tier": "free"}'
        FROM generate_series(1, 3)
        """
    )
    registry = CollectorRegistry()
    told = registry.get_sample_value
    async with redis.Redis.from_url(redis_url) as broker:
        await broker.rpush("queue:operations", "one", "two")
        queues = {"operations": "queue:operations"}
        census = Census(pipeline, Statuses(pipeline), broker, queues, registry)
        await census.take()
        await census.count_people()

    # Nobody has given a sign of life for an hour.
    stopped = {"projection": "journal.entries", "state": "stopped"}
    assert told("mindstream_projection_state", stopped) == 1
    assert told("mindstream_projection_state", {**stopped, "state": "live"}) == 0
    waiting = {"kind": "journal.import", "state": "pending"}
    assert told("mindstream_operations", waiting) == 2
    assert 89 < (told("mindstream_operations_oldest_seconds", waiting) or 0) < 200
    assert told("user_tier_distribution", {"tier": "free"}) == 3
    assert told("mindstream_queue_messages", {"queue": "operations"}) == 2
    assert (told("database_connections_active") or 0) >= 2

    await pipeline.close()
    with pytest.raises(PipelineLost):
        await census.take()
    assert told("mindstream_projection_state", stopped) is None
    assert told("mindstream_operations", waiting) is None
    assert math.isnan(told("database_connections_active") or 0)
