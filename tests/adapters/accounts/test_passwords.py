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


async def test_a_weaker_argon_hash_is_replaced() -> None:
    weak = await ArgonPasswords(memory_kib=32, passes=1).hash("one of them")
    fits, better = await small().verify("one of them", weak)
    assert fits
    assert better is not None


async def test_a_damaged_hash_fits_nothing() -> None:
    assert await small().verify("one of them", "nonsense") == (False, None)


async def test_no_more_wait_than_a_client_would_have_patience_for() -> None:
    passwords = small(threads=1, waiting=2)
    results = await asyncio.gather(
        *[passwords.hash("one of them") for _ in range(10)], return_exceptions=True
    )
    assert [isinstance(result, Unavailable) for result in results].count(True) == 7
    assert (await passwords.hash("one of them")).startswith("$argon2id$")
