from __future__ import annotations

import json
from typing import Any

import pytest
from pwdlib.hashers.bcrypt import BcryptHasher

from commands.credentials import InvalidCredentials
from commands.people_import import PeopleResult, import_people
from domain.accounts.person import Person
from tests.support.accounts import PASSWORD, House

pytestmark = pytest.mark.anyio

BCRYPT = BcryptHasher(rounds=4).hash(PASSWORD)


@pytest.fixture
async def house(signing_key: bytes) -> House:
    return await House(signing_key).open()


def line(**changes: Any) -> bytes:
    fields = {"email": "ada@example.com", "display_name": "Ada", "password_hash": BCRYPT}
    return json.dumps({**fields, **changes}).encode() + b"\n"


async def imported(house: House, *lines: bytes, dry_run: bool = False) -> PeopleResult:
    return await import_people(lines, house.logins, house.visit(), dry_run=dry_run)


def faults(result: PeopleResult) -> list[tuple[int, str, str]]:
    return [(each.line, f.field, f.code) for each in result.refused for f in each.errors]


async def test_who_is_imported_logs_in_and_has_a_better_hash_then(house: House) -> None:
    terms = {
        "terms_version": "v1",
        "privacy_policy_version": "v1",
        "data_processing": True,
        "marketing": False,
    }
    result = await imported(house, line(username="ada", language="pt", consent=terms), b"\n")
    assert result == PeopleResult(1, ())
    [user_id] = house.credentials.passwords
    person = await house.store.load(Person, Person.stream(user_id))
    assert person is not None
    assert (person.username, person.language) == ("ada", "pt")
    assert person.consent is not None
    assert house.credentials.passwords[user_id] == BCRYPT
    with pytest.raises(InvalidCredentials):
        await house.logins.login("ada@example.com", "not this one", house.visit())
    assert house.credentials.passwords[user_id] == BCRYPT
    await house.logins.login("ada@example.com", PASSWORD, house.visit())
    assert house.credentials.passwords[user_id].startswith("$argon2id$")
    await house.logins.login("ada@example.com", PASSWORD, house.visit())
    assert BCRYPT not in repr(house.store.events)


async def test_an_argon_hash_is_taken_as_it_is(house: House) -> None:
    hashed = await house.passwords.hash(PASSWORD)
    assert (await imported(house, line(password_hash=hashed))).accepted == 1
    await house.logins.login("ada@example.com", PASSWORD, house.visit())


async def test_lines_that_break_rules_are_listed_and_the_others_are_in(house: House) -> None:
    result = await imported(
        house,
        b"{",
        line(email="nowhere", timezone="Mars/Olympus", password_hash="plain text"),
        line(email="bob@example.com", nonsense=1),
        b"  \n",
        line(),
        line(email="ADA@example.com"),
        line(email="eve@example.com", username="eve"),
        line(email="eve2@example.com", username="EVE"),
        line(email="x@example.com", password_hash=BCRYPT.replace("$04$", "$31$")),
    )
    assert result.accepted == 2
    assert faults(result) == [
        (1, "", "malformed_json"),
        (2, "email", "invalid_format"),
        (2, "timezone", "invalid_format"),
        (2, "password_hash", "invalid_format"),
        (3, "nonsense", "unknown_field"),
        (6, "email", "in_use"),
        (8, "username", "in_use"),
        (9, "password_hash", "invalid_format"),
    ]
    assert len(house.credentials.passwords) == 2  # of those who are not in nothing is kept


async def test_a_dry_run_registers_nobody(house: House) -> None:
    result = await imported(house, line(), b"[]", dry_run=True)
    assert result.accepted == 1
    assert [each.line for each in result.refused] == [2]
    assert house.store.events == []
