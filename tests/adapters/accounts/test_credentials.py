"""One contract for credentials, held to the fake in memory and to PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.authentication import EndedLogins
from adapters.credentials import PostgresCredentials
from adapters.postgres.pipeline import Pipeline
from adapters.sealing import Sealer
from adapters.tokens import KeyRing
from commands.credentials import NewLogin
from tests.support.accounts import MemoryCredentials
from tests.support.servers import Database
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

SEALER = Sealer(bytes(32))


@pytest.fixture(params=["memory", "postgres"])
async def credentials(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield MemoryCredentials()
        return
    database: Database = request.getfixturevalue("database")
    pipeline = Pipeline(database.write_dsn, role="mindstream_write")
    await pipeline.open()
    yield PostgresCredentials(pipeline, SEALER)
    await pipeline.close()
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("TRUNCATE accounts_signing_keys")


def token() -> bytes:
    return uuid7().bytes * 2


async def begin(credentials: Any) -> tuple[NewLogin, bytes]:
    login, first = NewLogin(uuid7(), uuid7(), "192.0.2.1", "Firefox"), token()
    await credentials.begin(login, first)
    return login, first


async def test_a_password_is_kept_replaced_and_forgotten(credentials: Any) -> None:
    user = uuid7()
    assert await credentials.password_hash(user) is None
    await credentials.set_password(user, "$argon2id$one")
    await credentials.set_password(user, "$argon2id$two")
    assert await credentials.password_hash(user) == "$argon2id$two"
    await credentials.forget(user)
    assert await credentials.password_hash(user) is None


async def test_a_refresh_token_is_exchanged_once(credentials: Any) -> None:
    login, first = await begin(credentials)
    second = token()
    rotation = await credentials.rotate(first, second)
    assert (rotation.login_id, rotation.user_id) == (login.login_id, login.user_id)
    assert not rotation.reused
    assert not (await credentials.rotate(second, token())).reused
    assert await credentials.rotate(token(), token()) is None


async def test_a_second_use_ends_the_login(credentials: Any) -> None:
    login, first = await begin(credentials)
    second = token()
    await credentials.rotate(first, second)
    again = await credentials.rotate(first, token())
    assert again.reused
    assert again.login_id == login.login_id
    assert await credentials.rotate(second, token()) is None
    assert login.login_id in await credentials.ended_within(60)
    assert not await credentials.end(login.login_id)


async def test_of_many_at_once_one_is_exchanged_and_the_login_ends(credentials: Any) -> None:
    login, first = await begin(credentials)
    tries = [credentials.rotate(first, token()) for _ in range(20)]
    rotations = await asyncio.gather(*tries)
    assert [rotation.reused for rotation in rotations].count(False) == 1
    assert login.login_id in await credentials.ended_within(60)


async def test_a_login_ends_once_and_its_tokens_with_it(credentials: Any) -> None:
    login, first = await begin(credentials)
    assert await credentials.end(login.login_id)
    assert not await credentials.end(login.login_id)
    assert await credentials.rotate(first, token()) is None


async def test_a_login_ends_only_for_whose_it_is(credentials: Any) -> None:
    login, first = await begin(credentials)
    assert not await credentials.end(login.login_id, uuid7())
    assert not (await credentials.rotate(first, second := token())).reused
    assert await credentials.end(login.login_id, login.user_id)
    assert await credentials.rotate(second, token()) is None


async def test_all_logins_of_a_person_end_together(credentials: Any) -> None:
    login, first = await begin(credentials)
    another, second = msgspec.structs.replace(login, login_id=uuid7()), token()
    await credentials.begin(another, second)
    stranger, third = await begin(credentials)
    assert await credentials.end_all(login.user_id) == 2
    assert await credentials.end_all(login.user_id) == 0
    assert await credentials.rotate(first, token()) is None
    assert await credentials.rotate(second, token()) is None
    assert not (await credentials.rotate(third, token())).reused
    ended = await credentials.ended_within(60)
    assert {login.login_id, another.login_id} <= set(ended)
    assert stranger.login_id not in ended


async def test_the_first_signing_key_stays(credentials: Any) -> None:
    await credentials.keep_first_key("one", b"pem one", '{"kid":"one"}')
    await credentials.keep_first_key("two", b"pem two", '{"kid":"two"}')
    assert await credentials.signing_key() == ("one", b"pem one")
    assert [key.kid for key in await credentials.public_keys(60)] == ["one"]


async def test_secrets_do_not_lie_in_the_clear(database: Database) -> None:
    pipeline = Pipeline(database.write_dsn, role="mindstream_write")
    await pipeline.open()
    credentials = PostgresCredentials(pipeline, SEALER)
    user, other = uuid7(), uuid7()
    await credentials.set_password(user, "$argon2id$secret")
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        rows = owner.execute("SELECT password_hash FROM accounts_credentials").fetchall()
        assert not any(b"argon2" in row[0] for row in rows)
        owner.execute(
            "INSERT INTO accounts_credentials (user_id, password_hash)"
            " SELECT %s, password_hash FROM accounts_credentials WHERE user_id = %s",
            (other, user),
        )
    with pytest.raises(Exception, match="context"):  # one's password does not pass for another's
        await credentials.password_hash(other)
    await pipeline.close()


async def test_the_reader_sees_public_keys_and_ended_logins_and_nothing_else(
    database: Database,
) -> None:
    writing = Pipeline(database.write_dsn, role="mindstream_write")
    reading = Pipeline(database.read_dsn, role="mindstream_read")
    await writing.open()
    await reading.open()
    credentials = PostgresCredentials(writing, SEALER)
    login, _ = await begin(credentials)
    still_open, _ = await begin(credentials)
    await credentials.end(login.login_id)
    reader = PostgresCredentials(reading)
    ended = await reader.ended_within(60)
    assert login.login_id in ended
    assert still_open.login_id not in ended
    assert len(await reader.public_keys(60)) <= 1
    with psycopg.connect(database.read_dsn, autocommit=True) as connection:
        for column, table in (
            ("password_hash", "accounts_credentials"),
            ("user_id", "accounts_logins"),
            ("hash", "accounts_refresh_tokens"),
            ("private_pem", "accounts_signing_keys"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT {column} FROM {table}")
    await writing.close()
    await reading.close()


async def test_every_process_hears_at_once_that_a_login_ended(database: Database) -> None:
    writing = Pipeline(database.write_dsn, role="mindstream_write")
    reading = Pipeline(database.read_dsn, role="mindstream_read")
    await writing.open()
    await reading.open()
    reader = PostgresCredentials(reading)
    ended = EndedLogins(reader, KeyRing(reader), dsn=database.read_dsn, role="mindstream_read")
    await ended.start()
    credentials = PostgresCredentials(writing, SEALER)
    login, first = await begin(credentials)
    other, _ = await begin(credentials)
    await credentials.rotate(first, token())
    await credentials.rotate(first, token())
    await credentials.end(other.login_id)

    async def known() -> bool:
        return login.login_id in ended and other.login_id in ended

    await eventually_async(known, within=3)
    await ended.close()
    await writing.close()
    await reading.close()


async def test_what_is_over_is_swept_and_what_is_left_behind(
    empty_database: Database,
) -> None:
    writing = Pipeline(empty_database.write_dsn, role="mindstream_write")
    await writing.open()
    credentials = PostgresCredentials(writing, SEALER)
    gone, _ = await begin(credentials)
    stays, first = await begin(credentials)
    orphan = uuid7()
    await credentials.set_password(orphan, "x")
    await credentials.end(gone.login_id)
    assert await credentials.sweep(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert await credentials.password_hash(orphan) == "x"
    assert await credentials.sweep(datetime.now(UTC) + timedelta(minutes=1)) >= 1
    assert await credentials.password_hash(orphan) is None
    assert (await credentials.rotate(first, token())) is not None
    assert stays.login_id not in await credentials.ended_within(60)
    await writing.close()


def test_every_table_of_a_person_has_row_level_security_forced(database: Database) -> None:
    with psycopg.connect(database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class"
            " WHERE relkind = 'r' AND relname LIKE 'accounts\\_%'"
        ).fetchall()
    forced = dict(rows)
    assert not forced.pop("accounts_signing_keys")  # nobody's
    assert {"accounts_credentials", "accounts_people", "accounts_key_hashes"} <= set(forced)
    assert all(forced.values()), forced


def test_a_person_sees_their_own_row_only(database: Database) -> None:
    mine, other = UUID(int=1), UUID(int=2)
    with psycopg.connect(database.project_dsn, autocommit=True) as projector:
        for user in (mine, other):
            projector.execute(
                "INSERT INTO accounts_people (user_id, tenant_id, timezone, language, version,"
                " created_at, document) VALUES (%s, %s, 'UTC', 'en', 1, now(), '{}')",
                (user, user),
            )
    with psycopg.connect(database.read_dsn) as reader:
        query = "SELECT user_id FROM accounts_people"
        assert reader.execute(query).fetchall() == []
        reader.execute("SELECT set_config('mindstream.user_id', %s, true)", (str(mine),))
        assert reader.execute(query).fetchall() == [(mine,)]
