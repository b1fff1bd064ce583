"""Uses of keys, counted in processes and kept in a table; and what processes hear of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters import keys as module
from adapters.keys import MonthlyQuota, PostgresKeys, Uses, month_of
from adapters.postgres.pipeline import Pipeline
from adapters.standing import Standing
from tests.support.servers import Database
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


@pytest.fixture
async def writing(database: Database) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(database.write_dsn, role="mindstream_write")
    await pipeline.open()
    yield pipeline
    await pipeline.close()


@pytest.fixture
async def reading(database: Database) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(database.read_dsn, role="mindstream_read")
    await pipeline.open()
    yield pipeline
    await pipeline.close()


class Clock:
    """Stands still until it is set."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def time(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock(datetime(2026, 3, 31, 23, 59, 50, tzinfo=UTC))
    monkeypatch.setattr(module, "time", found)
    return found


async def kept(pipeline: Pipeline) -> UUID:
    keys, key_id = PostgresKeys(pipeline), uuid4()
    drawn = keys.draw()
    await keys.keep(key_id, uuid4(), drawn.hash)
    return key_id


def totals(database: Database, key_id: UUID) -> dict[date, int]:
    with psycopg.connect(database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT month, uses FROM accounts_key_uses WHERE key_id = %s", (key_id,)
        ).fetchall()
    return dict(rows)


def test_a_month_ends_with_the_calendars() -> None:
    for at, first, ends in (
        (
            datetime(2026, 12, 31, 23, tzinfo=UTC),
            date(2026, 12, 1),
            datetime(2027, 1, 1, tzinfo=UTC),
        ),
        (datetime(2028, 2, 29, tzinfo=UTC), date(2028, 2, 1), datetime(2028, 3, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), datetime(2026, 2, 1, tzinfo=UTC)),
    ):
        assert month_of(at.timestamp()) == (first, ends.timestamp())


async def test_a_key_is_known_by_its_hash_alone(writing: Pipeline, reading: Pipeline) -> None:
    writer, reader = PostgresKeys(writing), PostgresKeys(reading)
    drawn, key_id = writer.draw(), uuid4()
    assert drawn.prefix in drawn.key
    assert drawn.key not in repr(drawn)
    await writer.keep(key_id, uuid4(), drawn.hash)
    for keys in (writer, reader):
        found = await keys.find(drawn.hash, date(2026, 3, 1))
        assert found is not None
        assert (found.key_id, found.uses) == (key_id, 0)
        assert await keys.find(bytes(32), date(2026, 3, 1)) is None
    await writer.forget(key_id)
    assert await reader.find(drawn.hash, date(2026, 3, 1)) is None


async def test_the_reader_cannot_list_hashes(database: Database) -> None:
    with psycopg.connect(database.read_dsn) as reader:
        for statement in (
            "SELECT hash FROM accounts_key_hashes",
            "UPDATE accounts_key_uses SET uses = 0",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)
            reader.rollback()


async def test_processes_add_up(
    writing: Pipeline, reading: Pipeline, database: Database, clock: Clock
) -> None:
    key_id = await kept(writing)
    one, other = Uses(PostgresKeys(writing)), Uses(PostgresKeys(reading))
    here, there = (uses.of(key_id, 0, clock.time()) for uses in (one, other))
    quotas = [MonthlyQuota(use, 5) for use in (here, there)]
    for _ in range(3):
        one.note(here)
    other.note(there)
    assert [quota.left(clock.time()) for quota in quotas] == [2, 4]
    await one.write()
    await other.write()
    assert totals(database, key_id) == {date(2026, 3, 1): 4}
    assert [quota.left(clock.time()) for quota in quotas] == [2, 1]
    one.note(here)
    await one.write()
    assert quotas[0].left(clock.time()) == 0


async def test_a_new_month_begins_at_nothing(
    writing: Pipeline, database: Database, clock: Clock
) -> None:
    key_id = await kept(writing)
    uses = Uses(PostgresKeys(writing))
    use = uses.of(key_id, 4, clock.time())
    quota = MonthlyQuota(use, 5)
    uses.note(use)
    assert (quota.left(clock.time()), quota.reset_seconds(clock.time())) == (0, 10)
    clock.at = datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC)
    assert quota.left(clock.time()) == 5
    uses.note(use)
    uses.note(use)
    assert quota.left(clock.time()) == 3
    await uses.write()
    assert totals(database, key_id) == {date(2026, 3, 1): 1, date(2026, 4, 1): 2}


async def test_what_cannot_be_written_is_kept_for_later(
    writing: Pipeline, database: Database, clock: Clock
) -> None:
    key_id = await kept(writing)
    gone = Pipeline(database.write_dsn, role="mindstream_write")
    uses = Uses(PostgresKeys(gone))
    use = uses.of(key_id, 0, clock.time())
    uses.note(use)
    await uses.write()
    assert MonthlyQuota(use, 5).left(clock.time()) == 4
    assert totals(database, key_id) == {}
    await gone.open()
    try:
        uses.note(use)
        await uses.write()
    finally:
        await gone.close()
    assert totals(database, key_id) == {date(2026, 3, 1): 2}


async def test_uses_of_a_key_that_is_gone_are_dropped(writing: Pipeline, clock: Clock) -> None:
    uses = Uses(PostgresKeys(writing))
    uses.note(uses.of(uuid4(), 0, clock.time()))
    await uses.write()  # and holds up no other key's


class Origins:
    async def origins(self) -> frozenset[bytes]:
        return frozenset({b"https://a.example"})


def happened(database: Database, topic: str, stream: str) -> None:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO events (position, stream_id, stream_version, topic, tenant_id, event_id,"
            " correlation_id, actor, recorded_at, data)"
            " SELECT coalesce(max(position), 0) + 1, %(stream)s,"
            " coalesce(max(stream_version) FILTER (WHERE stream_id = %(stream)s), 0) + 1,"
            " %(topic)s, gen_random_uuid(), gen_random_uuid(), 'c', 'a', now(), '' FROM events",
            {"stream": stream, "topic": topic},
        )


async def test_standing_is_folded_from_events_and_heard_of(
    writing: Pipeline, reading: Pipeline, database: Database
) -> None:
    one, other, key_id = uuid4(), uuid4(), uuid4()
    happened(database, "accounts.TenantSuspended.v1", f"accounts.tenant-{one}")
    happened(database, "accounts.TenantSuspended.v1", f"accounts.tenant-{other}")
    happened(database, "accounts.TenantReactivated.v1", f"accounts.tenant-{other}")
    happened(database, "accounts.KeyRevised.v1", f"accounts.key-{uuid4()}")
    for pipeline, dsn, role in (
        (writing, database.write_dsn, "mindstream_write"),
        (reading, database.read_dsn, "mindstream_read"),
    ):
        standing = Standing(pipeline, Origins().origins, dsn=dsn, role=role)
        moved: list[UUID] = []
        standing.moved = moved.append
        await standing.start()
        try:
            assert standing.closed.get(one) in ("suspended", "deleted")
            assert other not in standing.closed
            assert standing.origins == {b"https://a.example"}
            assert moved == []  # what was before the start is looked up afresh anyhow
            happened(database, "accounts.TenantDeleted.v1", f"accounts.tenant-{one}")
            happened(database, "accounts.KeyRevised.v1", f"accounts.key-{key_id}")
            happened(database, "journal.EntryWritten.v1", f"journal.entry-{uuid4()}")
            await PostgresKeys(writing).changed()

            async def heard(standing: Any = standing, moved: list[UUID] = moved) -> bool:
                return standing.closed.get(one) == "deleted" and moved == [key_id]

            await eventually_async(heard, within=3)
        finally:
            await standing.close()


async def test_standing_survives_the_loss_of_its_connection(
    writing: Pipeline, database: Database
) -> None:
    tenant = uuid4()
    standing = Standing(writing, Origins().origins, dsn=database.write_dsn, role="mindstream_write")
    await standing.start()
    try:
        with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
            owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        happened(database, "accounts.TenantSuspended.v1", f"accounts.tenant-{tenant}")

        async def heard() -> bool:
            return standing.closed.get(tenant) == "suspended"

        await asyncio.wait_for(eventually_async(heard), 10)
    finally:
        await standing.close()
