"""Confirming an address and setting a new password, over HTTP, with the letters read."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import psycopg
import pytest

from adapters.mail.erasure import SentMail
from adapters.mail.folder import FolderMail
from adapters.postgres.pipeline import Pipeline
from bootstrap import wiring
from bootstrap.settings import Settings
from bootstrap.wiring.reacting import REACTIONS
from tests.support.apps import served
from tests.support.people import registration
from tests.support.servers import Database
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

NEW = "seven swans upon a lake"
_numbers = iter(range(1, 10_000))


class Post:
    """Both APIs with the reactions beside them, and a look into the folder of mail."""

    def __init__(self, api: httpx.AsyncClient, folder: Path) -> None:
        self.api = api
        self.folder = folder

    async def call(self, path: str, body: Any, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.api.post(f"/v1/auth/{path}", json=body, headers=sent)

    async def register(self, **fields: Any) -> dict[str, Any]:
        body = registration(f"ana{next(_numbers)}@example.org", **fields)
        answer = await self.call("register", body)
        assert answer.status_code == 201, answer.text
        return {**body, "answer": answer.json()["data"]}

    async def login(self, address: str, password: str) -> httpx.Response:
        return await self.call("login", {"email": address, "password": password})

    def letters(self, address: str, template: str = "*") -> list[str]:
        """The plain texts of what was written to an address, oldest first."""
        found = []
        for path in sorted(self.folder.glob(f"*-{template}-*.eml")):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            if message["To"] == address:
                part = message.get_body(("plain",))
                assert part is not None
                found.append(part.get_content().replace("\r\n", "\n"))
        return found

    async def letter(self, address: str, template: str, number: int = 1) -> str:
        """The letter of that kind, when it is there."""

        async def there() -> bool:
            return len(self.letters(address, template)) >= number

        await eventually_async(there)
        return self.letters(address, template)[number - 1]

    async def token(self, address: str, template: str, number: int = 1) -> str:
        text = await self.letter(address, template, number)
        found = re.search(r"#token=([\w-]{43})$", text, re.MULTILINE)
        assert found is not None, text
        assert f"\n{found[1]}\n" in text  # bare, too
        return found[1]

    async def settled(self, database: Database) -> None:
        """Return when every reaction has reached the head."""

        async def reached() -> bool:
            with psycopg.connect(database.owner_dsn) as connection:
                row = connection.execute(
                    "SELECT min(position) = (SELECT max(position) FROM events) FROM reactions"
                ).fetchone()
            return bool(row and row[0])

        await eventually_async(reached)


@asynccontextmanager
async def posted(settings: Settings) -> AsyncIterator[Post]:
    async with served(settings) as api:
        stop = asyncio.Event()
        reacting = asyncio.create_task(wiring.reactor(settings, stop))
        try:
            yield Post(api, settings.home / "mail")
        finally:
            stop.set()
            await reacting


@pytest.fixture(scope="module")
def plain(settings: Settings, signing_key: bytes) -> Settings:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    return msgspec.structs.replace(
        settings, jwt_private_key_file=pem, rate_limit_per_minute=100_000
    )


@pytest.fixture(scope="module")
async def at(plain: Settings) -> AsyncIterator[Post]:
    async with posted(plain) as post:
        yield post


def bad_token(answer: httpx.Response) -> bool:
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_FAILED"), answer.text
    return ("token", "invalid_token") in {
        (fault["field"], fault["code"]) for fault in answer.json()["errors"]
    }


async def me(at: Post, login: httpx.Response) -> httpx.Response:
    return await at.api.get(
        "/v1/me",
        headers={
            "authorization": f"Bearer {login.json()['data']['access_token']}",
            "consistency-token": login.headers["consistency-token"],
        },
    )


async def test_a_letter_confirms_the_address_once(at: Post) -> None:
    ana = await at.register(language="pt")
    address = ana["email"]
    assert ana["answer"]["email_verified"] is False
    assert "três dias" in await at.letter(address, "verify_email")
    token = await at.token(address, "verify_email")
    confirmed = await at.call("verify-email", {"token": token})
    assert (confirmed.status_code, confirmed.json()["data"]) == (200, {"email_verified": True})
    login = await at.login(address, ana["password"])
    assert (await me(at, login)).json()["data"]["email_verified"] is True
    assert bad_token(await at.call("verify-email", {"token": token}))
    assert bad_token(await at.call("verify-email", {"token": "x" * 43}))
    assert bad_token(await at.call("reset-password", {"token": token, "password": NEW}))


async def test_a_letter_sets_a_new_password_once_and_ends_every_login(at: Post) -> None:
    ana = await at.register()
    address = ana["email"]
    before = await at.login(address, ana["password"])
    asked = await at.call("request-password-reset", {"email": address.upper()})
    assert asked.status_code == 202
    assert asked.headers["consistency-token"]
    token = await at.token(address, "reset_password")

    weak = await at.call("reset-password", {"token": "x", "password": "short"})
    assert bad_token(weak)
    assert len(weak.json()["errors"]) == 2
    common = await at.call("reset-password", {"token": token, "password": "password1234"})
    assert [fault["code"] for fault in common.json()["errors"]] == ["too_common"]

    body = {"token": token, "password": NEW}
    changed = await at.call("reset-password", body, idempotency_key="k1")
    assert changed.status_code == 200, changed.text
    again = await at.call("reset-password", body, idempotency_key="k1")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert bad_token(await at.call("reset-password", body))
    assert (await at.login(address, ana["password"])).status_code == 401
    login = await at.login(address, NEW)
    assert login.status_code == 200

    async def ended() -> bool:
        return (await me(at, before)).status_code == 401

    await eventually_async(ended, within=3)
    refreshed = await at.call("refresh", {"refresh_token": before.json()["data"]["refresh_token"]})
    assert refreshed.status_code == 401
    # Whoever could read the letter reads the mail of this address.
    assert (await me(at, login)).json()["data"]["email_verified"] is True
    await at.letter(address, "password_changed")


async def test_of_two_letters_the_other_is_worthless_after_a_reset(at: Post) -> None:
    address = (await at.register())["email"]
    for number in (1, 2):
        await at.call("request-password-reset", {"email": address})
        await at.letter(address, "reset_password", number)
    tokens = [await at.token(address, "reset_password", number) for number in (1, 2)]
    assert tokens[0] != tokens[1]
    answers = await asyncio.gather(
        *(at.call("reset-password", {"token": token, "password": NEW}) for token in tokens * 4)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 7


async def test_an_expired_token_is_not_good(at: Post, database: Database) -> None:
    address = (await at.register())["email"]
    token = await at.token(address, "verify_email")
    with psycopg.connect(database.owner_dsn) as owner:
        owner.execute("UPDATE accounts_mail_tokens SET expires_at = now()")
    assert bad_token(await at.call("verify-email", {"token": token}))


async def test_known_and_unknown_addresses_are_answered_alike_and_as_fast(at: Post) -> None:
    known = [(await at.register())["email"] for _ in range(8)]
    taken: dict[bool, list[float]] = {True: [], False: []}
    shapes = set()
    for number in range(40):
        asked = {True: known[number % 8], False: f"nobody{number}@example.org"}
        for is_known in sorted(asked, reverse=bool(number % 2)):  # they take turns at being first
            began = time.perf_counter()
            answer = await at.call("request-password-reset", {"email": asked[is_known]})
            taken[is_known].append(time.perf_counter() - began)
            body = answer.json()
            shapes.add(
                (answer.status_code, str(body["data"]), body["message"], len(answer.content))
            )
    assert len(shapes) == 1
    medians = [statistics.median(each) for each in taken.values()]
    slower = sum(one > other for one, other in zip(taken[True], taken[False], strict=True))
    # They differ by 0.2 % where nothing else runs (decision 0016). A busy machine makes now the one
    # slower and now the other; what tells them apart would make it the same one nearly always.
    assert 6 <= slower <= 34 or max(medians) < 1.1 * min(medians), taken


async def test_a_mailbox_cannot_be_filled(at: Post, database: Database) -> None:
    address = (await at.register())["email"]
    answers = [await at.call("request-password-reset", {"email": address}) for _ in range(14)]
    assert {answer.status_code for answer in answers} == {202}
    await at.settled(database)
    assert len(at.letters(address, "reset_password")) == 5


async def test_nothing_in_the_store_and_no_answer_holds_a_token(
    at: Post, database: Database
) -> None:
    address = (await at.register())["email"]
    await at.call("request-password-reset", {"email": address})
    tokens = [await at.token(address, each) for each in ("verify_email", "reset_password")]
    with psycopg.connect(database.owner_dsn) as owner:
        tables = [
            row[0]
            for row in owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        for table in tables:
            for row in owner.execute(f"SELECT t::text FROM {table} t"):
                assert not any(token in row[0] for token in tokens), table
                assert not any(token.encode().hex() in row[0] for token in tokens), table


async def test_an_erasure_takes_every_letter_and_what_names_the_person(
    at: Post, database: Database
) -> None:
    ana, other = await at.register(), await at.register()
    await at.call("request-password-reset", {"email": ana["email"]})
    for address, template in (
        (ana["email"], "verify_email"),
        (ana["email"], "reset_password"),
        (other["email"], "verify_email"),
    ):
        await at.letter(address, template)
    await at.settled(database)
    pipeline = Pipeline(database.write_dsn, role="mindstream_write")
    await pipeline.open()
    user_id = UUID(ana["answer"]["id"])
    erasing = SentMail(pipeline, FolderMail(at.folder, "x@y"))
    assert await erasing.erase(user_id) == 2
    assert await erasing.erase(user_id) == 0
    await pipeline.close()
    assert (at.letters(ana["email"]), len(at.letters(other["email"]))) == ([], 1)
    with psycopg.connect(database.owner_dsn) as owner:
        left = owner.execute(
            "SELECT (SELECT count(*) FROM reaction_effects WHERE subject_id = %(id)s)"
            " + (SELECT count(*) FROM accounts_mail_tokens WHERE user_id = %(id)s)",
            {"id": user_id},
        ).fetchone()
    assert left == (0,)


async def test_reactions_begin_at_the_set_up(at: Post, database: Database) -> None:
    with psycopg.connect(database.owner_dsn) as owner:
        found = owner.execute("SELECT name, began_at FROM reactions ORDER BY name").fetchall()
    assert found == [(name, 0) for name in sorted(each.name for each in REACTIONS)]


async def test_the_pages_of_the_links_need_nobody(at: Post) -> None:
    for path in ("verify-email", "reset-password"):
        page = await at.api.get(f"/account/{path}")
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "unsafe-inline" not in page.headers["content-security-policy"]


class TestWithVerification:
    """``MINDSTREAM_VERIFY_EMAIL``."""

    @pytest.fixture(scope="class")
    async def at(self, plain: Settings) -> AsyncIterator[Post]:
        changed = msgspec.structs.replace(
            plain,
            verify_email=True,
            operator_email="ops@localhost",
            operator_password="ops",
        )
        async with posted(changed) as post:
            yield post

    async def test_nobody_is_let_in_before_the_address_is_confirmed(self, at: Post) -> None:
        ana = await at.register()
        refused = await at.login(ana["email"], ana["password"])
        assert (refused.status_code, refused.json()["code"]) == (401, "INVALID_CREDENTIALS")
        await at.call("verify-email", {"token": await at.token(ana["email"], "verify_email")})
        assert (await at.login(ana["email"], ana["password"])).status_code == 200

    async def test_the_operator_of_the_settings_needs_no_proof(self, at: Post) -> None:
        assert (await at.login("ops@localhost", "ops")).status_code == 200
        assert at.letters("ops@localhost") == []

    async def test_an_address_in_use_is_answered_like_a_new_one(
        self, at: Post, database: Database
    ) -> None:
        ana = await at.register()
        await at.call("verify-email", {"token": await at.token(ana["email"], "verify_email")})
        body = registration(ana["email"], password=NEW, display_name="Eve")
        repeated = await at.call("register", body, idempotency_key="again")
        fresh = await at.call("register", registration(f"eve{next(_numbers)}@example.org"))
        assert repeated.status_code == fresh.status_code == 201
        one, other = repeated.json(), fresh.json()
        assert set(repeated.headers) == set(fresh.headers)
        assert repeated.headers["etag"] == fresh.headers["etag"]
        assert one["data"]["display_name"] == "Eve"
        assert one["data"]["id"] != ana["answer"]["id"]
        personal = {"id", "email", "display_name", "tenant_id", "created_at", "consent"}
        for name in set(one["data"]) - personal:
            assert one["data"][name] == other["data"][name], name
        replayed = await at.call("register", body, idempotency_key="again")
        assert replayed.headers["idempotency-replayed"] == "true"
        assert replayed.json()["data"] == one["data"]

        await at.letter(ana["email"], "already_registered")
        await at.settled(database)
        assert len(at.letters(ana["email"], "already_registered")) == 1
        assert (await at.login(ana["email"], NEW)).status_code == 401
        assert (await at.login(ana["email"], ana["password"])).status_code == 200

    async def test_whoever_lost_the_letter_registers_again_for_another(self, at: Post) -> None:
        ana = await at.register()
        await at.letter(ana["email"], "verify_email")
        await at.call("register", registration(ana["email"]))
        token = await at.token(ana["email"], "verify_email", 2)
        assert (await at.call("verify-email", {"token": token})).status_code == 200

    async def test_a_taken_username_is_refused_in_either_case(self, at: Post) -> None:
        ana = await at.register(username=f"ana-{next(_numbers)}")
        for address in (ana["email"], f"eve{next(_numbers)}@example.org"):
            body = registration(address, username=ana["username"])
            answer = await at.call("register", body)
            assert (answer.status_code, answer.json()["code"]) == (409, "USERNAME_IN_USE")
