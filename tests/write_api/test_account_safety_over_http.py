"""Second factor, logins seen and ended, leaving and coming back, as a client meets them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import msgspec
import psycopg
import pyotp
import pytest
import time_machine
from pwdlib.hashers.bcrypt import BcryptHasher

from bootstrap import wiring
from bootstrap.settings import Settings
from commands.second_factor import STEP
from tests.support.accounts import PASSWORD
from tests.support.apps import served
from tests.support.servers import Database
from tests.support.somebody import Somebody, again, ends, faults, problem, somebody

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    changed = msgspec.structs.replace(settings, rate_limit_per_minute=100_000)
    async with served(changed) as client:
        yield client


class App:
    """Somebody's authenticator app, and the codes on their paper."""

    def __init__(self, enrolment: dict[str, Any]) -> None:
        self.uri = urlsplit(enrolment["otpauth_uri"])
        self.totp = pyotp.TOTP(parse_qs(self.uri.query)["secret"][0])
        self.paper: list[str] = enrolment["recovery_codes"]

    def code(self, steps: int = 0) -> str:
        return self.totp.at(int(time.time()) + steps * STEP)

    def wrong(self) -> str:
        good = {self.code(steps) for steps in range(-2, 4)}
        return next(code for code in (f"{n:06d}" for n in range(20)) if code not in good)


async def enrolled(ada: Somebody) -> App:
    answer = await ada.call("POST", "/v1/auth/totp")
    assert answer.status_code == 200, answer.text
    app = App(answer.json()["data"])
    answer = await ada.call("POST", "/v1/auth/totp/confirm", {"code": app.code()})
    assert (answer.status_code, answer.json()["data"]) == (200, {"two_factor_enabled": True})
    return app


async def test_the_second_factor_is_begun_confirmed_and_asked_for(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    problem(
        await ada.call("POST", "/v1/auth/totp/confirm", {"code": "123456"}), 409, "TOTP_NOT_BEGUN"
    )
    answer = await ada.call("POST", "/v1/auth/totp")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    app = App(answer.json()["data"])
    assert (app.uri.scheme, app.uri.netloc) == ("otpauth", "totp")
    assert len(set(app.paper)) == 10
    await ada.login()  # nothing is asked for before a code is confirmed
    assert (await ada.me()).json()["data"]["two_factor_enabled"] is False
    wrong = await ada.call("POST", "/v1/auth/totp/confirm", {"code": app.wrong()})
    assert faults(wrong) == {("code", "not_allowed")}
    answer = await ada.call("POST", "/v1/auth/totp/confirm", {"code": app.code()})
    assert answer.status_code == 200
    assert (await ada.me()).json()["data"]["two_factor_enabled"] is True

    missing = await ada.try_to_login()
    problem(missing, 401, "TOTP_REQUIRED")
    assert missing.headers["www-authenticate"] == "Bearer"
    problem(await ada.try_to_login(totp=""), 401, "TOTP_REQUIRED")
    problem(await ada.try_to_login(totp=app.wrong()), 401, "INVALID_TOTP")
    problem(await ada.try_to_login(totp="١٢٣٤٥٦"), 401, "INVALID_TOTP")
    problem(await ada.try_to_login(totp=app.code(), password="wrong"), 401, "INVALID_CREDENTIALS")
    await ada.login(totp=app.code())
    problem(await ada.call("POST", "/v1/auth/totp"), 409, "TOTP_IN_USE")

    answer = await ada.call("DELETE", "/v1/auth/totp")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await ada.me()).json()["data"]["two_factor_enabled"] is False
    await ada.login()
    assert (await ada.call("DELETE", "/v1/auth/totp")).status_code == 204


async def test_a_code_opens_one_login_and_its_neighbours_are_good(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    app = await enrolled(ada)
    with time_machine.travel(time.time() // STEP * STEP + STEP / 2, tick=False) as now:
        problem(await ada.try_to_login(totp=app.code(-2)), 401, "INVALID_TOTP")
        problem(await ada.try_to_login(totp=app.code(2)), 401, "INVALID_TOTP")
        await ada.login(totp=app.code(-1))
        code = app.code()
        answers = await asyncio.gather(*[ada.try_to_login(totp=code) for _ in range(5)])
        assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
        problem(await ada.try_to_login(totp=app.code(-1)), 401, "INVALID_TOTP")
        now.shift(STEP)
        await ada.login(totp=app.code())


async def test_a_recovery_code_is_good_once(api: httpx.AsyncClient, database: Database) -> None:
    ada = await somebody(api)
    app = await enrolled(ada)
    await ada.login(totp=app.paper[0])
    problem(await ada.try_to_login(totp=app.paper[0]), 401, "INVALID_TOTP")
    await ada.login(totp=app.paper[1].replace("-", " ").upper())
    eve = await somebody(api)
    await enrolled(eve)
    problem(await eve.try_to_login(totp=app.paper[2]), 401, "INVALID_TOTP")
    with psycopg.connect(database.owner_dsn) as connection:
        told = connection.execute(
            "SELECT data FROM events"
            " WHERE stream_id = %s AND topic = 'accounts.RecoveryCodeUsed.v1' ORDER BY position",
            (f"accounts.person-{ada.id}",),
        ).fetchall()
    # What is sealed comes after a zero byte.
    assert [json.loads(data.partition(b"\0")[0])["remaining"] for (data,) in told] == [9, 8]


async def test_wrong_codes_count_like_wrong_passwords(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    app = await enrolled(ada)
    for _ in range(10):
        problem(await ada.try_to_login(totp=app.wrong()), 401, "INVALID_TOTP")
        if _ == 4:  # who knows the password alone does not win more guesses by it
            problem(await ada.try_to_login(), 401, "TOTP_REQUIRED")
    answer = await ada.try_to_login(totp=app.code())
    problem(answer, 429, "TOO_MANY_ATTEMPTS")
    assert 800 < int(answer.headers["retry-after"]) <= 900


async def test_a_login_with_a_code_may_be_repeated_under_its_key(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    app = await enrolled(ada)
    body = {"email": ada.email, "password": PASSWORD, "totp": app.code()}
    headers = {"idempotency-key": f"totp-{ada.id}"}
    answers = await asyncio.gather(
        *[api.post("/v1/auth/login", json=body, headers=headers) for _ in range(4)]
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1


async def test_a_repeated_beginning_gives_the_same_seed(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    first = await ada.call("POST", "/v1/auth/totp", idempotency_key="seed")
    again_ = await ada.call("POST", "/v1/auth/totp", idempotency_key="seed")
    assert first.content == again_.content
    other = await ada.call("POST", "/v1/auth/totp")
    assert other.json()["data"] != first.json()["data"]
    old, new = App(first.json()["data"]), App(other.json()["data"])
    code = {"code": old.code()}
    assert faults(await ada.call("POST", "/v1/auth/totp/confirm", code)) == {
        ("code", "not_allowed")
    }
    code = {"code": new.code()}
    assert (await ada.call("POST", "/v1/auth/totp/confirm", code)).status_code == 200


async def test_a_confirmation_is_repeated_under_its_key_when_its_code_is_old(
    api: httpx.AsyncClient,
) -> None:
    ada = await somebody(api)
    app = App((await ada.call("POST", "/v1/auth/totp")).json()["data"])
    body = {"code": app.code()}
    first = await ada.call("POST", "/v1/auth/totp/confirm", body, idempotency_key="confirm")
    with time_machine.travel(time.time() + 10 * STEP):
        again_ = await ada.call("POST", "/v1/auth/totp/confirm", body, idempotency_key="confirm")
    assert (again_.status_code, again_.content) == (200, first.content)


@pytest.mark.parametrize(
    "body", [{}, {"code": 123456}, {"code": ""}, {"code": "1", "x": 1}, {"code": "1" * 65}, []]
)
async def test_bad_confirmations_are_refused(api: httpx.AsyncClient, body: Any) -> None:
    ada = await somebody(api)
    await ada.call("POST", "/v1/auth/totp")
    assert faults(await ada.call("POST", "/v1/auth/totp/confirm", body))


async def test_seeds_and_codes_lie_nowhere_in_the_clear(
    api: httpx.AsyncClient, database: Database
) -> None:
    ada = await somebody(api)
    app = await enrolled(ada)
    await ada.login(totp=app.paper[0])
    with psycopg.connect(database.owner_dsn) as connection:
        for table in ("events", "idempotency", "accounts_totp", "accounts_people"):
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            text = "".join(row[0] for row in rows)
            for secret in (app.totp.secret, *app.paper, *(c.replace("-", "") for c in app.paper)):
                assert secret not in text
                assert secret.encode().hex() not in text


async def logins_of(ada: Somebody, **query: Any) -> Any:
    answer = await ada.api.get("/v1/me/logins", headers=ada.headers, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_logins_are_listed_with_the_one_that_asks(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    with_phone = await again(ada)
    await somebody(api)
    found = (await logins_of(ada))["data"]
    assert [login["current"] for login in found] == [False, True]  # newest first
    assert (await logins_of(with_phone))["data"][0]["current"] is True
    for login in found:
        UUID(login["id"])
        assert login["address"] == "192.0.2.7"
        assert login["agent"].startswith("python-httpx")
        assert login["created_at"] <= login["last_seen"] < login["expires_at"]
    before = found[1]["last_seen"]
    await ada.refresh()
    assert (await logins_of(ada))["data"][1]["last_seen"] > before


async def test_logins_come_by_the_page(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    for _ in range(4):
        await again(ada)
    first = await logins_of(ada, limit=3)
    cursor = first["meta"]["next_cursor"]
    rest = await logins_of(ada, limit=3, cursor=cursor)
    found = [login["id"] for login in (*first["data"], *rest["data"])]
    assert len(set(found)) == 5
    assert rest["meta"] == {"next_cursor": None, "limit": 3}
    eve = await somebody(api)
    stolen = await api.get("/v1/me/logins", headers=eve.headers, params={"cursor": cursor})
    problem(stolen, 422, "INVALID_CURSOR")


async def test_a_login_is_ended_from_afar_on_both_apis(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    lost = await again(ada)
    [theirs] = [login["id"] for login in (await logins_of(ada))["data"] if not login["current"]]
    eve = await somebody(api)
    for wrong in (theirs, str(UUID(int=7)), "nonsense"):
        problem(await eve.call("DELETE", f"/v1/me/logins/{wrong}"), 404, "NOT_FOUND")
    assert (await lost.me()).status_code == 200
    answer = await ada.call("DELETE", f"/v1/me/logins/{theirs}", idempotency_key="end")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "consistency-token" in answer.headers
    problem(await ends(lost.me), 401, "UNAUTHENTICATED")
    problem(
        await ends(lambda: lost.call("PATCH", "/v1/me", {}, if_match="*")), 401, "UNAUTHENTICATED"
    )
    problem(await lost.refresh(), 401, "INVALID_REFRESH_TOKEN")
    assert [login["current"] for login in (await logins_of(ada))["data"]] == [True]
    problem(await ada.call("DELETE", f"/v1/me/logins/{theirs}"), 404, "NOT_FOUND")
    again_ = await ada.call("DELETE", f"/v1/me/logins/{theirs}", idempotency_key="end")
    assert (again_.status_code, again_.headers["idempotency-replayed"]) == (204, "true")
    assert (await ada.me()).status_code == 200
    [mine] = [login["id"] for login in (await logins_of(ada))["data"]]
    assert (await ada.call("DELETE", f"/v1/me/logins/{mine}")).status_code == 204
    problem(await ends(ada.me), 401, "UNAUTHENTICATED")


async def test_the_reader_sees_nobodys_logins_but_the_ones_that_it_reads_for(
    api: httpx.AsyncClient, database: Database
) -> None:
    ada, eve = await somebody(api), await somebody(api)
    with psycopg.connect(database.read_dsn) as reader:
        query = "SELECT DISTINCT user_id FROM accounts_open_logins"
        assert reader.execute(query).fetchall() == []
        reader.execute("SELECT set_config('mindstream.user_id', %s, true)", (ada.id,))
        assert reader.execute(query).fetchall() == [(UUID(ada.id),)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("SELECT address FROM accounts_logins")
    assert eve.id != ada.id


async def test_an_account_is_deleted_softly_and_comes_back(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    other = await again(ada)
    entry = {"date": "1660-01-01", "title": "Sunday", "content": "Went to church and dined"}
    assert (await ada.call("POST", "/v1/journal/entries", entry)).status_code == 201
    tag = (await ada.me()).headers["etag"]
    problem(await ada.call("DELETE", "/v1/me"), 428, "IF_MATCH_REQUIRED")
    problem(await ada.call("DELETE", "/v1/me", if_match='"999"'), 412, "VERSION_STALE")
    answer = await ada.call("DELETE", "/v1/me", if_match=tag)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "consistency-token" in answer.headers
    for device in (ada, other):
        problem(await ends(device.me), 401, "UNAUTHENTICATED")
        problem(await ends(lambda d=device: d.call("PATCH", "/v1/me", {})), 401, "UNAUTHENTICATED")
        problem(await device.refresh(), 401, "INVALID_REFRESH_TOKEN")
    problem(await ada.try_to_login(), 403, "ACCOUNT_DELETED")
    problem(await ada.try_to_login(password="not this one"), 401, "INVALID_CREDENTIALS")
    problem(
        await api.post(
            "/v1/auth/register",
            json={
                "email": ada.email,
                "password": PASSWORD,
                "display_name": "Eve",
                "consent": {
                    "terms_version": "1",
                    "privacy_policy_version": "1",
                    "data_processing": True,
                    "marketing": False,
                },
            },
        ),
        409,
        "EMAIL_IN_USE",
    )

    restore = {"email": ada.email.upper(), "password": PASSWORD}
    wrong = {**restore, "password": "not this one"}
    problem(await api.post("/v1/me/restore", json=wrong), 401, "INVALID_CREDENTIALS")
    unknown = {**restore, "email": "nobody@example.com"}
    problem(await api.post("/v1/me/restore", json=unknown), 401, "INVALID_CREDENTIALS")
    answer = await api.post("/v1/me/restore", json=restore)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["id"] == ada.id
    assert (await api.post("/v1/me/restore", json=restore)).status_code == 200
    problem(await ada.me(), 401, "UNAUTHENTICATED")  # the old logins stay ended
    await ada.login()
    me = (await ada.me()).json()["data"]
    assert (me["id"], me["statistics"]["total_entries"]) == (ada.id, 1)


async def test_faults_of_a_restoration_come_at_once(api: httpx.AsyncClient) -> None:
    assert faults(await api.post("/v1/me/restore", json={"password": 1, "totp": "1"})) == {
        ("email", "required"),
        ("password", "wrong_type"),
        ("totp", "unknown_field"),
    }


async def test_restorations_count_wrong_passwords_like_logins(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    body = {"email": ada.email, "password": "not this one"}
    answers = await asyncio.gather(*[api.post("/v1/me/restore", json=body) for _ in range(12)])
    assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 2
    problem(await ada.try_to_login(), 429, "TOO_MANY_ATTEMPTS")


async def test_after_thirty_days_nobody_comes_back(api: httpx.AsyncClient) -> None:
    ada = await somebody(api)
    assert (await ada.call("DELETE", "/v1/me", if_match="*")).status_code == 204
    body = {"email": ada.email, "password": PASSWORD}
    with time_machine.travel(datetime.now(UTC) + timedelta(days=30, minutes=1)):
        answer = await api.post("/v1/me/restore", json=body)
        assert "over" in problem(answer, 403, "ACCOUNT_DELETED")["detail"]


async def test_whoever_is_imported_logs_in_with_the_password_that_they_had(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    path = settings.home / "people.ndjson"
    line = {
        "email": "imported@example.com",
        "display_name": "Ada",
        "password_hash": BcryptHasher(rounds=4, prefix="2a").hash(PASSWORD),
        "username": "imported",
    }
    path.write_bytes(msgspec.json.encode(line) + b"\n{}\n")
    for dry_run in (True, False):
        result = await wiring.import_accounts(settings, path, dry_run=dry_run)
        assert (result.accepted, [each.line for each in result.refused]) == (1, [2])
    ada = Somebody(api, line, {"id": None})
    problem(await ada.try_to_login(password="not this one"), 401, "INVALID_CREDENTIALS")
    for _ in range(2):  # with the imported hash, then with the one that replaced it
        await ada.login()
    assert (await ada.me()).json()["data"]["username"] == "imported"


async def test_nobody_gets_at_this_without_a_login(api: httpx.AsyncClient) -> None:
    for method, path in (
        ("POST", "/v1/auth/totp"),
        ("POST", "/v1/auth/totp/confirm"),
        ("DELETE", "/v1/auth/totp"),
        ("GET", "/v1/me/logins"),
        ("DELETE", f"/v1/me/logins/{UUID(int=1)}"),
        ("DELETE", "/v1/me"),
    ):
        problem(await api.request(method, path, content=b"{"), 401, "UNAUTHENTICATED")
