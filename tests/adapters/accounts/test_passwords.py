from __future__ import annotations

import asyncio

import pytest
from pwdlib.hashers.bcrypt import BcryptHasher

from adapters.passwords import ArgonPasswords
from commands.credentials import Unavailable

pytestmark = pytest.mark.anyio


def small(**options: int) -> ArgonPasswords:
    return ArgonPasswords(memory_kib=64, passes=1, **options)


async def test_a_password_fits_its_hash_only() -> None:
    passwords = small()
    hashed = await passwords.hash("one of them")
    assert hashed.startswith("$argon2id$")
    assert await passwords.verify("one of them", hashed) == (True, None)
    assert await passwords.verify("another one", hashed) == (False, None)
    assert await passwords.verify("one of them", None) == (False, None)


async def test_an_imported_bcrypt_hash_fits_and_is_replaced() -> None:
    passwords = small()
    imported = BcryptHasher(rounds=4).hash("one of them")
    fits, better = await passwords.verify("one of them", imported)
    assert fits
    assert better is not None
    assert better.startswith("$argon2id$")
    assert (await passwords.verify("é" * 200, imported)) == (False, None)
    assert (await passwords.verify("one\0of them", imported)) == (False, None)
    # As Python's bcrypt, PHP and Node write one and the same hash.
    for prefix in ("$2a$", "$2b$", "$2y$"):
        assert (await passwords.verify("one of them", prefix + imported[4:]))[0]


async def test_bcrypt_never_looked_at_more_than_72_bytes_but_the_new_hash_does() -> None:
    passwords = small()
    imported = BcryptHasher(rounds=4).hash("x" * 72)
    fits, better = await passwords.verify("x" * 80, imported)
    assert fits
    assert await passwords.verify("x" * 80, better) == (True, None)
    assert await passwords.verify("x" * 72, better) == (False, None)
    assert await passwords.verify("x" * 71, imported) == (False, None)


async def test_a_weaker_argon_hash_is_replaced() -> None:
    weak = await ArgonPasswords(memory_kib=32, passes=1).hash("one of them")
    fits, better = await small().verify("one of them", weak)
    assert fits
    assert better is not None


async def test_nobodys_hash_costs_what_anybodys_does() -> None:
    """Else the time of an answer would tell whether an address is known."""
    passwords = ArgonPasswords()
    nobody = passwords._nobody.split("$")[:4]
    assert nobody == (await passwords.hash("one of them")).split("$")[:4]


async def test_a_damaged_hash_fits_nothing() -> None:
    for damaged in ("nonsense", "$2b$nonsense", "$2b$12$é", "$argon2id$"):
        assert await small().verify("one of them", damaged) == (False, None)


async def test_no_more_wait_than_a_client_would_have_patience_for() -> None:
    passwords = small(threads=1, waiting=2)
    results = await asyncio.gather(
        *[passwords.hash("one of them") for _ in range(10)], return_exceptions=True
    )
    assert [isinstance(result, Unavailable) for result in results].count(True) == 7
    assert (await passwords.hash("one of them")).startswith("$argon2id$")
