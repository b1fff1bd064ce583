"""Tenants as a client meets them, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from bootstrap.settings import Settings
from tests.support.apps import served
from tests.support.newcomers import Newcomer, logged_in, newcomer
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

ENTRIES = "/v1/journal/entries"
UNKNOWN = "018f4e2a-7c10-7000-8000-00000000000b"


@pytest.fixture(scope="module")
async def api(settings: Settings, signing_key: bytes) -> AsyncIterator[httpx.AsyncClient]:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    changed = msgspec.structs.replace(
        settings,
        jwt_private_key_file=pem,
        rate_limit_per_minute=100_000,
        operator_email="ops@localhost",
        operator_password="ops",
    )
    async with served(changed) as client:
        yield client


@pytest.fixture(scope="module")
async def operator(api: httpx.AsyncClient) -> Newcomer:
    return await logged_in(api, "ops@localhost", "ops")


@pytest.fixture
async def ada(api: httpx.AsyncClient) -> Newcomer:
    return await newcomer(api)


def problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def data(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def test_everybody_has_a_tenant_of_their_own(ada: Newcomer) -> None:
    [home] = (await ada.get("/v1/tenants")).json()["data"]
    assert (home["id"], home["personal"], home["state"]) == (ada.tenant_id, True, "active")
    assert (home["role"], home["member_count"], home["name"]) == ("admin", 1, None)
    assert "analytics:read" in home["permissions"]
    path = f"/v1/tenants/{ada.tenant_id}"
    answer = await ada.get(path)
    assert data(answer) == home
    assert (await ada.get(path, if_none_match=answer.headers["etag"])).status_code == 304
    problem(await ada.call("DELETE", path, if_match='"1"'), 409, "TENANT_IS_PERSONAL")
    problem(await ada.call("PATCH", path, {"name": "x"}, if_match='"1"'), 409, "TENANT_IS_PERSONAL")
    eve = {"user_id": UNKNOWN, "role": "member"}
    problem(await ada.call("POST", f"{path}/members", eve), 422, "VALIDATION_FAILED")


async def test_a_shared_tenant_and_its_members(api: httpx.AsyncClient, ada: Newcomer) -> None:
    ben, eve = await newcomer(api), await newcomer(api)
    answer = await ada.call("POST", "/v1/tenants", {"name": "Circle"}, idempotency_key="t")
    tenant = data(answer, 201)
    again = await ada.call("POST", "/v1/tenants", {"name": "Circle"}, idempotency_key="t")
    assert again.content == answer.content
    path = answer.headers["location"]
    members = f"{path}/members"
    # Who does not belong to it finds nothing, whatever they send.
    for method, at, body in (
        ("GET", path, None),
        ("PATCH", path, {"moon": 1}),
        ("DELETE", path, None),
        ("GET", members, None),
        ("POST", members, {"moon": 1}),
        ("PATCH", f"{members}/{ada.id}", {"moon": 1}),
        ("DELETE", f"{members}/{ada.id}", None),
    ):
        hidden = await ben.call(method, at, body)
        problem(hidden, 404, "NOT_FOUND")
        nothing = await ben.call(method, at.replace(tenant["id"], UNKNOWN), body)
        assert {**hidden.json(), "requestId": 0, "timestamp": 0, "instance": 0} == {
            **nothing.json(), "requestId": 0, "timestamp": 0, "instance": 0,
        }  # fmt: skip
    added = await ada.call("POST", members, {"user_id": ben.id, "role": "viewer"})
    assert data(added, 201)["role"] == "viewer"
    problem(await ada.call("POST", members, {"user_id": ben.id}), 409, "ALREADY_MEMBER")
    ben.token = ada.token
    seen = data(await ben.get(path))
    assert (seen["role"], seen["member_count"], seen["permissions"]) == (
        "viewer",
        2,
        ["tenant:read"],
    )
    assert {one["id"] for one in (await ben.get("/v1/tenants")).json()["data"]} == {
        tenant["id"],
        ben.tenant_id,
    }
    problem(await ben.call("POST", members, {"moon": 1}), 403, "FORBIDDEN")
    problem(await ben.call("PATCH", path, {"name": "Mine"}, if_match="*"), 403, "FORBIDDEN")
    problem(await ben.call("PATCH", path, {"state": "suspended"}, if_match="*"), 403, "FORBIDDEN")
    problem(await ada.call("PATCH", path, {"state": "suspended"}, if_match="*"), 403, "FORBIDDEN")
    problem(
        await ada.call("PATCH", f"{members}/{ben.id}", {"role": "member"}), 428, "IF_MATCH_REQUIRED"
    )
    stale = await ada.call("PATCH", f"{members}/{ben.id}", {"role": "member"}, if_match='"1"')
    problem(stale, 412, "VERSION_STALE")
    problem(await ada.call("DELETE", f"{members}/{ada.id}", if_match='"2"'), 409, "LAST_ADMIN")
    problem(await ada.call("DELETE", f"{members}/{eve.id}", if_match='"2"'), 404, "NOT_FOUND")
    changed = await ada.call("PATCH", f"{members}/{ben.id}", {"role": "admin"}, if_match='"2"')
    assert data(changed)["role"] == "admin"
    first = await ada.get(f"{members}?limit=1")
    assert [one["user_id"] for one in first.json()["data"]] == [ada.id]
    cursor = first.json()["meta"]["next_cursor"]
    second = await ada.get(f"{members}?limit=1&cursor={cursor}")
    assert [one["user_id"] for one in second.json()["data"]] == [ben.id]
    assert second.json()["meta"]["next_cursor"] is None
    problem(await ben.get(f"{members}?limit=1&cursor={cursor}"), 422, "INVALID_CURSOR")
    # Somebody may leave, and what they left is hidden from them at once.
    assert (await ada.call("DELETE", f"{members}/{ada.id}", if_match='"3"')).status_code == 204
    problem(await ada.get(path), 404, "NOT_FOUND")
    assert len((await ada.get("/v1/tenants")).json()["data"]) == 1
    assert (await ben.call("DELETE", path, if_match='"4"')).status_code == 204
    problem(await ben.get(path), 404, "NOT_FOUND")


async def test_operators_suspend_a_tenant(
    api: httpx.AsyncClient, operator: Newcomer, ada: Newcomer
) -> None:
    made = await ada.call("POST", "/v1/api-keys", {"name": "k", "permissions": ["journal:read"]})
    key = {"x-api-key": data(made, 201)["key"]}
    path = f"/v1/tenants/{ada.tenant_id}"
    seen = await operator.get(path)
    assert (data(seen)["role"], seen.headers["etag"]) == (None, '"1"')
    problem(await operator.call("PATCH", path, {"state": "suspended"}), 428, "IF_MATCH_REQUIRED")
    problem(
        await operator.call("PATCH", path, {"state": "x"}, if_match='"1"'), 422, "VALIDATION_FAILED"
    )
    changed = await operator.call("PATCH", path, {"state": "suspended"}, if_match='"1"')
    assert data(changed)["state"] == "suspended"

    async def statuses() -> set[tuple[int, str]]:
        answers = [
            await ada.call("GET", "/v1/me"),
            await ada.call("POST", ENTRIES, {"moon": 1}),
            await api.get(ENTRIES, headers=key),
            await api.post(ENTRIES, headers=key),
        ]
        return {(answer.status_code, answer.json().get("code", "")) for answer in answers}

    async def closed() -> bool:
        return await statuses() == {(403, "TENANT_SUSPENDED")}

    await eventually_async(closed, within=3)
    problem(await ada.login(), 403, "TENANT_SUSPENDED")
    problem(await ada.login("not the password"), 401, "INVALID_CREDENTIALS")

    changed = await operator.call("PATCH", path, {"state": "active"}, if_match='"2"')
    assert data(changed)["state"] == "active"

    async def opened() -> bool:
        return not {403, 401} & {
            (await ada.call("GET", "/v1/me")).status_code,
            (await ada.call("POST", ENTRIES, {"moon": 1})).status_code,
        }

    await eventually_async(opened, within=3)
    assert (await ada.login()).status_code == 200

    changed = await operator.call("PATCH", path, {"state": "deleted"}, if_match='"3"')
    assert data(changed)["state"] == "deleted"

    async def gone() -> bool:
        return {status for status, _ in await statuses()} == {401}

    await eventually_async(gone, within=3)
    problem(await ada.login(), 401, "INVALID_CREDENTIALS")


async def test_a_suspended_tenant_is_known_from_the_start(
    api: httpx.AsyncClient, settings: Settings, operator: Newcomer, ada: Newcomer
) -> None:
    path = f"/v1/tenants/{ada.tenant_id}"
    data(await operator.call("PATCH", path, {"state": "suspended"}, if_match='"1"'))
    async with served(settings) as another:
        for answer in (
            await another.get("/v1/me", headers=ada.headers),
            await another.post(ENTRIES, headers=ada.headers),
        ):
            problem(answer, 403, "TENANT_SUSPENDED")


async def test_a_suspended_shared_tenant_shuts_its_members_out_of_it_alone(
    api: httpx.AsyncClient, operator: Newcomer, ada: Newcomer
) -> None:
    tenant = data(await ada.call("POST", "/v1/tenants", {"name": "Circle"}), 201)
    path = f"/v1/tenants/{tenant['id']}"
    data(await operator.call("PATCH", path, {"state": "suspended"}, if_match='"1"'))
    problem(await ada.get(path), 403, "TENANT_SUSPENDED")
    problem(await ada.get(f"{path}/members"), 403, "TENANT_SUSPENDED")
    body = {"user_id": operator.id}
    problem(await ada.call("POST", f"{path}/members", body), 403, "TENANT_SUSPENDED")
    assert (await ada.get("/v1/me")).status_code == 200


async def test_operators_do_not_lock_themselves_out(operator: Newcomer) -> None:
    path = f"/v1/tenants/{operator.tenant_id}"
    answer = await operator.call("PATCH", path, {"state": "suspended"}, if_match="*")
    problem(answer, 409, "OWN_TENANT")
