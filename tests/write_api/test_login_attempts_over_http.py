"""Guessing passwords over HTTP: throttled, told nothing, and not for free while Redis is away."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from adapters.attempts import ALLOWED
from adapters.passwords import ArgonPasswords
from bootstrap.settings import Settings
from bootstrap.wiring import write_side
from tests.support.accounts import PASSWORD
from tests.support.apps import served
from tests.support.somebody import ends, problem, somebody

pytestmark = pytest.mark.anyio

WRONG = "not this one, surely"
A_HASH = 0.040
"""Seconds that one Argon2id hash takes at least, where it takes the least."""


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The APIs behind a proxy that tells the client's address, with hashes that cost nothing."""
    changed = msgspec.structs.replace(
        settings, rate_limit_per_minute=1_000_000, trusted_proxies=("192.0.2.7/32",)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_side, "ArgonPasswords", lambda: ArgonPasswords(memory_kib=64, passes=1))
        async with served(changed) as client:
            yield client


async def attempt(
    api: httpx.AsyncClient, email: str, address: str, password: str = WRONG
) -> httpx.Response:
    return await api.post(
        "/v1/auth/login",
        json={"email": email, "password": password},
        headers={"x-forwarded-for": address},
    )


async def test_an_account_stays_open_from_other_addresses(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    for email in (ada.email, "nobody-at-all@example.com"):
        for _ in range(ALLOWED):
            problem(await attempt(api, email, "198.51.100.1"), 401, "INVALID_CREDENTIALS")
        answer = await attempt(api, email, "198.51.100.1", PASSWORD)
        problem(answer, 429, "TOO_MANY_ATTEMPTS")
        assert 800 < int(answer.headers["retry-after"]) <= 900
        problem(await attempt(api, email, "198.51.100.2"), 401, "INVALID_CREDENTIALS")
    assert (await attempt(api, ada.email, "198.51.100.2", PASSWORD)).status_code == 200
    problem(await attempt(api, ada.email, "198.51.100.1", PASSWORD), 429, "TOO_MANY_ATTEMPTS")


async def test_the_time_of_a_refusal_tells_nothing(api: httpx.AsyncClient) -> None:
    """What surrounds the hash may differ by no more than one part in twenty of the hash.

    The hash itself is left out, since it drowns in a busy machine's noise what this looks for; that
    it costs the same for nobody and for anybody is tests/adapters/accounts/test_passwords.py's.
    """
    known = (await somebody(api)).email
    seconds: dict[str, list[float]] = {known: [], "nobody-here@example.com": []}
    for number in range(300):
        address = f"203.0.113.{number // ALLOWED + 1}"
        for email in sorted(seconds, reverse=bool(number % 2)):  # they take turns at being first
            began = time.perf_counter()
            answer = await attempt(api, email, address)
            seconds[email].append(time.perf_counter() - began)
            assert answer.status_code == 401
    wrong, unknown = (statistics.median(times) for times in seconds.values())
    assert abs(wrong - unknown) < A_HASH / 20


async def test_of_many_refreshes_at_once_one_wins_and_then_the_login_ends(
    api: httpx.AsyncClient, request: pytest.FixtureRequest
) -> None:
    ada = await somebody(api)
    many = 1_000 if request.config.getoption("long") else 100
    answers = await asyncio.gather(*[ada.refresh() for _ in range(many)])
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * (many - 1)
    [won] = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    for grant in (ada.grant, won):
        ada.grant = grant
        problem(await ada.refresh(), 401, "INVALID_REFRESH_TOKEN")
        problem(await ends(ada.me), 401, "UNAUTHENTICATED")
