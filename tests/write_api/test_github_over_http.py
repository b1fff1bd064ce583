"""Logins with GitHub, against an OAuth server on this machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import psycopg
import pyotp
import pytest
import time_machine

from bootstrap.settings import Settings
from commands.second_factor import STEP
from tests.support.apps import served
from tests.support.github_server import CLIENT_ID, CLIENT_SECRET, GithubServer, github_server
from tests.support.servers import Database
from tests.support.somebody import Somebody, problem, somebody

pytestmark = pytest.mark.anyio

PATH = "/v1/auth/github"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def github() -> AsyncIterator[GithubServer]:
    async with github_server() as server:
        yield server


@pytest.fixture(scope="module")
async def api(settings: Settings, github: GithubServer) -> AsyncIterator[httpx.AsyncClient]:
    changed = msgspec.structs.replace(
        settings,
        rate_limit_per_minute=100_000,
        github_client_id=CLIENT_ID,
        github_client_secret=CLIENT_SECRET,
        github_url=github.url,
    )
    async with served(changed) as client:
        yield client


@pytest.fixture(autouse=True)
def a_new_browser(api: httpx.AsyncClient, github: GithubServer) -> int:
    """Nobody has cookies, and somebody is logged in at GitHub whom nobody here knows."""
    api.cookies.clear()
    number = next(_numbers)
    github.answers = True
    github.log_in(number, f"github-{number}@example.com")
    return number


async def to_github(api: httpx.AsyncClient) -> str:
    """Where GitHub sends the browser back to."""
    answer = await api.get(PATH)
    assert answer.status_code == 302, answer.text
    assert answer.headers["cache-control"] == "no-store"
    async with httpx.AsyncClient() as browser:
        back = await browser.get(answer.headers["location"])
    assert back.status_code == 302, back.text
    return back.headers["location"]


async def login(api: httpx.AsyncClient) -> httpx.Response:
    return await api.get(await to_github(api))


async def who(api: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    me = await api.get(
        "/v1/me",
        headers={
            "authorization": f"Bearer {answer.json()['data']['access_token']}",
            "consistency-token": answer.headers["consistency-token"],
        },
    )
    assert me.status_code == 200, me.text
    found: dict[str, Any] = me.json()["data"]
    return found


async def test_a_new_person_is_made_and_found_again(
    api: httpx.AsyncClient, github: GithubServer, a_new_browser: int
) -> None:
    me = await who(api, await login(api))
    assert me["email"] == f"github-{a_new_browser}@example.com"
    assert me["email_verified"] is True
    assert (me["display_name"], me["github_login"]) == ("Ada L.", f"ada-{a_new_browser}")
    assert me["consent"] is None
    assert not api.cookies
    github.log_in(a_new_browser, "renamed@example.com", name="Augusta")
    assert (await who(api, await login(api)))["id"] == me["id"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [(None, "ada-{}"), (" \x00\n ", "ada-{}"), ("x" * 300, "x" * 100), ("Ada\u2028L", "AdaL")],
)
async def test_names_of_github_fit_our_rules(
    api: httpx.AsyncClient, github: GithubServer, a_new_browser: int, name: str | None, shown: str
) -> None:
    github.log_in(a_new_browser, f"named-{a_new_browser}@example.com", name=name)
    me = await who(api, await login(api))
    assert me["display_name"] == shown.format(a_new_browser)


async def test_an_address_that_is_not_verified_on_both_sides_opens_nothing(
    api: httpx.AsyncClient, github: GithubServer, a_new_browser: int
) -> None:
    ada = await somebody(api)
    github.log_in(a_new_browser, ada.email)
    detail = problem(await login(api), 409, "ADDRESS_UNVERIFIED")["detail"]
    assert "Mindstream" in detail
    github.log_in(a_new_browser, "new@example.com", verified=False)
    assert "GitHub" in problem(await login(api), 409, "ADDRESS_UNVERIFIED")["detail"]


async def test_a_second_github_account_with_the_same_address_is_refused(
    api: httpx.AsyncClient, github: GithubServer, a_new_browser: int
) -> None:
    await who(api, await login(api))
    github.log_in(a_new_browser + 1_000, f"github-{a_new_browser}@example.com")
    problem(await login(api), 409, "GITHUB_LINKED_ELSEWHERE")


async def test_only_the_browser_that_began_comes_back(api: httpx.AsyncClient) -> None:
    back = await to_github(api)
    cookies = dict(api.cookies)
    api.cookies.clear()
    problem(await api.get(back), 400, "GITHUB_STATE_INVALID")
    begun = await api.get(PATH)
    assert begun.status_code == 302  # another state than that of `back`
    problem(await api.get(back), 400, "GITHUB_STATE_INVALID")
    api.cookies.clear()
    api.cookies.update({name: value[:-4] + "AAAA" for name, value in cookies.items()})
    problem(await api.get(back), 400, "GITHUB_STATE_INVALID")
    api.cookies.clear()
    api.cookies.update(cookies)
    with time_machine.travel(time.time() + 601):
        problem(await api.get(back), 400, "GITHUB_STATE_INVALID")
    assert (await api.get(back)).status_code == 200


async def test_the_cookie_is_for_this_alone_and_secure_where_the_site_is(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.get(PATH)
    flags = {part.strip() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert flags == {f"Path={PATH}", "Max-Age=600", "HttpOnly", "SameSite=Lax"}
    answer = await api.get(PATH, headers={"x-forwarded-proto": "https"})
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_code_is_good_once_and_for_its_verifier_only(api: httpx.AsyncClient) -> None:
    back = await to_github(api)
    cookies = dict(api.cookies)
    assert (await api.get(back)).status_code == 200
    api.cookies.update(cookies)
    problem(await api.get(back), 401, "GITHUB_REFUSED")
    other = await to_github(api)
    state = parse_qs(urlsplit(back).query)["state"][0]
    code = parse_qs(urlsplit(other).query)["code"][0]
    api.cookies.clear()
    api.cookies.update(cookies)
    stolen = await api.get(f"{PATH}/callback", params={"code": code, "state": state})
    problem(stolen, 401, "GITHUB_REFUSED")


async def test_whoever_changes_their_mind_at_github_is_told_so(api: httpx.AsyncClient) -> None:
    back = await to_github(api)
    state = parse_qs(urlsplit(back).query)["state"][0]
    refused = {"error": "access_denied", "error_description": "no", "state": state}
    problem(await api.get(f"{PATH}/callback", params=refused), 401, "GITHUB_REFUSED")


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?state=x", "?code=x&state=%ff", "?code=a&code=b"]
)
async def test_nonsense_is_refused(api: httpx.AsyncClient, query: str) -> None:
    answer = await api.get(f"{PATH}/callback{query}")
    assert answer.status_code in (400, 422), answer.text


async def test_while_github_is_broken_the_login_is_unavailable(
    api: httpx.AsyncClient, github: GithubServer
) -> None:
    github.answers = False
    answer = await login(api)
    problem(answer, 503, "UNAVAILABLE")
    assert "retry-after" in answer.headers


async def test_an_answer_without_an_end_is_not_read(
    api: httpx.AsyncClient, github: GithubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github, "talks", True)
    answer = await login(api)
    assert answer.status_code == 503, answer.text


async def test_the_second_factor_is_asked_for_after_github(
    api: httpx.AsyncClient, a_new_browser: int
) -> None:
    answer = await login(api)
    me = await who(api, answer)
    ada = Somebody(api, {"email": me["email"]}, me)
    ada.grant = answer.json()["data"]
    begun = (await ada.call("POST", "/v1/auth/totp")).json()["data"]
    totp = pyotp.TOTP(parse_qs(urlsplit(begun["otpauth_uri"]).query)["secret"][0])
    now = totp.at(int(time.time()))
    assert (await ada.call("POST", "/v1/auth/totp/confirm", {"code": now})).status_code == 200

    half = problem(await login(api), 401, "TOTP_REQUIRED")["continuation"]
    wrong = {"continuation": half, "totp": "no code"}
    problem(await api.post(f"{PATH}/confirm", json=wrong), 401, "INVALID_TOTP")
    right = {"continuation": half, "totp": totp.at(int(time.time()))}
    assert (await who(api, await api.post(f"{PATH}/confirm", json=right)))["id"] == me["id"]
    for nonsense in ("x", half[:-4] + "AAAA"):
        forged = {**right, "continuation": nonsense}
        problem(await api.post(f"{PATH}/confirm", json=forged), 400, "GITHUB_STATE_INVALID")
    with time_machine.travel(time.time() + 601):
        problem(await api.post(f"{PATH}/confirm", json=right), 400, "GITHUB_STATE_INVALID")
    with time_machine.travel(time.time() + 2 * STEP):
        for _ in range(10):
            await api.post(f"{PATH}/confirm", json=wrong)
        problem(await api.post(f"{PATH}/confirm", json=wrong), 429, "TOO_MANY_ATTEMPTS")


async def test_whoever_left_is_not_let_in(api: httpx.AsyncClient) -> None:
    answer = await login(api)
    headers = {"authorization": f"Bearer {answer.json()['data']['access_token']}"}
    gone = await api.delete("/v1/me", headers={**headers, "if-match": "*"})
    assert gone.status_code == 204
    problem(await login(api), 403, "ACCOUNT_DELETED")


async def test_githubs_tokens_lie_nowhere_in_the_clear(
    api: httpx.AsyncClient,
    github: GithubServer,
    database: Database,
    capfd: pytest.CaptureFixture[str],
) -> None:
    answer = await login(api)
    secrets = (github.tokens[-1], answer.json()["data"]["refresh_token"], CLIENT_SECRET)
    with psycopg.connect(database.owner_dsn) as connection:
        for table in ("events", "idempotency", "accounts_github", "accounts_people"):
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            text = "".join(row[0] for row in rows)
            for secret in secrets:
                assert secret not in text
                assert secret.encode().hex() not in text
    logged = capfd.readouterr()
    assert not any(secret in logged.out + logged.err for secret in secrets)


async def test_without_settings_there_is_no_such_login(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    async with served(msgspec.structs.replace(settings, github_client_id=None)) as other:
        problem(await other.get(PATH), 404, "NOT_FOUND")
        problem(await other.get(f"{PATH}/callback?code=a&state=b"), 404, "NOT_FOUND")
        body = {"continuation": "x", "totp": "1"}
        problem(await other.post(f"{PATH}/confirm", json=body), 404, "NOT_FOUND")
