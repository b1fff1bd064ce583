"""Accounts as a client meets them, on real servers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import msgspec
import psycopg
import pytest

from bootstrap.settings import Settings
from tests.support.accounts import PASSWORD
from tests.support.apps import served
from tests.support.servers import Database
from tests.support.somebody import CONSENT, Somebody, ends, faults, problem, registration, somebody

pytestmark = pytest.mark.anyio


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


async def test_register_login_and_see_oneself(api: httpx.AsyncClient) -> None:
    body = registration(username="Ada-L", language="pt")
    answer = await api.post("/v1/auth/register", json=body)
    assert answer.status_code == 201
    assert answer.headers["location"] == "/v1/me"
    person = answer.json()["data"]
    assert answer.headers["etag"] == f'"{person["version"]}"'
    assert person["email"] == body["email"]
    assert person["statistics"]["total_entries"] == 0
    assert "password" not in answer.text

    ada = Somebody(api, body, person)
    grant = await ada.login()
    assert (grant["token_type"], grant["expires_in"]) == ("Bearer", 900)
    answer = await ada.me()
    assert answer.status_code == 200
    me = answer.json()["data"]
    assert me["last_login_at"] is not None
    assert {**me, "last_login_at": None} == person
    assert (me["username"], me["language"], me["timezone"]) == ("Ada-L", "pt", "Europe/Lisbon")
    assert me["permissions"] == ["journal:read", "journal:write"]
    assert me["consent"]["address"] == "192.0.2.7"
    assert "consistency-token" in answer.headers
    assert answer.headers["etag"] == f'"{me["version"]}"'


async def test_statistics_are_the_journals(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    entry = {"date": "1660-01-01", "title": "Sunday", "content": "Went to church and dined"}
    assert (await ada.call("POST", "/v1/journal/entries", entry)).status_code == 201
    statistics = (await ada.me()).json()["data"]["statistics"]
    assert statistics == {
        "current_streak": 0,
        "longest_streak": 1,
        "total_entries": 1,
        "total_words": 5,
        "avg_words_per_entry": 5,
        "joined_days_ago": 0,
    }
    answer = await ada.call("PATCH", "/v1/me", {"bio": "x"}, if_match="*")
    assert answer.json()["data"]["statistics"] == statistics


async def test_all_faults_of_a_registration_come_at_once(api: httpx.AsyncClient) -> None:
    body = registration(
        email="nowhere",
        password="password123",
        display_name="",
        username="a b",
        timezone="Mars/Olympus",
        language="fr",
        nonsense=1,
        consent={"terms_version": "", "marketing": "no", "data_processing": True},
    )
    assert faults(await api.post("/v1/auth/register", json=body)) >= {
        ("email", "invalid_format"),
        ("password", "too_common"),
        ("display_name", "too_short"),
        ("username", "invalid_format"),
        ("timezone", "invalid_format"),
        ("language", "not_allowed"),
        ("nonsense", "unknown_field"),
        ("consent.terms_version", "too_short"),
        ("consent.marketing", "wrong_type"),
        ("consent.privacy_policy_version", "required"),
    }
    assert faults(await api.post("/v1/auth/register", json={})) >= {
        ("email", "required"),
        ("password", "required"),
        ("display_name", "required"),
        ("consent", "required"),
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b'{"email": NaN}',
        b"[" * 5000,
        b'{"email": "a\\u0000@example.com", "password": "\\u0000\\u0000", "display_name": "x"}',
        b'{"email": "\\ud800@example.com", "password": "\\ud800aaaaaaaaaa", "display_name": "x"}',
        b'{"password": 1e999, "display_name": {"a": [1]}, "consent": [], "timezone": {}}',
        b'{"email": "' + b"a" * 100_000 + b'@example.com"}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh"])
async def test_bad_bodies_are_refused(api: httpx.AsyncClient, path: str, raw: bytes) -> None:
    answer = await api.post(path, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 415, 422), answer.text
    assert answer.json()["code"]


async def test_names_in_use_are_refused(api: httpx.AsyncClient) -> None:
    ada = await somebody(api, username="taken")
    answer = await api.post("/v1/auth/register", json=registration(email=ada.email.upper()))
    problem(answer, 409, "EMAIL_IN_USE")
    answer = await api.post("/v1/auth/register", json=registration(username="TAKEN"))
    problem(answer, 409, "USERNAME_IN_USE")
    eve = await somebody(api)
    answer = await eve.call("PATCH", "/v1/me", {"username": "taken"}, if_match="*")
    problem(answer, 409, "USERNAME_IN_USE")


async def test_one_key_registers_once(api: httpx.AsyncClient, database: Database) -> None:
    body, headers = registration(), {"idempotency-key": "register-once"}
    answers = await asyncio.gather(
        *[api.post("/v1/auth/register", json=body, headers=headers) for _ in range(10)]
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
    assert replayed.count("true") == 9
    other = {**body, "display_name": "Eve"}
    answer = await api.post("/v1/auth/register", json=other, headers=headers)
    problem(answer, 422, "IDEMPOTENCY_KEY_REUSED")
    with psycopg.connect(database.owner_dsn) as connection:
        [[kept]] = connection.execute(
            "SELECT count(*) FROM idempotency WHERE response LIKE %s",
            (b"%" + body["email"].encode() + b"%",),
        ).fetchall()
    assert kept == 0  # sealed


async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(
    api: httpx.AsyncClient,
) -> None:
    ada = await somebody(api)
    answers = [
        await api.post("/v1/auth/login", json={"email": email, "password": "not this one"})
        for email in (ada.email, "nobody@example.com", "not an address")
    ]
    told = []
    for answer in answers:
        found = problem(answer, 401, "INVALID_CREDENTIALS")
        assert answer.headers["www-authenticate"] == "Bearer"
        told.append({k: v for k, v in found.items() if k not in ("timestamp", "requestId")})
    assert told[0] == told[1] == told[2]


async def test_ten_wrong_passwords_are_enough(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    for email in (ada.email, "stranger@example.com"):
        body = {"email": email, "password": "not this one"}
        answers = await asyncio.gather(*[api.post("/v1/auth/login", json=body) for _ in range(12)])
        assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 2
        body = {"email": email.upper(), "password": PASSWORD}
        answer = await api.post("/v1/auth/login", json=body)
        problem(answer, 429, "TOO_MANY_ATTEMPTS")
        assert 800 < int(answer.headers["retry-after"]) <= 900


async def test_logout_ends_the_login_on_both_apis(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    answer = await ada.call("POST", "/v1/auth/logout", None)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "consistency-token" in answer.headers
    problem(await ends(ada.me), 401, "UNAUTHENTICATED")
    problem(
        await ends(lambda: ada.call("PATCH", "/v1/me", {}, if_match="*")), 401, "UNAUTHENTICATED"
    )
    problem(await ada.refresh(), 401, "INVALID_REFRESH_TOKEN")
    problem(await api.post("/v1/auth/logout"), 401, "UNAUTHENTICATED")


async def test_a_refresh_token_is_used_once_and_reuse_ends_everything(
    api: httpx.AsyncClient,
) -> None:
    ada = await somebody(api)
    first = ada.grant["refresh_token"]
    answer = await ada.refresh()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    ada.grant = answer.json()["data"]
    assert (await ada.me()).status_code == 200
    problem(await ada.refresh(first), 401, "INVALID_REFRESH_TOKEN")
    problem(await ends(ada.me), 401, "UNAUTHENTICATED")
    problem(await ada.refresh(), 401, "INVALID_REFRESH_TOKEN")


async def test_a_profile_is_revised_on_the_version_that_was_read(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    tag = (await ada.me()).headers["etag"]
    body = {"bio": "Engines", "theme": "dark", "notifications": {"push": True}}
    problem(await ada.call("PATCH", "/v1/me", body), 428, "IF_MATCH_REQUIRED")
    answer = await ada.call("PATCH", "/v1/me", body, if_match=tag)
    assert answer.status_code == 200
    revised = answer.json()["data"]
    assert (revised["bio"], revised["theme"]) == ("Engines", "dark")
    assert revised["notifications"]["push"] is True
    assert answer.headers["etag"] == f'"{revised["version"]}"' != tag
    problem(await ada.call("PATCH", "/v1/me", body, if_match=tag), 412, "VERSION_STALE")
    assert (await ada.me()).json()["data"] == revised
    answer = await ada.me(**{"if-none-match": f'"{revised["version"]}"'})
    assert (answer.status_code, answer.content) == (304, b"")
    cleared = await ada.call("PATCH", "/v1/me", {"bio": None}, if_match="*")
    assert cleared.json()["data"]["bio"] is None


async def test_of_two_writers_on_one_version_one_succeeds(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    tag = (await ada.me()).headers["etag"]
    answers = await asyncio.gather(
        *[ada.call("PATCH", "/v1/me", {"bio": str(n)}, if_match=tag) for n in range(10)]
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9


async def test_a_repeated_revision_is_answered_alike(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    tag = (await ada.me()).headers["etag"]
    options = {"if_match": tag, "idempotency_key": "revise"}
    first = await ada.call("PATCH", "/v1/me", {"bio": "Engines"}, **options)
    again = await ada.call("PATCH", "/v1/me", {"bio": "Engines"}, **options)
    assert (first.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "true"


async def test_faults_of_a_revision_come_at_once(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    body = {
        "timezone": "Mars/Olympus",
        "website": "javascript:alert(1)",
        "bio": "x" * 2001,
        "theme": "blue",
        "email": "eve@example.com",
        "display_name": None,
        "notifications": {"push": 1, "pigeon": True},
        "preferences": {"infer_mood": "yes"},
    }
    assert faults(await ada.call("PATCH", "/v1/me", body, if_match="*")) >= {
        ("timezone", "invalid_format"),
        ("website", "invalid_format"),
        ("bio", "too_long"),
        ("theme", "not_allowed"),
        ("email", "unknown_field"),
        ("display_name", "wrong_type"),
        ("notifications.push", "wrong_type"),
        ("notifications.pigeon", "unknown_field"),
        ("preferences.infer_mood", "wrong_type"),
    }


async def test_a_consent_is_given_anew_and_taken_back(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    body = {**CONSENT, "terms_version": "v2.0", "marketing": True}
    answer = await ada.call("PUT", "/v1/me/consent", body, user_agent="Firefox")
    assert answer.status_code == 200
    consent = answer.json()["data"]["consent"]
    assert {name: consent[name] for name in body} == body
    assert (consent["address"], consent["agent"]) == ("192.0.2.7", "Firefox")
    answer = await ada.call("PUT", "/v1/me/consent", {**body, "marketing": False})
    assert answer.json()["data"]["consent"]["marketing"] is False
    assert (await ada.me()).json()["data"]["consent"] == answer.json()["data"]["consent"]
    assert faults(await ada.call("PUT", "/v1/me/consent", {"marketing": True}))


async def test_the_operator_of_the_settings_may_operate(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/auth/login", json={"email": "ops@localhost", "password": "ops"})
    grant = answer.json()["data"]
    answer = await api.get(
        "/v1/me",
        headers={
            "authorization": f"Bearer {grant['access_token']}",
            "consistency-token": answer.headers["consistency-token"],
        },
    )
    assert set(answer.json()["data"]["permissions"]) == {
        "analytics:read",
        "journal:read",
        "journal:write",
        "ops:personal",
        "ops:read",
        "ops:write",
    }


async def test_nobody_gets_in_without_a_token(api: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/v1/me"), ("PATCH", "/v1/me"), ("PUT", "/v1/me/consent")):
        answer = await api.request(method, path, content=b"{", headers={"if-match": "nonsense"})
        problem(answer, 401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_the_keys_are_published(api: httpx.AsyncClient) -> None:
    answer = await api.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    [key] = answer.json()["keys"]
    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
    ada = await somebody(api)
    header = json.loads(_b64(ada.grant["access_token"].split(".")[0]))
    claims = json.loads(_b64(ada.grant["access_token"].split(".")[1]))
    assert header == {"alg": "RS256", "typ": "at+jwt", "kid": key["kid"]}
    assert (claims["iss"], claims["aud"]) == ("mindstream-auth", "mindstream-api")
    assert claims["exp"] - claims["iat"] == 900
    assert (claims["sub"], claims["tier"]) == (ada.id, "basic")
    assert claims["permissions"] == ["journal:read", "journal:write"]
    UUID(claims["tenant"])


def _b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


TABLES = (
    "events",
    "idempotency",
    "claims",
    "accounts_credentials",
    "accounts_logins",
    "accounts_people",
    "accounts_refresh_tokens",
    "accounts_signing_keys",
)


async def test_no_secret_is_in_the_events_or_in_the_clear(
    api: httpx.AsyncClient, database: Database
) -> None:
    ada = await somebody(api)
    tokens = (ada.grant["refresh_token"], ada.grant["access_token"])
    secrets = (PASSWORD, *tokens, "$argon2id$", "PRIVATE KEY")
    with psycopg.connect(database.owner_dsn) as connection:
        for table in TABLES:
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            text = "".join(row[0] for row in rows)
            for secret in secrets:
                assert secret not in text
                assert secret.encode().hex() not in text
