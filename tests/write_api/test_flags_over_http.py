"""Feature flags as operators and people meet them, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from bootstrap.settings import Settings
from tests.support.apps import served
from tests.support.newcomers import Newcomer, logged_in, newcomer

pytestmark = pytest.mark.anyio

FLAGS = "/v1/ops/feature-flags"


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


def problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def own(person: Newcomer, after: Newcomer) -> dict[str, bool]:
    person.token = after.token
    answer = await person.get("/v1/feature-flags")
    assert answer.status_code == 200, answer.text
    return {one["name"]: one["enabled"] for one in answer.json()["data"]}


async def test_a_flag_from_its_making_to_its_end(
    api: httpx.AsyncClient, operator: Newcomer
) -> None:
    ada, ben = await newcomer(api), await newcomer(api)
    body = {"description": "New", "enabled": True, "people": [ada.id]}
    made = await operator.call("PUT", f"{FLAGS}/editor.new", body)
    assert made.status_code == 200, made.text
    flag = made.json()["data"]
    assert (flag["name"], flag["percentage"], flag["tiers"], flag["version"]) == (
        "editor.new", 0.0, [], 1,
    )  # fmt: skip
    assert await own(ada, operator) == {"editor.new": True}
    assert await own(ben, operator) == {"editor.new": False}
    shown = await operator.get(f"{FLAGS}/editor.new")
    assert (shown.json()["data"], shown.headers["etag"]) == (flag, '"1"')
    assert [one["name"] for one in (await operator.get(FLAGS)).json()["data"]] == ["editor.new"]

    path = f"{FLAGS}/editor.new"
    problem(await operator.call("PATCH", path, {"percentage": 100}), 428, "IF_MATCH_REQUIRED")
    problem(
        await operator.call("PATCH", path, {"percentage": 101}, if_match="*"),
        422,
        "VALIDATION_FAILED",
    )
    problem(
        await operator.call("PATCH", path, {"percentage": 1}, if_match='"7"'), 412, "VERSION_STALE"
    )
    problem(await operator.call("PUT", path, body, if_match='"7"'), 412, "VERSION_STALE")
    revised = await operator.call("PATCH", path, {"percentage": 100}, if_match='"1"')
    assert revised.json()["data"]["people"] == [ada.id]
    assert await own(ben, operator) == {"editor.new": True}
    revised = await operator.call(
        "PATCH", path, {"percentage": 0, "tiers": ["basic"]}, if_match="*"
    )
    assert await own(ben, operator) == {"editor.new": True}
    assert (await operator.call("DELETE", path, if_match='"3"')).status_code == 204
    assert await own(ada, operator) == {}
    problem(await operator.get(path), 404, "NOT_FOUND")
    problem(await operator.call("PATCH", path, {"moon": 1}), 404, "NOT_FOUND")
    problem(await operator.call("DELETE", path, if_match="*"), 404, "NOT_FOUND")
    again = await operator.call("PUT", path, {})
    assert again.json()["data"]["version"] == 5
    assert await own(ada, operator) == {"editor.new": False}


async def test_names_and_pages(api: httpx.AsyncClient, operator: Newcomer) -> None:
    for name in ("Upper", "a..b", "a" * 101, "%C3%A4"):
        problem(await operator.call("PUT", f"{FLAGS}/{name}", {}), 422, "VALIDATION_FAILED")
        problem(await operator.get(f"{FLAGS}/{name}"), 404, "NOT_FOUND")
        problem(await operator.call("DELETE", f"{FLAGS}/{name}", if_match="*"), 404, "NOT_FOUND")
    for name in ("p1", "p2", "p3"):
        assert (await operator.call("PUT", f"{FLAGS}/{name}", {})).status_code == 200
    for path in (FLAGS, "/v1/feature-flags"):
        names: list[str] = []
        cursor = ""
        while True:
            page = (await operator.get(f"{path}?limit=2{cursor}")).json()
            names += [one["name"] for one in page["data"]]
            if page["meta"]["next_cursor"] is None:
                break
            cursor = f"&cursor={page['meta']['next_cursor']}"
        assert names == sorted(names)
        assert {"p1", "p2", "p3"} <= set(names)


async def test_flags_are_the_operators_to_set(api: httpx.AsyncClient) -> None:
    ada = await newcomer(api)
    for method, path in (
        ("GET", FLAGS),
        ("GET", f"{FLAGS}/x"),
        ("PUT", f"{FLAGS}/x"),
        ("PATCH", f"{FLAGS}/x"),
        ("DELETE", f"{FLAGS}/x"),
    ):
        problem(await ada.call(method, path, {"moon": 1}), 403, "FORBIDDEN")
