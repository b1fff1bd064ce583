"""A small limit on a system of its own: who is counted, what is said, and what is never counted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import OPERATOR, WITHOUT_LIMITS
from tests.support.upped import prepared

LIMIT = 5


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    limits = {"MINDSTREAM_RATE_LIMIT_PER_MINUTE": str(LIMIT)}
    with prepared(**{**WITHOUT_LIMITS, **limits}) as running:
        running.start()
        yield running.gateway
        assert running.stop() == 0


def _left(answer: httpx.Response) -> tuple[int, int]:
    """What ``RateLimit`` says is left, and for how many seconds."""
    found = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert found, answer.headers["RateLimit"]
    assert answer.headers["RateLimit-Policy"] == f'"default";q={LIMIT};w=60'
    return int(found[1]), int(found[2])


def test_the_limit_is_kept_and_said(gateway: str) -> None:
    with httpx.Client(base_url=gateway) as client:
        login = client.post("/v1/auth/login", json={"email": OPERATOR[0], "password": OPERATOR[1]})
        assert login.status_code == 200, login.text
        bearer = {"Authorization": f"Bearer {login.json()['data']['access_token']}"}
        before_login = _left(login)[0]
        # A person is counted apart from the address, and over both APIs together.
        answers = [client.get("/v1/me", headers=bearer) for _ in range(LIMIT)]
        assert [answer.status_code for answer in answers] == [200] * LIMIT
        assert [_left(answer)[0] for answer in answers] == [4, 3, 2, 1, 0]
        refused = client.get("/v1/me", headers=bearer)
        assert refused.status_code == 429
        assert refused.headers["Content-Type"] == "application/problem+json"
        problem = refused.json()
        assert (problem["code"], problem["success"]) == ("RATE_LIMITED", False)
        left, seconds = _left(refused)
        assert left == 0
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert abs(int(refused.headers["Retry-After"]) - seconds) <= 1

        # Made-up forwarded addresses make nobody somebody else.
        statuses = [
            client.post(
                "/v1/auth/login",
                json={"email": "a@example.org", "password": "x"},
                headers={"X-Forwarded-For": f"203.0.113.{number}"},
            ).status_code
            for number in range(before_login + 2)
        ]
        assert statuses == [401] * before_login + [429] * 2
        for path in ("/v1/me", "/docs", "/.well-known/jwks.json"):
            assert client.get(path).status_code in (401, 200, 429), path
        for path in ("/health/live", "/health/ready", "/metrics"):
            for _ in range(LIMIT * 2):
                assert client.get(path).status_code == 200, path
