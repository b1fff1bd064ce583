"""Given an enrolment, when codes are given, then the right ones open one login each."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from commands.credentials import AccountDeleted, InvalidCredentials, TooManyAttempts
from commands.ports import Context
from commands.second_factor import (
    STEP,
    Enrolment,
    TotpInUse,
    TotpNotBegun,
    TotpRefused,
    TotpRequired,
)
from domain.accounts.events import RecoveryCodeUsed, TotpDisabled, TotpEnabled
from domain.accounts.person import Person
from domain.errors import NotFound
from tests.support.accounts import PASSWORD, House, ada

pytestmark = pytest.mark.anyio

EMAIL = "ada@example.com"


@pytest.fixture
async def house(signing_key: bytes) -> House:
    return await House(signing_key).open()


@pytest.fixture
async def person(house: House) -> Person:
    return (await house.logins.register(ada(), PASSWORD, house.visit())).result


def by(house: House, person: Person) -> Context:
    return house.visit().by(person.id, person.tenant_id)


def code(house: House, enrolment: Enrolment, steps: int = 0) -> str:
    secret = parse_qs(urlsplit(enrolment.otpauth_uri).query)["secret"][0]
    return pyotp.TOTP(secret).generate_otp(int(house.now.timestamp()) // STEP + steps)


async def enrolled(house: House, person: Person) -> Enrolment:
    context = by(house, person)
    enrolment = (await house.second_factor.begin(context)).result
    await house.second_factor.confirm(code(house, enrolment), context)
    return enrolment


async def login(house: House, totp: str | None = None) -> None:
    await house.logins.login(EMAIL, PASSWORD, house.visit(), totp)


async def test_a_seed_asks_for_nothing_before_it_is_confirmed(house: House, person: Person) -> None:
    context = by(house, person)
    with pytest.raises(TotpNotBegun):
        await house.second_factor.confirm("123456", context)
    enrolment = (await house.second_factor.begin(context)).result
    assert "Ada%40Example.com" in enrolment.otpauth_uri
    await login(house)
    with pytest.raises(TotpRefused):
        await house.second_factor.confirm(code(house, enrolment, 2), context)
    confirmed = (await house.second_factor.confirm(code(house, enrolment), context)).result
    assert confirmed.two_factor_enabled
    await house.second_factor.confirm(code(house, enrolment), context)  # a retry changes nothing
    told = [e.event for e in house.store.events if isinstance(e.event, TotpEnabled)]
    assert told == [TotpEnabled(user_id=person.id)]
    with pytest.raises(TotpInUse):
        await house.second_factor.begin(context)


async def test_no_secret_is_told(house: House, person: Person) -> None:
    enrolment = await enrolled(house, person)
    await login(house, enrolment.recovery_codes[0])
    secret = parse_qs(urlsplit(enrolment.otpauth_uri).query)["secret"][0]
    told = repr((house.store.events, enrolment, await house.seeds.seed(person.id)))
    for text in (secret, *enrolment.recovery_codes):
        assert text not in told


async def test_codes_are_good_for_a_minute_and_a_half_and_once(
    house: House, person: Person
) -> None:
    enrolment = await enrolled(house, person)
    for steps in (-2, 2):
        with pytest.raises(TotpRefused):
            await login(house, code(house, enrolment, steps))
    for steps in (-1, 0, 1):
        await login(house, code(house, enrolment, steps))
        with pytest.raises(TotpRefused):
            await login(house, code(house, enrolment, steps))
    with pytest.raises(TotpRefused):  # older than one that was used
        await login(house, code(house, enrolment, -1))
    house.pass_time(seconds=2 * STEP)
    await login(house, code(house, enrolment))


@pytest.mark.parametrize("given", [None, "", "  ", "--"])
async def test_a_missing_code_is_asked_for(house: House, person: Person, given: str | None) -> None:
    await enrolled(house, person)
    with pytest.raises(TotpRequired):
        await login(house, given)


@pytest.mark.parametrize("given", ["12345", "1234567", "abcdef", "١٢٣٤٥٦", "\ud800", "x" * 64])
async def test_nonsense_is_no_code(house: House, person: Person, given: str) -> None:
    await enrolled(house, person)
    with pytest.raises(TotpRefused):
        await login(house, given)


async def test_a_recovery_code_stands_in_once(house: House, person: Person) -> None:
    enrolment = await enrolled(house, person)
    for number, given in enumerate(enrolment.recovery_codes):
        await login(house, given.upper())
        left = len(enrolment.recovery_codes) - number - 1
        told = [e.event for e in house.store.events if isinstance(e.event, RecoveryCodeUsed)]
        assert told[-1].remaining == left
    for given in enrolment.recovery_codes[:3]:
        with pytest.raises(TotpRefused):
            await login(house, given)


async def test_the_password_comes_first(house: House, person: Person) -> None:
    enrolment = await enrolled(house, person)
    for given in (None, code(house, enrolment), enrolment.recovery_codes[0]):
        with pytest.raises(InvalidCredentials):
            await house.logins.login(EMAIL, "not this one", house.visit(), given)
    await login(house, code(house, enrolment))  # nothing was used up
    await login(house, enrolment.recovery_codes[0])


async def test_wrong_codes_close_the_account_to_an_address(house: House, person: Person) -> None:
    enrolment = await enrolled(house, person)
    for _ in range(10):
        with pytest.raises(TotpRequired):
            await login(house)
        with pytest.raises(TotpRefused):
            await login(house, "nothing")
    with pytest.raises(TooManyAttempts):
        await login(house, code(house, enrolment))
    elsewhere = house.visit(address="198.51.100.7")
    await house.logins.login(EMAIL, PASSWORD, elsewhere, code(house, enrolment))


async def test_switched_off_a_password_is_enough(house: House, person: Person) -> None:
    enrolment = await enrolled(house, person)
    gone = (await house.second_factor.remove(by(house, person))).result
    assert not gone.two_factor_enabled
    assert isinstance(house.store.events[-1].event, TotpDisabled)
    await login(house)
    await house.second_factor.remove(by(house, person))
    assert await house.seeds.use_recovery(person.id, b"x" * 32) is None
    again = await enrolled(house, person)
    assert again.otpauth_uri != enrolment.otpauth_uri


async def test_whoever_left_is_not_let_in_before_they_come_back(
    house: House, person: Person
) -> None:
    await login(house)
    grant = (await house.logins.login(EMAIL, PASSWORD, house.visit())).result
    await house.logins.leave(None, by(house, person))
    assert set(house.credentials.logins) == house.credentials.ended
    with pytest.raises(AccountDeleted):
        await login(house)
    with pytest.raises(InvalidCredentials):
        await house.logins.login(EMAIL, "not this one", house.visit())
    with pytest.raises(InvalidCredentials):
        await house.logins.restore(EMAIL, "not this one", house.visit())
    back = (await house.logins.restore(EMAIL, PASSWORD, house.visit())).result
    assert back.deleted_at is None
    await login(house)
    assert grant.refresh_token


async def test_whoever_leaves_while_they_log_in_is_not_in(
    house: House, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = house.credentials.begin

    async def begin_slowly(*arguments: Any) -> None:
        await house.logins.leave(None, by(house, person))
        await begin(*arguments)

    monkeypatch.setattr(house.credentials, "begin", begin_slowly)
    with pytest.raises(AccountDeleted):
        await login(house)
    assert set(house.credentials.logins) == house.credentials.ended != set()


async def test_a_login_is_ended_by_whose_it_is(house: House, person: Person) -> None:
    await login(house)
    [login_id] = house.credentials.logins
    stranger = house.visit().by(person.tenant_id, person.tenant_id)
    with pytest.raises(NotFound):
        await house.logins.end(login_id, stranger, stranger.user_id)
    assert house.credentials.ended == set()
    await house.logins.end(login_id, by(house, person), person.id)
    assert house.credentials.ended == {login_id}
    with pytest.raises(NotFound):
        await house.logins.end(login_id, by(house, person), person.id)
