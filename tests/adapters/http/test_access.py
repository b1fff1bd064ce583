"""The table of who may call what, and what binds a key."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from litestar import get, patch, post

from adapters.http.cors import Cors
from adapters.http.doors import Access, Rule
from adapters.http.limits import Limit, RateLimiter
from adapters.http.limits_of_keys import LimitReached, count_key
from adapters.http.operation import Operation
from adapters.http.principal import KeyRules, Principal
from adapters.http.problems import Problem
from adapters.http.responses import Answer, bare
from domain.accounts.events import Conditions
from tests.support.http_app import ANNA, TOKEN, client, conventions

NOON = 1_772_366_400.0


def described(**fields: Any) -> dict[str, Any]:
    return {"operation": Operation(summary="x", **fields)}


@get("/v1/notes", opt=described(permission="notes:read"))
async def list_notes() -> Answer:
    return bare(b"[]")


@get("/v1/notes/{note_id:str}", opt=described(keys=True))
async def one_note() -> Answer:
    return bare(b"{}")


@get("/v1/notes/latest", opt=described())
async def latest_note() -> Answer:
    return bare(b"{}")


@patch("/v1/notes/{note_id:str}/words/{word:int}", opt=described(permission="notes:write"))
async def revise_word() -> Answer:
    return bare(b"{}")


@post("/v1/auth/knock", status_code=200, opt=described())
async def knock() -> Answer:
    return bare(b"{}")


HANDLERS = [list_notes, one_note, latest_note, revise_word, knock]
TABLE = Access(HANDLERS)


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/v1/notes", "/v1/notes"),
        ("HEAD", "/v1/notes", "/v1/notes"),
        ("GET", "/v1/notes/5", "/v1/notes/{note_id}"),
        ("GET", "/v1/notes/latest", "/v1/notes/latest"),
        ("PATCH", "/v1/notes/latest/words/3", "/v1/notes/{note_id}/words/{word}"),
        ("POST", "/v1/auth/knock", "/v1/auth/knock"),
        ("POST", "/v1/notes", None),
        ("GET", "/v1/notes/5/words", None),
        ("GET", "/v1", None),
        ("GET", "/", None),
        ("GET", "/v1/notes//", None),
        ("BREW", "/v1/notes", None),
    ],
)
def test_a_call_is_found_by_method_and_path(method: str, path: str, template: str | None) -> None:
    rule = TABLE.of(method, path)
    assert (None if rule is None else rule.template) == template


def test_what_rules_say() -> None:
    assert TABLE.of("GET", "/v1/notes") == Rule("/v1/notes", False, "notes:read", True)
    assert TABLE.of("POST", "/v1/auth/knock") == Rule("/v1/auth/knock", True, None, False)
    assert TABLE.of("GET", "/v1/notes/latest") == Rule("/v1/notes/latest", False, None, False)


def test_two_rules_for_one_call_are_refused() -> None:
    @get("/v1/notes", opt=described(permission="other:read"))
    async def other() -> Answer:
        return bare(b"")

    with pytest.raises(ValueError, match="two rules"):
        Access([list_notes, other])


class Month:
    """A quota that counts down."""

    limit = 3

    def __init__(self) -> None:
        self.used = 0

    def left(self, now: float) -> int:
        return self.limit - self.used

    def reset_seconds(self, now: float) -> int:
        return 86_400

    def use(self) -> None:
        self.used += 1


def key(**fields: Any) -> Principal:
    rules: dict[str, Any] = {
        "per_minute": None, "per_hour": None, "quota": None, "origins": frozenset(),
        "conditional": {}, "used": lambda: None, **fields,
    }  # fmt: skip
    return msgspec.structs.replace(
        ANNA,
        login_id=None,
        api_key_id=UUID(int=9),
        permissions=frozenset({"notes:write"}),
        key=KeyRules(**rules),
    )


def test_conditions_open_a_call_for_that_call_alone() -> None:
    holder = key(conditional={"notes:read": (Conditions(methods=("GET",)),)})
    rule = TABLE.of("GET", "/v1/notes")
    assert rule is not None
    admitted = rule.admit(holder, "GET", "/v1/notes", NOON)
    assert admitted.permissions == {"notes:read", "notes:write"}
    assert holder.permissions == {"notes:write"}
    with pytest.raises(Problem) as refused:
        rule.admit(holder, "POST", "/v1/notes", NOON)
    assert refused.value.status == 403
    for principal in (ANNA, key()):
        with pytest.raises(Problem):
            rule.admit(principal, "GET", "/v1/notes", NOON)


def test_limits_are_counted_together_or_not_at_all() -> None:
    limiter = RateLimiter(10)
    limits = [Limit("a", 5, 60), Limit("b", 2, 3600)]
    for left in (1, 0):
        minute, hour = limiter.check_all(limits, NOON)
        assert (minute.allowed, hour.allowed, hour.remaining) == (True, True, left)
    minute, hour = limiter.check_all(limits, NOON)
    assert (minute.allowed, hour.allowed) == (True, False)
    assert minute.remaining == 3  # what the hour refused, the minute did not count
    assert hour.reset_seconds == 3600
    minute, hour = limiter.check_all(limits, NOON + 61)
    assert (minute.remaining, hour.allowed) == (5, False)
    minute, hour = limiter.check_all(limits, NOON + 3601)
    assert (minute.remaining, hour.remaining) == (4, 1)


def test_a_key_has_no_more_than_everybody() -> None:
    limiter = RateLimiter(10)
    (_, policy), (_, state) = count_key(key(per_minute=1000), limiter, NOON)
    assert (policy, state) == (b'"default";q=10;w=60', b'"default";r=9;t=60')


def test_a_months_quota_is_said_and_kept() -> None:
    month = Month()
    holder = key(quota=month, per_hour=100, used=month.use)
    limiter = RateLimiter(10)
    for left in (2, 1, 0):
        (_, policy), (_, state) = count_key(holder, limiter, NOON)
        assert policy.endswith(b'"hour";q=100;w=3600, "month";q=3;w=2678400')
        assert state.endswith(b'"month";r=%d;t=86400' % left)
    with pytest.raises(LimitReached) as refused:
        count_key(holder, limiter, NOON)
    assert (refused.value.code, refused.value.headers["retry-after"]) == ("QUOTA_EXCEEDED", "86400")
    assert month.used == 3


def test_what_a_minute_refuses_uses_up_no_quota() -> None:
    month = Month()
    holder = key(quota=month, per_minute=1, used=month.use)
    limiter = RateLimiter(10)
    count_key(holder, limiter, NOON)
    with pytest.raises(LimitReached) as refused:
        count_key(holder, limiter, NOON)
    assert refused.value.code == "RATE_LIMITED"
    assert month.used == 1


def test_origins() -> None:
    cors = Cors(["https://a.example"], lambda: {b"https://b.example"})
    assert dict(cors.headers(b"https://a.example"))[b"access-control-allow-origin"]
    for origin, own in (
        (b"https://b.example", ()),
        (b"https://c.example", (b"https://a.example",)),
    ):
        assert cors.headers(origin, own) == ((b"vary", b"Origin"),)
    assert dict(cors.headers(b"https://c.example", (b"https://c.example",)))[
        b"access-control-allow-origin"
    ] == (b"https://c.example")
    asked = {b"origin": b"https://b.example", b"access-control-request-method": b"GET"}
    assert cors.preflight(asked, {"GET"}) is not None
    assert cors.preflight(asked, set()) is None  # no such path
    assert cors.preflight({b"origin": b"https://b.example"}, {"GET"}) is None
    assert cors.preflight({**asked, b"origin": b"https://c.example"}, {"GET"}) is None


@pytest.mark.anyio
async def test_a_refusal_comes_before_the_handler_and_has_its_route() -> None:
    seen: list[str] = []

    class Metrics:
        def observe(self, method: str, route: str, status: int, seconds: float) -> None:
            seen.append(f"{method} {route} {status}")

    app = conventions(HANDLERS, access=TABLE, metrics=Metrics())
    async with client(app) as api:
        answer = await api.patch("/v1/notes/1/words/2", headers=TOKEN)
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
        assert (await api.get("/v1/notes/1", headers=TOKEN)).status_code == 200
        assert (await api.get("/v1/notes/1")).status_code == 401
        assert (await api.get("/v1/elsewhere", headers=TOKEN)).status_code == 404
        assert (await api.get("/v1/elsewhere")).status_code == 401
        assert (await api.post("/v1/auth/knock")).status_code == 200
    assert seen[0] == "PATCH /v1/notes/{note_id}/words/{word} 403"
