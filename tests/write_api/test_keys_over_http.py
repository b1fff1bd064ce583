"""API keys as a client meets them, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from bootstrap.settings import Settings
from tests.support.apps import served
from tests.support.newcomers import Newcomer, newcomer
from tests.support.servers import Database
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

OURS = "https://console.example.com"
PAGE = "https://app.example.com"
FOREIGN = "https://evil.example.com"
ENTRIES = "/v1/journal/entries"
ENTRY = {"title": "A day", "content": "Up, and to the office."}


@pytest.fixture(scope="module")
async def api(settings: Settings, signing_key: bytes) -> AsyncIterator[httpx.AsyncClient]:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    changed = msgspec.structs.replace(
        settings, jwt_private_key_file=pem, rate_limit_per_minute=10_000, cors_origins=(OURS,)
    )
    async with served(changed) as client:
        yield client


@pytest.fixture
async def ada(api: httpx.AsyncClient) -> Newcomer:
    return await newcomer(api)


async def made(ada: Newcomer, **fields: Any) -> dict[str, Any]:
    body = {"name": "Backup", "permissions": ["journal:read", "journal:write"], **fields}
    answer = await ada.call("POST", "/v1/api-keys", body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["data"]
    assert answer.headers["location"] == f"/v1/api-keys/{found['id']}"
    assert answer.headers["etag"] == f'"{found["version"]}"'
    return found


def carrying(key: dict[str, Any], **headers: str) -> dict[str, str]:
    return {"x-api-key": key["key"], **headers}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_key_is_shown_once_and_acts_for_its_maker(
    api: httpx.AsyncClient, ada: Newcomer
) -> None:
    key = await made(ada, limit_per_minute=50, expires_at="2999-01-01T00:00:00+01:00")
    assert len(key["prefix"]) == 8
    assert key["prefix"] in key["key"]
    assert len(key["key"]) >= 43 + 8  # 256 bits besides the prefix
    assert (key["state"], key["last_used_at"], key["version"]) == ("active", None, 1)
    assert key["permissions"] == ["journal:read", "journal:write"]
    assert key["expires_at"] == "2998-12-31T23:00:00Z"
    assert (key["allowed_addresses"], key["monthly_quota"]) == ([], None)

    written = await api.post(ENTRIES, json={**ENTRY, "date": "2026-01-01"}, headers=carrying(key))
    assert written.status_code == 201, written.text
    assert written.json()["data"]["user_id"] == ada.id
    fresh = {"consistency-token": written.headers["consistency-token"]}
    listed = await api.get(ENTRIES, headers=carrying(key, **fresh))
    assert [item["date"] for item in listed.json()["data"]] == ["2026-01-01"]
    history = await api.get(written.headers["location"] + "/history", headers=ada.headers | fresh)
    assert history.json()["data"][0]["actor"] == f"key:{key['id']}"

    async def used() -> bool:
        shown = await ada.get(f"/v1/api-keys/{key['id']}")
        assert shown.status_code == 200, shown.text
        assert "key" not in shown.json()["data"]
        return shown.json()["data"]["last_used_at"] is not None

    await eventually_async(used)
    page = await ada.get("/v1/api-keys")
    assert [one["id"] for one in page.json()["data"]] == [key["id"]]
    assert "key" not in page.json()["data"][0]
    assert page.json()["meta"] == {"next_cursor": None, "limit": 20}


async def test_a_repeated_post_tells_the_same_key(api: httpx.AsyncClient, ada: Newcomer) -> None:
    body = {"name": "Once", "permissions": ["journal:read"]}
    first = await ada.call("POST", "/v1/api-keys", body, idempotency_key="k1")
    again = await ada.call("POST", "/v1/api-keys", body, idempotency_key="k1")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    answer = await api.get(ENTRIES, headers=carrying(again.json()["data"]))
    assert answer.status_code == 200
    assert len((await ada.get("/v1/api-keys")).json()["data"]) == 1


async def test_no_key_is_in_any_table(ada: Newcomer, database: Database) -> None:
    key = await made(ada)
    secret = key["key"].rpartition("_")[2] or key["key"]
    with psycopg.connect(database.owner_dsn) as connection:
        for table in ("events", "idempotency", "accounts_keys", "accounts_key_hashes", "claims"):
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            text = "".join(row[0] for row in rows)
            assert secret not in text
            assert secret.encode().hex() not in text


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"name": ""}, ("name", "too_short")),
        ({"permissions": []}, ("permissions", "too_short")),
        ({"permissions": ["journal"]}, ("permissions.0", "invalid_format")),
        (
            {"permissions": [{"permission": "journal:read", "conditions": {"moon": "full"}}]},
            ("permissions.0.conditions.moon", "unknown_field"),
        ),
        ({"limit_per_minute": 0}, ("limit_per_minute", "too_small")),
        ({"allowed_addresses": ["here"]}, ("allowed_addresses.0", "invalid_format")),
        ({"allowed_origins": ["app.example.com"]}, ("allowed_origins.0", "invalid_format")),
        ({"expires_at": "soon"}, ("expires_at", "invalid_format")),
        ({"state": "expired"}, ("state", "not_allowed")),
        ({"colour": "red"}, ("colour", "unknown_field")),
    ],
)
async def test_faults_of_a_key(
    ada: Newcomer, fields: dict[str, Any], fault: tuple[str, str]
) -> None:
    body = {"name": "x", "permissions": ["journal:read"], **fields}
    answer = await ada.call("POST", "/v1/api-keys", body)
    errors = problem(answer, 422, "VALIDATION_FAILED")["errors"]
    assert fault in {(one["field"], one["code"]) for one in errors}


async def test_a_key_is_no_wider_than_its_maker(ada: Newcomer) -> None:
    body = {"name": "x", "permissions": ["journal:read", "ops:read"]}
    problem(await ada.call("POST", "/v1/api-keys", body), 403, "FORBIDDEN")
    key = await made(ada, permissions=["journal:read"])
    wider = await ada.call(
        "PATCH", f"/v1/api-keys/{key['id']}", {"permissions": ["ops:write"]}, if_match='"1"'
    )
    problem(wider, 403, "FORBIDDEN")


async def test_a_key_may_what_it_was_given_and_no_more(
    api: httpx.AsyncClient, ada: Newcomer
) -> None:
    key = await made(ada, permissions=["journal:read"])
    assert (await api.get(ENTRIES, headers=carrying(key))).status_code == 200
    # 403 comes before the body is looked at.
    problem(await api.post(ENTRIES, content=b"{", headers=carrying(key)), 403, "FORBIDDEN")
    problem(await api.get("/v1/ops/projections", headers=carrying(key)), 403, "FORBIDDEN")
    for method, path in (
        ("GET", "/v1/api-keys"),
        ("POST", "/v1/api-keys"),
        ("DELETE", f"/v1/api-keys/{key['id']}"),
        ("POST", "/v1/auth/logout"),
        ("PATCH", "/v1/me"),
        ("PUT", "/v1/me/consent"),
    ):
        answer = await api.request(method, path, headers=carrying(key))
        problem(answer, 403, "FORBIDDEN")
    assert (await api.get("/v1/me", headers=carrying(key))).json()["data"]["id"] == ada.id


async def test_conditions_hold(api: httpx.AsyncClient, ada: Newcomer) -> None:
    one, other = [
        (await ada.call("POST", ENTRIES, {**ENTRY, "date": f"2026-02-0{day}"})).json()["data"]
        for day in (1, 2)
    ]
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    key = await made(
        ada,
        permissions=[
            {"permission": "journal:read", "conditions": {"ids": [one["id"]]}},
            {"permission": "journal:write", "conditions": {"until": past}},
        ],
    )
    fresh = {"consistency-token": ada.token}
    mine = await api.get(f"{ENTRIES}/{one['id']}", headers=carrying(key, **fresh))
    assert mine.status_code == 200
    for path in (f"{ENTRIES}/{other['id']}", ENTRIES, "/v1/journal/streak"):
        problem(await api.get(path, headers=carrying(key)), 403, "FORBIDDEN")
    problem(await api.post(ENTRIES, json={}, headers=carrying(key)), 403, "FORBIDDEN")
    writer = await made(
        ada,
        permissions=[{"permission": "journal:write", "conditions": {"methods": ["POST"]}}],
    )
    answer = await api.post(ENTRIES, json={**ENTRY, "date": "2026-02-03"}, headers=carrying(writer))
    assert answer.status_code == 201, answer.text
    path = answer.headers["location"]
    answer = await api.patch(
        path, json={"title": "x"}, headers=carrying(writer, **{"if-match": "*"})
    )
    problem(answer, 403, "FORBIDDEN")


async def refused(api: httpx.AsyncClient, key: dict[str, Any]) -> None:
    """Both APIs come to refuse it, within three seconds."""

    async def both() -> bool:
        read = await api.get(ENTRIES, headers=carrying(key))
        write = await api.post(ENTRIES, content=b"{", headers=carrying(key))
        return read.status_code == write.status_code == 401

    await eventually_async(both, within=3)
    answer = await api.get(ENTRIES, headers=carrying(key))
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def let_in(api: httpx.AsyncClient, key: dict[str, Any]) -> None:
    async def both() -> bool:
        read = await api.get(ENTRIES, headers=carrying(key))
        write = await api.post(ENTRIES, json={}, headers=carrying(key))
        return (read.status_code, write.status_code) == (200, 422)

    await eventually_async(both, within=3)


async def test_a_key_is_taken_back_on_both_apis(api: httpx.AsyncClient, ada: Newcomer) -> None:
    key = await made(ada)
    path = f"/v1/api-keys/{key['id']}"
    await let_in(api, key)
    for version, state in ((1, "suspended"), (3, "inactive")):
        answer = await ada.call("PATCH", path, {"state": state}, if_match=f'"{version}"')
        assert answer.json()["data"]["state"] == state, answer.text
        await refused(api, key)
        answer = await ada.call("PATCH", path, {"state": "active"}, if_match=f'"{version + 1}"')
        assert answer.status_code == 200, answer.text
        await let_in(api, key)
    past = "2020-01-01T00:00:00Z"
    answer = await ada.call("PATCH", path, {"expires_at": past}, if_match='"5"')
    assert answer.json()["data"]["state"] == "expired"
    await refused(api, key)
    answer = await ada.call("PATCH", path, {"expires_at": None}, if_match='"6"')
    assert answer.json()["data"]["state"] == "active"
    await let_in(api, key)
    answer = await ada.call("DELETE", path, None, if_match='"7"')
    assert answer.status_code == 204, answer.text
    await refused(api, key)
    problem(await ada.get(path), 404, "NOT_FOUND")
    assert (await ada.get("/v1/api-keys")).json()["data"] == []


async def test_a_key_expires_by_itself(api: httpx.AsyncClient, ada: Newcomer) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    key = await made(ada, expires_at=soon.isoformat())
    await let_in(api, key)
    await refused(api, key)


async def test_versions_and_strangers(api: httpx.AsyncClient, ada: Newcomer) -> None:
    key = await made(ada)
    path = f"/v1/api-keys/{key['id']}"
    problem(await ada.call("PATCH", path, {"name": "y"}), 428, "IF_MATCH_REQUIRED")
    problem(await ada.call("PATCH", path, {"name": "y"}, if_match='"9"'), 412, "VERSION_STALE")
    problem(await ada.call("DELETE", path, None), 428, "IF_MATCH_REQUIRED")
    eve = await newcomer(api)
    unknown = "/v1/api-keys/018f4e2a-7c10-7000-8000-00000000000b"
    for method in ("GET", "PATCH", "DELETE"):
        answers = [await eve.call(method, at, {"moon": 1}) for at in (path, unknown)]
        for answer in answers:
            problem(answer, 404, "NOT_FOUND")
    revised = await ada.call("PATCH", path, {"name": "y", "monthly_quota": 5}, if_match='"1"')
    assert (revised.json()["data"]["name"], revised.headers["etag"]) == ("y", '"2"')
    same = await ada.get(path, if_none_match='"2"')
    assert same.status_code == 304


async def test_addresses_are_checked(api: httpx.AsyncClient, ada: Newcomer) -> None:
    """The client of these tests comes from 192.0.2.7."""
    near = await made(ada, allowed_addresses=["198.51.100.1", "192.0.2.0/24"])
    far = await made(ada, allowed_addresses=["2001:db8::/32"])
    assert (await api.get(ENTRIES, headers=carrying(near))).status_code == 200
    forged = {"x-forwarded-for": "2001:db8::1"}
    for headers in (carrying(far), carrying(far, **forged)):
        problem(await api.get(ENTRIES, headers=headers), 403, "FORBIDDEN")
        problem(await api.post(ENTRIES, json={}, headers=headers), 403, "FORBIDDEN")


async def test_pages_of_listed_origins_may_read(api: httpx.AsyncClient, ada: Newcomer) -> None:
    key = await made(ada, allowed_origins=[PAGE])
    echoed = "access-control-allow-origin"
    answer = await api.get(ENTRIES, headers=carrying(key, origin=PAGE))
    assert (answer.status_code, answer.headers[echoed]) == (200, PAGE)
    assert "ETag" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]
    answer = await api.get(f"{ENTRIES}/nothing", headers=carrying(key, origin=PAGE))
    assert (answer.status_code, answer.headers[echoed]) == (404, PAGE)
    answer = await api.get(ENTRIES, headers=carrying(key, origin=FOREIGN))
    problem(answer, 403, "FORBIDDEN")
    assert echoed not in answer.headers
    # Without a page there is no origin to be wrong; and a key without a list works on any page.
    assert (await api.get(ENTRIES, headers=carrying(key))).status_code == 200
    free = await made(ada)
    answer = await api.get(ENTRIES, headers=carrying(free, origin=FOREIGN))
    assert answer.status_code == 200
    assert echoed not in answer.headers
    # What the settings list holds for everybody, with tokens too and for refusals.
    for headers in (carrying(free), ada.headers, {}):
        answer = await api.get(ENTRIES, headers={**headers, "origin": OURS})
        assert answer.headers[echoed] == OURS


async def test_preflights(api: httpx.AsyncClient, ada: Newcomer) -> None:
    await made(ada, allowed_origins=["https://listed.example.com:8443/"])

    async def ask(origin: str) -> httpx.Response:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        return await api.options(ENTRIES, headers=headers)

    async def allowed() -> bool:
        return (await ask("https://listed.example.com:8443")).status_code == 204

    await eventually_async(allowed, within=5)
    for origin in (OURS, "https://listed.example.com:8443"):
        answer = await ask(origin)
        assert answer.headers["access-control-allow-origin"] == origin
        assert "POST" in answer.headers["access-control-allow-methods"]
        for name in ("X-API-Key", "Authorization", "Idempotency-Key", "If-Match"):
            assert name in answer.headers["access-control-allow-headers"]
    answer = await ask(FOREIGN)
    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers


async def test_limits_of_a_key(api: httpx.AsyncClient, ada: Newcomer) -> None:
    key = await made(ada, limit_per_minute=3)
    answers = [await api.get(ENTRIES, headers=carrying(key)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
    assert [a.headers["ratelimit"].partition(";t")[0] for a in answers] == [
        f'"default";r={left}' for left in (2, 1, 0, 0)
    ]
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    problem(answers[3], 429, "RATE_LIMITED")
    # Neither another key nor its maker is counted with it.
    assert (await api.get(ENTRIES, headers=carrying(await made(ada)))).status_code == 200
    assert (await ada.get(ENTRIES)).status_code == 200


async def test_the_hours_limit_of_a_key(api: httpx.AsyncClient, ada: Newcomer) -> None:
    key = await made(ada, limit_per_minute=100, limit_per_hour=2)
    answers = [await api.get(ENTRIES, headers=carrying(key)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=100;w=60, "hour";q=2;w=3600'
    assert 60 < int(answers[2].headers["retry-after"]) <= 3600
    # What was refused by the one counts for neither.
    assert '"default";r=98' in answers[2].headers["ratelimit"]


async def test_the_months_quota_outlives_the_processes(
    api: httpx.AsyncClient, ada: Newcomer, settings: Settings, database: Database
) -> None:
    key = await made(ada, monthly_quota=4)
    for left in (3, 2):
        answer = await api.get(ENTRIES, headers=carrying(key))
        assert f'"month";r={left}' in answer.headers["ratelimit"]

    def kept() -> int:
        with psycopg.connect(database.owner_dsn) as connection:
            row = connection.execute(
                "SELECT coalesce(sum(uses), 0) FROM accounts_key_uses WHERE key_id = %s",
                (key["id"],),
            ).fetchone()
            assert row is not None
            return int(row[0])

    async def is_kept() -> bool:
        return kept() == 2

    await eventually_async(is_kept)
    same = msgspec.structs.replace(
        settings, rate_limit_per_minute=10_000, redis_url=settings.redis_url
    )
    async with served(same) as another:
        for left in (1, 0):
            answer = await another.get(ENTRIES, headers=carrying(key))
            assert answer.status_code == 200, answer.text
            assert f'"month";r={left}' in answer.headers["ratelimit"]
        answer = await another.get(ENTRIES, headers=carrying(key))
        problem(answer, 429, "QUOTA_EXCEEDED")
        assert int(answer.headers["retry-after"]) <= 31 * 86_400
    assert kept() == 4


async def test_unknown_keys(api: httpx.AsyncClient) -> None:
    for key in ("", "ms_nonsense", "x" * 5000):
        answer = await api.get(ENTRIES, headers={"x-api-key": key})
        problem(answer, 401, "UNAUTHENTICATED")
