"""One contract for seeds and recovery codes, held to the fake in memory and to PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.postgres.pipeline import Pipeline
from adapters.sealing import Sealer, Unsealable
from adapters.second_factor import PostgresSeeds
from commands.second_factor import Seed
from tests.support.accounts import MemorySeeds
from tests.support.servers import Database

pytestmark = pytest.mark.anyio

SEALER = Sealer(bytes(32))
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CODES = [bytes([number]) * 32 for number in range(3)]


@pytest.fixture(params=["memory", "postgres"])
async def seeds(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield MemorySeeds()
        return
    database: Database = request.getfixturevalue("database")
    pipeline = Pipeline(database.write_dsn, role="mindstream_write")
    await pipeline.open()
    yield PostgresSeeds(pipeline, SEALER)
    await pipeline.close()


def new_seed() -> Seed:
    return Seed(uuid7(), SECRET, confirmed=False)


async def confirmed(seeds: Any) -> UUID:
    user, seed = uuid7(), new_seed()
    assert await seeds.begin_totp(user, seed, CODES)
    assert await seeds.confirm_totp(user, seed.id)
    return user


async def test_a_seed_is_kept_and_counts_once_confirmed(seeds: Any) -> None:
    user, seed = uuid7(), new_seed()
    assert await seeds.seed(user) is None
    assert not await seeds.confirm_totp(user, seed.id)
    assert await seeds.begin_totp(user, seed, CODES)
    assert await seeds.seed(user) == seed
    assert await seeds.confirm_totp(user, seed.id)
    assert (await seeds.seed(user)).confirmed
    assert await seeds.confirm_totp(user, seed.id)


async def test_beginning_again_replaces_what_is_not_confirmed(seeds: Any) -> None:
    user, first, second = uuid7(), new_seed(), new_seed()
    await seeds.begin_totp(user, first, CODES[:1])
    assert await seeds.begin_totp(user, second, CODES[1:])
    assert not await seeds.confirm_totp(user, first.id)
    assert await seeds.confirm_totp(user, second.id)
    assert not await seeds.begin_totp(user, new_seed(), CODES)
    assert (await seeds.seed(user)).id == second.id
    assert await seeds.use_recovery(user, CODES[0]) is None
    assert await seeds.use_recovery(user, CODES[1]) == 1


async def test_a_step_and_all_before_it_are_used_up_once(seeds: Any) -> None:
    user = await confirmed(seeds)
    used = await asyncio.gather(*[seeds.use_step(user, 100) for _ in range(10)])
    assert used.count(True) == 1
    assert not await seeds.use_step(user, 99)
    assert await seeds.use_step(user, 101)


async def test_a_recovery_code_is_used_up_once(seeds: Any) -> None:
    user, other = await confirmed(seeds), await confirmed(seeds)
    used = await asyncio.gather(*[seeds.use_recovery(user, CODES[0]) for _ in range(10)])
    assert sorted(used, key=str) == [2, *[None] * 9]
    assert await seeds.use_recovery(user, b"x" * 32) is None
    assert await seeds.use_recovery(other, CODES[0]) == 2


async def test_codes_of_an_unconfirmed_seed_open_nothing(seeds: Any) -> None:
    user = uuid7()
    await seeds.begin_totp(user, new_seed(), CODES)
    assert await seeds.use_recovery(user, CODES[0]) is None


async def test_all_is_forgotten(seeds: Any) -> None:
    user = await confirmed(seeds)
    assert await seeds.forget_totp(user)
    assert not await seeds.forget_totp(user)
    assert await seeds.seed(user) is None
    assert await seeds.use_recovery(user, CODES[0]) is None
    assert await seeds.begin_totp(user, new_seed(), CODES)


async def test_a_seed_is_sealed_for_its_person(database: Database) -> None:
    pipeline = Pipeline(database.write_dsn, role="mindstream_write")
    await pipeline.open()
    seeds = PostgresSeeds(pipeline, SEALER)
    ada, eve = await confirmed(seeds), await confirmed(seeds)
    assert SECRET not in repr(await seeds.seed(ada))
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        rows = owner.execute("SELECT seed FROM accounts_totp").fetchall()
        assert not any(SECRET.encode() in row[0] for row in rows)
        owner.execute(
            "UPDATE accounts_totp SET seed = (SELECT seed FROM accounts_totp WHERE user_id = %s)"
            " WHERE user_id = %s",
            (ada, eve),
        )
    with pytest.raises(Unsealable):
        await seeds.seed(eve)
    await pipeline.close()
    with (
        psycopg.connect(database.read_dsn) as reader,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        reader.execute("SELECT 1 FROM accounts_totp")
