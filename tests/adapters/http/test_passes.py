"""Whether an open connection may be kept, asked again with the credentials that opened it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.http.context import RequestContext, unauthenticated
from adapters.http.doors import Rule
from adapters.http.passes import Pass
from adapters.http.principal import Headers, KeyRules, Principal
from adapters.http.problems import Problem
from adapters.http.websockets import is_own
from domain.accounts.events import Conditions
from projections.following import Reason
from tests.support.http_app import ANNA

pytestmark = pytest.mark.anyio

NOON = 1_772_366_400.0
RULE = Rule("/v1/stream", False, "journal:read", True)


class Changing:
    """Knows somebody, at once or after a look, until it raises."""

    def __init__(self) -> None:
        self.known: Principal | None = ANNA
        self.found: Principal | Problem = ANNA

    def cached(self, headers: Headers) -> Principal | None:
        assert headers == {b"authorization": b"Bearer anna"}
        return self.known

    async def authenticate(self, headers: Headers, client: str | None) -> Principal:
        if isinstance(self.found, Problem):
            raise self.found
        return self.found


def passed(authenticator: Changing, now: float = NOON) -> Pass:
    scope: dict[str, Any] = {"path": "/v1/stream", "client": ("192.0.2.1", 1)}
    headers = {b"authorization": b"Bearer anna"}
    context = RequestContext("req_1", headers, scope, ANNA, authenticator)
    return Pass(context, RULE, lambda: now)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (ANNA, None),
        (msgspec.structs.replace(ANNA, permissions=frozenset()), "forbidden"),
        (unauthenticated("TOKEN_EXPIRED"), "unauthenticated"),
        (Problem("TENANT_SUSPENDED"), "forbidden"),
        (Problem("UNAVAILABLE"), None),
    ],
)
async def test_what_is_not_known_is_looked_up(
    found: Principal | Problem, reason: Reason | None
) -> None:
    known = Changing()
    assert passed(known).good()
    known.known, known.found = None, found
    assert not passed(known).good()
    assert await passed(known).check() == reason


async def test_a_permission_may_hold_for_a_time_only() -> None:
    conditions = msgspec.convert({"until": "2026-03-01T12:00:01Z"}, type=Conditions)
    rules = KeyRules(
        per_minute=None,
        per_hour=None,
        quota=None,
        origins=frozenset(),
        conditional={"journal:read": (conditions,)},
        used=lambda: None,
    )
    key = msgspec.structs.replace(ANNA, permissions=frozenset(), key=rules)
    known = Changing()
    known.known = known.found = key
    assert passed(known).good()
    later = passed(known, NOON + 2)
    assert not later.good()
    assert await later.check() == "forbidden"


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://App.example.com", "app.example.com", True),
        ("https://app.example.com", "app.example.com:443", True),
        ("https://app.example.com:443", "app.example.com", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://127.0.0.1:8001", "127.0.0.1:8000", False),
        ("http://app.example.com", "app.example.com:443", False),
        ("https://app.example.com.evil.com", "app.example.com", False),
        ("https://evil.com/app.example.com", "app.example.com", False),
        ("file://app.example.com", "app.example.com", False),
        ("null", "null", False),
        ("https://", "", False),
        ("https://[x", "x", False),
        ("https://a:b", "a", False),
    ],
)
def test_the_own_host_is_told_from_others(origin: str, host: str, own: bool) -> None:
    assert is_own(origin.encode(), host.encode()) is own
    assert not is_own(origin.encode(), None)
