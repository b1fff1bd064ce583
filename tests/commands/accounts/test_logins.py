from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.attempts import ALLOWED
from commands.credentials import (
    Grant,
    InvalidCredentials,
    RefreshRefused,
    TooManyAttempts,
    password_faults,
)
from commands.ports import CommitError, Idempotency, KeyReused, Replayed, Response
from domain.accounts.events import LoggedIn, LoginEnded
from domain.accounts.person import OPERATOR, EmailInUse, UsernameInUse
from domain.faults import Invalid
from tests.support.accounts import PASSWORD, House, ada

pytestmark = pytest.mark.anyio

EMAIL = "ada@example.com"


@pytest.fixture
async def house(signing_key: bytes) -> House:
    return await House(signing_key).open()


@pytest.fixture
async def home(house: House) -> House:
    """A house with Ada in it."""
    await house.logins.register(ada(username="ada"), PASSWORD, house.visit())
    return house


def keyed(key: str = "k", request: bytes = b"r" * 32) -> Idempotency:
    def render(result: Any) -> Response:
        return Response(200, (), repr(getattr(result, "id", None)).encode())

    return Idempotency("address:192.0.2.7", key, request, render)


async def test_whoever_registers_can_log_in_however_the_address_is_cased(home: House) -> None:
    grant = (await home.logins.login("ADA@EXAMPLE.COM", PASSWORD, home.visit())).result
    assert (grant.token_type, grant.expires_in) == ("Bearer", 900)
    assert PASSWORD not in repr(home.store.events)
    assert grant.refresh_token not in repr(home.store.events)
    assert grant.access_token not in repr(grant)
    assert isinstance(home.store.events[-1].event, LoggedIn)


async def test_a_password_is_one_however_it_is_composed(house: House) -> None:
    await house.logins.register(ada(), "josé walks home again", house.visit())
    await house.logins.login(EMAIL, "jose\u0301 walks home again", house.visit())


async def test_an_unknown_address_and_a_wrong_password_are_refused_alike(home: House) -> None:
    with pytest.raises(InvalidCredentials) as unknown:
        await home.logins.login("nobody@example.com", PASSWORD, home.visit())
    with pytest.raises(InvalidCredentials) as wrong:
        await home.logins.login(EMAIL, "not this one, surely", home.visit())
    assert str(unknown.value) == str(wrong.value)


async def test_all_faults_of_a_registration_are_told_at_once(house: House) -> None:
    command = ada(email="nowhere", timezone="Mars/Olympus")
    with pytest.raises(Invalid) as refused:
        await house.logins.register(command, "short", house.visit())
    assert [(f.field, f.code) for f in refused.value.faults] == [
        ("email", "invalid_format"),
        ("timezone", "invalid_format"),
        ("password", "too_short"),
    ]
    assert house.store.events == []
    assert house.credentials.passwords == {}


@pytest.mark.parametrize(
    "password",
    ["password123", "1234567890", "qwertyuiop", "Password123!", "P@ssw0rd1234", "aaaaaaaaaaaa"],
)
def test_common_passwords_are_refused(password: str) -> None:
    assert [fault.code for fault in password_faults(password)] == ["too_common"]


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "pepys-1660-diary",
        "x9$kQ2!mzw",
        "🐢🐇🦔🦉🐝🦋🐌🐞🐜🦗",
        "é" * 3 + "walks far",
    ],
)
def test_others_are_taken(password: str) -> None:
    assert password_faults(password) == []


def test_what_others_know_of_a_person_is_easily_guessed() -> None:
    hints = ["augustaada@example.com", "augustaada"]
    assert [fault.code for fault in password_faults("augustaada", hints)] == ["too_common"]


async def test_the_address_in_use_is_refused_and_leaves_no_password(home: House) -> None:
    with pytest.raises(EmailInUse):
        await home.logins.register(ada(), PASSWORD, home.visit())
    with pytest.raises(UsernameInUse):
        await home.logins.register(
            ada(email="other@example.com", username="ADA"), PASSWORD, home.visit()
        )
    assert len(home.credentials.passwords) == 1


async def test_of_many_who_register_an_address_at_once_one_succeeds(house: House) -> None:
    tries = [house.logins.register(ada(), PASSWORD, house.visit()) for _ in range(8)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(result, Exception) for result in results) == 1
    assert all(isinstance(r, EmailInUse) for r in results if isinstance(r, Exception))
    assert len(house.credentials.passwords) == 1


async def test_one_idempotency_key_registers_once_and_is_answered_alike(house: House) -> None:
    visit = house.visit(idempotency=keyed())
    results = await asyncio.gather(
        *[house.logins.register(ada(), PASSWORD, visit) for _ in range(8)],
        return_exceptions=True,
    )
    assert sum(not isinstance(result, Exception) for result in results) == 1
    replays = [result for result in results if isinstance(result, Exception)]
    assert {type(replay) for replay in replays} == {Replayed}
    assert len({replay.response.body for replay in replays}) == 1  # type: ignore[attr-defined]
    with pytest.raises(KeyReused):
        await house.logins.register(
            ada(), PASSWORD, house.visit(idempotency=keyed(request=b"x" * 32))
        )
    assert len(house.credentials.passwords) == 1


async def test_ten_wrong_passwords_close_the_account_to_that_address_for_a_while(
    home: House,
) -> None:
    for _ in range(ALLOWED):
        with pytest.raises(InvalidCredentials):
            await home.logins.login(EMAIL, "not this one", home.visit())
        home.pass_time(minutes=1)
    with pytest.raises(TooManyAttempts) as refused:
        await home.logins.login(EMAIL, PASSWORD, home.visit())
    assert refused.value.seconds == 5 * 60
    await home.logins.login(EMAIL, PASSWORD, home.visit(address="192.0.2.8"))
    home.pass_time(minutes=5, seconds=1)
    await home.logins.login(EMAIL, PASSWORD, home.visit())


async def test_attempts_on_an_unknown_address_are_counted_alike(home: House) -> None:
    tries = [home.logins.login("nobody@example.com", "x", home.visit()) for _ in range(ALLOWED + 5)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(result) for result in results].count(InvalidCredentials) == ALLOWED
    assert [type(result) for result in results].count(TooManyAttempts) == 5


async def test_the_right_password_forgets_the_wrong_ones(home: House) -> None:
    for _ in range(3):
        for _ in range(ALLOWED - 1):
            with pytest.raises(InvalidCredentials):
                await home.logins.login(EMAIL, "not this one", home.visit())
        await home.logins.login(EMAIL, PASSWORD, home.visit())


async def login(home: House) -> Grant:
    return (await home.logins.login(EMAIL, PASSWORD, home.visit())).result


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_login(home: House) -> None:
    first = await login(home)
    second = (await home.logins.refresh(first.refresh_token, home.visit())).result
    assert second.refresh_token != first.refresh_token
    with pytest.raises(RefreshRefused):
        await home.logins.refresh(first.refresh_token, home.visit())
    assert isinstance(home.store.events[-1].event, LoginEnded)
    with pytest.raises(RefreshRefused):
        await home.logins.refresh(second.refresh_token, home.visit())
    assert len(home.credentials.ended) == 1


async def test_of_many_refreshes_at_once_one_succeeds_and_the_login_ends(home: House) -> None:
    grant = await login(home)
    results = await asyncio.gather(
        *[home.logins.refresh(grant.refresh_token, home.visit()) for _ in range(5)],
        return_exceptions=True,
    )
    won = [result for result in results if not isinstance(result, Exception)]
    assert len(won) == 1
    with pytest.raises(RefreshRefused):
        await home.logins.refresh(won[0].result.refresh_token, home.visit())


async def test_a_refresh_with_an_idempotency_key_may_be_repeated(home: House) -> None:
    grant = await login(home)
    visit = home.visit(idempotency=keyed())
    results = await asyncio.gather(
        *[home.logins.refresh(grant.refresh_token, visit) for _ in range(5)],
        return_exceptions=True,
    )
    assert [type(result) for result in results].count(Replayed) == 4
    assert home.credentials.ended == set()


async def test_no_refresh_after_the_login_has_ended(home: House) -> None:
    grant = await login(home)
    [login_id] = home.credentials.logins
    user_id = home.credentials.logins[login_id].user_id
    await home.logins.end(login_id, home.visit().by(user_id, user_id))
    with pytest.raises(RefreshRefused):
        await home.logins.refresh(grant.refresh_token, home.visit())
    for nonsense in ("", "x", "\ud800", "é" * 100):
        with pytest.raises(RefreshRefused):
            await home.logins.refresh(nonsense, home.visit())


async def test_a_login_that_is_answered_again_leaves_no_second_one_open(home: House) -> None:
    visit = home.visit(idempotency=keyed())
    tries = [home.logins.login(EMAIL, PASSWORD, visit) for _ in range(4)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, CommitError) for result in results) == 3
    open_logins = set(home.credentials.logins) - home.credentials.ended
    assert len(open_logins) == 1


async def test_the_operator_is_made_once_with_all_rights(house: House) -> None:
    made = await house.logins.ensure_operator("ops@localhost", "ops", house.visit())
    assert made is not None
    assert await house.logins.ensure_operator("ops@localhost", "other", house.visit()) is None
    await house.logins.login("ops@localhost", "ops", house.visit())
    from domain.accounts.person import Person

    person = await house.store.load(Person, Person.stream(made))
    assert person is not None
    assert set(OPERATOR) < set(person.permissions)


async def test_an_operator_who_came_with_an_archive_gets_a_password(house: House) -> None:
    """Nobody else's is touched: only who has none is given one."""
    made = await house.logins.ensure_operator("ops@localhost", "ops", house.visit())
    assert made is not None
    await house.credentials.forget(made)
    assert await house.logins.ensure_operator("ops@localhost", "another", house.visit()) is None
    await house.logins.login("ops@localhost", "another", house.visit())
    with pytest.raises(InvalidCredentials):
        await house.logins.login("ops@localhost", "ops", house.visit())
