"""Given people who left, when their 30 days are over, then their erasure is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from bootstrap.settings import Settings
from bootstrap.wiring.background import erasing
from bootstrap.wiring.write_side import WriteSide
from commands.accounts import RegisterPerson
from commands.departure import DeletePerson, Departed, RestorePerson, ask_for_erasures
from commands.ports import Context
from domain.accounts.person import RECOVERABLE
from domain.operation import ERASURE
from tests.support.servers import Database
from workers.broker import Offers, redis_broker

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
AFTER = NOW + RECOVERABLE + timedelta(hours=1)


@pytest.fixture
async def side(settings: Settings) -> AsyncIterator[WriteSide]:
    made = WriteSide(settings)
    async with made.opened():
        yield made


async def person(side: WriteSide, *then: object) -> UUID:
    user, tenant = uuid7(), uuid7()
    context = Context(
        user_id=user, tenant_id=tenant, actor="x", now=datetime.now(UTC), correlation_id="req_1"
    )
    command = RegisterPerson(email=f"{user}@example.com", display_name="Ada", terms=None)
    for each in (command, *then):
        await side.bus.dispatch(each, context)
    return user


async def test_who_left_for_good_is_known(side: WriteSide, database: Database) -> None:
    gone = await person(side, DeletePerson(None))
    back = await person(side, DeletePerson(None), RestorePerson())
    gone_again = await person(side, DeletePerson(None), RestorePerson(), DeletePerson(None))
    here = await person(side)
    erased = await person(side, DeletePerson(None))
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO events"
            " SELECT (SELECT max(position) + 1 FROM events), stream_id, stream_version + 1,"
            " 'accounts.SubjectErased.v1', tenant_id, gen_random_uuid(), correlation_id, NULL,"
            " actor, NULL, recorded_at, '{}' FROM events WHERE stream_id = %s"
            " ORDER BY stream_version DESC LIMIT 1",
            (f"accounts.person-{erased}",),
        )
    found = {one.user_id for one in await side.departures.before(AFTER)}
    assert {gone, gone_again} <= found
    assert found.isdisjoint({back, here, erased})
    assert await side.departures.before(NOW - timedelta(days=1)) == []


async def test_an_erasure_is_asked_for_once_a_day(
    side: WriteSide, settings: Settings, database: Database
) -> None:
    user = await person(side, DeletePerson(None))
    offers = Offers(redis_broker(settings.redis_url or "", works=False))

    def rows() -> list[tuple[object, ...]]:
        with psycopg.connect(database.owner_dsn) as owner:
            return owner.execute(
                "SELECT kind, state FROM operations WHERE user_id = %s", (user,)
            ).fetchall()

    assert await ask_for_erasures(side.departures, erasing(side, offers, NOW), NOW) == 0
    assert rows() == []
    asked = await ask_for_erasures(side.departures, erasing(side, offers, AFTER), AFTER)
    assert asked >= 1
    assert await ask_for_erasures(side.departures, erasing(side, offers, AFTER), AFTER) == 0
    assert rows() == [(ERASURE, "pending")]
    later = AFTER + timedelta(days=1)  # as where it failed
    assert await ask_for_erasures(side.departures, erasing(side, offers, later), later) == asked
    assert len(rows()) == 2


async def test_only_the_time_that_is_over_counts() -> None:
    asked_before: list[datetime] = []

    class Nobody:
        async def before(self, moment: datetime) -> list[Departed]:
            asked_before.append(moment)
            return []

    async def ask(one: Departed) -> bool:
        raise AssertionError(one)

    assert await ask_for_erasures(Nobody(), ask, NOW) == 0
    assert asked_before == [NOW - timedelta(days=30)]
