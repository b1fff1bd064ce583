"""Given people of before tenants had streams, when a system starts, then they have one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.homes import PostgresHomeless
from bootstrap.settings import Settings
from bootstrap.wiring.write_side import WriteSide
from commands.accounts import RegisterPerson
from commands.homes import Unhoused, give_homes
from commands.ports import Context
from domain.accounts.tenant import Tenant
from tests.support.servers import Database

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)


@pytest.fixture
async def side(settings: Settings) -> AsyncIterator[WriteSide]:
    made = WriteSide(settings)
    async with made.opened():
        yield made


async def registered(side: WriteSide) -> Unhoused:
    one = Unhoused(uuid7(), uuid7())
    context = Context(
        user_id=one.user_id, tenant_id=one.tenant_id, actor="x", now=NOW, correlation_id="req_1"
    )
    command = RegisterPerson(email=f"{one.user_id}@example.com", display_name="Ada", terms=None)
    await side.bus.dispatch(command, context)
    return one


async def test_who_has_no_tenant_gets_one_once(side: WriteSide, database: Database) -> None:
    homeless = PostgresHomeless(side.reads)
    before = [await registered(side) for _ in range(3)]
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("ALTER TABLE events DISABLE TRIGGER USER")
        owner.execute("DELETE FROM events WHERE stream_id LIKE 'accounts.tenant-%'")
        owner.execute("ALTER TABLE events ENABLE TRIGGER USER")
    now = await registered(side)
    assert list(await homeless.some()) == before
    assert await give_homes(homeless, side.store, NOW, "setup_1") == 3
    assert await give_homes(homeless, side.store, NOW, "setup_2") == 0
    for one in (*before, now):
        home = await side.store.load(Tenant, Tenant.stream(one.tenant_id))
        assert home is not None
        assert (home.personal, home.user_id, home.version) == (True, one.user_id, 1)
