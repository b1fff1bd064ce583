"""Every call of the OpenAPI document, by everybody who might try: exactly what the table says.

The calls are read from the served document, so that a new one is tried without being named here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from adapters.http.docs import openapi_handlers
from adapters.http.doors import Access, is_open
from bootstrap.settings import Settings, load
from bootstrap.wiring.handlers import described
from domain.accounts.person import EVERYONE, OPERATOR
from tests.support.apps import served
from tests.support.newcomers import Newcomer, logged_in, newcomer
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

UNKNOWN = "018f4e2a-7c10-7000-8000-00000000000b"
HANDLERS = described(load({}))
INTERNAL = ("GET", "/v1/ops/console/stream")
"""The one call that is the console's alone."""
TABLE = Access([*HANDLERS, *openapi_handlers(HANDLERS)])
ENDS_THE_LOGIN = {"/v1/auth/logout"}
"""Calls that would shut out whoever makes them next."""

LOOKERS_ON = ("DELETE", "/v1/operations/{operation_id}", "ops:read")
"""Who sees everybody's operations but may cancel none hears 403 for those that are not theirs."""


@pytest.fixture(scope="module")
async def api(settings: Settings, signing_key: bytes) -> AsyncIterator[httpx.AsyncClient]:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    changed = msgspec.structs.replace(
        settings,
        jwt_private_key_file=pem,
        rate_limit_per_minute=1_000_000,
        operator_email="ops@localhost",
        operator_password="ops",
    )
    async with served(changed) as client:
        yield client


Call = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
async def calls(api: httpx.AsyncClient) -> list[Call]:
    """Method, path and description of all that is in the document."""
    document = (await api.get("/schema/openapi.json")).json()
    found = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    assert len(found) > 50
    return found


@pytest.fixture(scope="module")
async def ada(api: httpx.AsyncClient) -> Newcomer:
    return await newcomer(api)


@pytest.fixture(scope="module")
async def operator(api: httpx.AsyncClient) -> Newcomer:
    return await logged_in(api, "ops@localhost", "ops")


def closed(calls: list[Call]) -> Iterator[tuple[str, str, Any]]:
    """The calls that need a principal, with their rules."""
    for method, path, _ in calls:
        rule = TABLE.rules[method, path]
        if not rule.open and path not in ENDS_THE_LOGIN:
            yield method, path, rule


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", UNKNOWN, path)


async def ask(
    api: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> tuple[int, str]:
    """The status and code of a call with a bad body, a made-up id, and no sane place to resume."""
    headers = headers | {"last-event-id": "nowhere"}  # else a stream would begin, and not end
    answer = await api.request(method, filled(path), headers=headers, content=b"{")
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status_code, answer.json()["code"] if is_problem else ""


async def test_the_document_says_what_the_table_says(calls: list[Call]) -> None:
    documented = {(method, path) for method, path, _ in calls}
    assert documented == TABLE.rules.keys() - {INTERNAL}
    for method, path, operation in calls:
        rule = TABLE.rules[method, path]
        scopes = [rule.permission] if rule.permission else []
        wanted = [] if rule.open else [{"bearer": scopes}]
        if rule.keys and not rule.open:
            wanted.append({"apiKey": scopes})
        assert operation["security"] == wanted, (method, path)
        if not rule.open:
            assert {"401", "403", "429"} <= set(operation["responses"]), (method, path)
        # No handler opens what the contract's doors keep shut.
        assert is_open(path) or not rule.open, (method, path)
        assert rule.permission in (None, *EVERYONE, *OPERATOR), (method, path)


async def test_what_no_document_has_is_shut_all_the_same(api: httpx.AsyncClient) -> None:
    method, path = INTERNAL
    assert TABLE.rules[INTERNAL].permission == "ops:read"
    assert not TABLE.rules[INTERNAL].keys
    assert (await api.request(method, path)).status_code == 401


async def test_nobody_gets_in(api: httpx.AsyncClient, calls: list[Call]) -> None:
    bad = (
        {},
        {"authorization": "Bearer nonsense"},
        {"x-api-key": "ms_nonsense"},
        {"x-api-key": ""},
    )
    for method, path, _ in closed(calls):
        for headers in bad:
            assert await ask(api, method, path, headers) == (401, "UNAUTHENTICATED"), (method, path)


async def test_a_person_may_what_needs_no_right_of_operators(
    api: httpx.AsyncClient, calls: list[Call], ada: Newcomer
) -> None:
    seen = {"403": 0, "404": 0}
    for method, path, rule in closed(calls):
        status, code = await ask(api, method, path, ada.headers)
        if rule.permission in (None, *EVERYONE):
            assert status not in (401, 403), (method, path, code)
            if "{" in path and "{year}" not in path:
                # What is not theirs is not there, whatever is wrong with the body.
                assert (status, code) == (404, "NOT_FOUND"), (method, path)
                seen["404"] += 1
        else:
            assert (status, code) == (403, "FORBIDDEN"), (method, path)
            seen["403"] += 1
    assert min(seen.values()) > 8


async def test_an_operator_may_everything(
    api: httpx.AsyncClient, calls: list[Call], operator: Newcomer
) -> None:
    for method, path, _ in closed(calls):
        status, code = await ask(api, method, path, operator.headers)
        assert status not in (401, 403), (method, path, code)
        assert status < 500, (method, path)


async def key_of(person: Newcomer, *permissions: str, **fields: Any) -> dict[str, str]:
    body = {"name": "x", "permissions": permissions, **fields}
    answer = await person.call("POST", "/v1/api-keys", body)
    assert answer.status_code == 201, answer.text
    return {"x-api-key": answer.json()["data"]["key"]}


async def test_a_key_may_what_it_has_and_what_keys_may(
    api: httpx.AsyncClient, calls: list[Call], operator: Newcomer
) -> None:
    every = (*EVERYONE, *OPERATOR)
    keys = {permission: await key_of(operator, permission) for permission in every}
    whole = await key_of(operator, *every)
    for method, path, rule in closed(calls):
        for permission, headers in keys.items():
            status, code = await ask(api, method, path, headers)
            if (method, path, permission) == LOOKERS_ON:
                assert (status, code) == (403, "FORBIDDEN")
            elif rule.keys and rule.permission in (None, permission):
                assert status not in (401, 403), (method, path, permission, code)
            else:
                assert (status, code) == (403, "FORBIDDEN"), (method, path, permission)
        status, code = await ask(api, method, path, whole)
        assert (status == 403) is not rule.keys, (method, path, code)
    # What makes or ends ways in, and who somebody is, is for people.
    by_keys = {call for call, rule in TABLE.rules.items() if rule.keys and not rule.permission}
    assert by_keys == {
        ("GET", "/v1/me"),
        ("GET", "/v1/feature-flags"),
        ("GET", "/v1/operations/{operation_id}"),
        ("DELETE", "/v1/operations/{operation_id}"),
    }


async def test_an_expired_key_gets_in_nowhere(
    api: httpx.AsyncClient, calls: list[Call], ada: Newcomer
) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    headers = await key_of(ada, *EVERYONE, expires_at=past)
    for method, path, _ in closed(calls):
        assert await ask(api, method, path, headers) == (401, "UNAUTHENTICATED"), (method, path)


async def test_a_key_from_elsewhere_gets_in_nowhere(
    api: httpx.AsyncClient, calls: list[Call], ada: Newcomer
) -> None:
    headers = await key_of(ada, *EVERYONE, allowed_addresses=["198.51.100.0/24"])
    page = await key_of(ada, *EVERYONE, allowed_origins=["https://app.example.com"])
    for method, path, _ in closed(calls):
        for wrong in (headers, {**page, "origin": "https://evil.example.com"}):
            assert await ask(api, method, path, wrong) == (403, "FORBIDDEN"), (method, path)


async def test_nobody_of_a_suspended_tenant_gets_in(
    api: httpx.AsyncClient, calls: list[Call], operator: Newcomer
) -> None:
    eve = await newcomer(api)
    key = await key_of(eve, *EVERYONE)
    path = f"/v1/tenants/{eve.tenant_id}"
    answer = await operator.call("PATCH", path, {"state": "suspended"}, if_match="*")
    assert answer.status_code == 200, answer.text
    refusal = (403, "TENANT_SUSPENDED")

    async def is_known() -> bool:
        asked = [ask(api, method, "/v1/me", eve.headers) for method in ("GET", "PATCH")]
        return await asyncio.gather(*asked) == [refusal, refusal]

    await eventually_async(is_known, within=3)
    for method, path, _ in closed(calls):
        for headers in (eve.headers, key):
            assert await ask(api, method, path, headers) == refusal, (method, path)


async def test_ids_of_another_tenant_are_not_there(
    api: httpx.AsyncClient, calls: list[Call], ada: Newcomer
) -> None:
    """The admin of another tenant is told what they would be told of an id that nobody has."""
    entry = {"title": "A", "content": "B", "date": "2026-05-05"}
    written = await ada.call("POST", "/v1/journal/entries", entry)
    made = await ada.call("POST", "/v1/api-keys", {"name": "x", "permissions": ["journal:read"]})
    tenant = await ada.call("POST", "/v1/tenants", {"name": "Circle"})
    month = {"start_date": "2026-05-01", "end_date": "2026-05-31"}
    asked = await ada.call("POST", "/v1/journal/insights", {"insight_type": "monthly", **month})
    imported = await api.post(
        "/v1/journal/import",
        content=b"",
        headers={**ada.headers, "content-type": "application/x-ndjson"},
    )
    ids = {
        "entry_id": written.json()["data"]["id"],
        "key_id": made.json()["data"]["id"],
        "tenant_id": tenant.json()["data"]["id"],
        "user_id": ada.id,
        "login_id": (await ada.get("/v1/me/logins")).json()["data"][0]["id"],
        "operation_id": imported.headers["location"].rpartition("/")[2],
        "insight_id": asked.json()["data"]["id"],
    }
    eve = await newcomer(api)
    assert (await eve.call("POST", "/v1/tenants", {"name": "Another"})).status_code == 201
    tried = 0
    for method, path, rule in closed(calls):
        names = re.findall(r"\{([^}]+)\}", path)
        if not names or rule.permission not in (None, *EVERYONE) or "year" in names:
            continue
        unheard = [name for name in names if name not in ids]
        theirs = path
        for name in names:
            theirs = theirs.replace(f"{{{name}}}", ids.get(name, UNKNOWN))
        assert len(unheard) < len(names), f"{method} {path}: give {unheard} an id of somebody's"
        answers = []
        for at in (theirs, filled(path)):
            fresh = {"consistency-token": ada.token, "if-match": "*"}
            answer = await api.request(method, at, headers={**eve.headers, **fresh}, json={})
            answers.append((answer.status_code, _without_marks(answer)))
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] == 404, (method, path)
        tried += 1
    assert tried >= 12
    still = await ada.get(written.headers["location"])
    assert still.json()["data"] == written.json()["data"]


def _without_marks(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    return {name: body[name] for name in body if name not in ("requestId", "timestamp", "instance")}
