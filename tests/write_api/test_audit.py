"""The audit log over HTTP: who did what, from where, with what before and after, and why."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from bootstrap.operators import desk
from bootstrap.settings import Settings
from domain.operation import PAUSE_REACTION, RETRY
from tests.support.accounts import PASSWORD
from tests.support.apps import served
from tests.support.servers import Database
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

AUDIT = "/v1/ops/audit"
AGENT = "canary-agent/1.0"
SHAPE = set(
    "id at actor action target category request_id address agent before after reason".split()
)
SEALED = {"sealed": True}


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
    async with served(changed, address="203.0.113.9") as client:
        client.headers["user-agent"] = AGENT
        yield client


async def log_in(api: httpx.AsyncClient, email: str, password: str) -> dict[str, str]:
    answer = await api.post("/v1/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['data']['access_token']}"}


@pytest.fixture(scope="module")
async def ops(api: httpx.AsyncClient) -> dict[str, str]:
    return await log_in(api, "ops@localhost", "ops")


@pytest.fixture(scope="module")
async def anna(api: httpx.AsyncClient) -> dict[str, str]:
    consent = {
        "terms_version": "1",
        "privacy_policy_version": "1",
        "data_processing": True,
        "marketing": False,
    }
    body = {"email": "anna@example.com", "password": PASSWORD, "display_name": "Anna"}
    answer = await api.post("/v1/auth/register", json={**body, "consent": consent})
    assert answer.status_code == 201, answer.text
    return await log_in(api, "anna@example.com", PASSWORD)


@pytest.fixture(scope="module")
async def half_an_operator(
    api: httpx.AsyncClient, database: Database, ops: dict[str, str]
) -> dict[str, str]:
    """Somebody with ``ops:read`` alone: the operator's events, less one permission."""
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute(
            """
            UPDATE events SET data = convert_to(
                replace(convert_from(data, 'UTF8'), '"ops:personal",', ''), 'UTF8')
            WHERE topic = 'accounts.PermissionsGranted.v1'
            """
        )
        headers = await log_in(api, "ops@localhost", "ops")
        connection.execute(
            """
            UPDATE events SET data = convert_to(
                replace(convert_from(data, 'UTF8'), '"ops:read"', '"ops:personal","ops:read"'),
                'UTF8')
            WHERE topic = 'accounts.PermissionsGranted.v1'
            """
        )
    return headers


async def items(api: httpx.AsyncClient, headers: dict[str, str], **params: Any) -> list[Any]:
    answer = await api.get(AUDIT, headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["data"]
    return found


async def seen_after(
    api: httpx.AsyncClient, headers: dict[str, str], written: httpx.Response, **params: Any
) -> list[Any]:
    token = {"consistency-token": written.headers["consistency-token"], "prefer": "wait=10"}
    return await items(api, {**headers, **token}, **params)


async def test_an_entrys_life_is_told_with_before_and_after(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str]
) -> None:
    body = {"date": "2026-03-01", "title": "First", "content": "warm day", "mood": "happy"}
    written = await api.post("/v1/journal/entries", json=body, headers=anna)
    path = f"/v1/journal/entries/{written.json()['data']['id']}"
    request = {"x-request-id": "req_of_the_change", "if-match": '"1"'}
    change = {"mood": "sad", "title": "Second"}
    await api.patch(path, json=change, headers={**anna, **request})
    deleted = await api.delete(path, headers={**anna, "if-match": '"2"'})

    target = f"journal.entry-{written.json()['data']['id']}"
    gone, revised, begun = await seen_after(api, ops, deleted, target=target)

    for item in (gone, revised, begun):
        assert set(item) >= SHAPE
        assert item["actor"] == begun["actor"]
        assert item["actor"].startswith("user:")
        assert item["category"] == "user_data"
        assert (item["address"], item["agent"]) == ("203.0.113.9", AGENT)
    assert begun["action"] == "journal.EntryWritten"
    assert begun["before"] is None
    assert begun["after"]["title"] == "First"
    assert revised["request_id"] == "req_of_the_change"
    assert revised["before"] == {"title": "First", "mood": "happy"}
    assert revised["after"] == {"title": "Second", "mood": "sad"}
    assert (gone["before"], gone["after"]) == ({"state": "active"}, {"state": "deleted"})


async def test_what_is_personal_needs_a_permission_of_its_own(
    api: httpx.AsyncClient,
    ops: dict[str, str],
    anna: dict[str, str],
    half_an_operator: dict[str, str],
) -> None:
    body = {"date": "2026-03-02", "title": "canary-title", "content": "canary-content"}
    written = await api.post("/v1/journal/entries", json=body, headers=anna)
    target = f"journal.entry-{written.json()['data']['id']}"
    [open_item] = await seen_after(api, ops, written, target=target)
    [item] = await seen_after(api, half_an_operator, written, target=target)
    assert open_item["after"]["content"] == "canary-content"
    assert item["after"]["content"] == item["after"]["title"] == SEALED
    assert item["after"]["date"] == "2026-03-02"
    assert (item["address"], item["agent"]) == (SEALED, SEALED)
    login = (await items(api, half_an_operator, action="accounts.LoggedIn", limit=1))[0]
    assert (login["address"], login["agent"]) == (SEALED, SEALED)
    everything = await api.get(AUDIT, headers=half_an_operator, params={"limit": 100})
    assert "canary" not in everything.text


async def test_a_login_tells_address_and_agent(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str]
) -> None:
    [login] = (await items(api, ops, action="accounts.LoggedIn", category="security_event"))[:1]
    assert (login["address"], login["agent"]) == ("203.0.113.9", AGENT)


async def test_an_operators_action_keeps_its_reason(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str], database: Database
) -> None:
    item_id = uuid.uuid4()
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO projection_quarantine (id, projection, stream_id, position, topic, error,"
            " state, next_try_at) VALUES (%s, 'none', 's', 1, 't', 'ValueError', 'parked', now())",
            (item_id,),
        )
    headers = {**ops, "x-request-id": "req_of_a_discard", "idempotency-key": "discard-1"}
    path = f"/v1/ops/quarantine/{item_id}/discard"
    for _ in range(2):  # the second is answered from the first
        answer = await api.post(path, json={"reason": "a broken writer"}, headers=headers)
        assert answer.status_code == 202, answer.text
    [item] = await seen_after(api, ops, answer, target=str(item_id))
    assert item["action"] == "quarantine.discard"
    assert item["reason"] == "a broken writer"
    assert item["category"] == "system_event"
    assert item["request_id"] == "req_of_a_discard"
    assert (item["address"], item["agent"]) == ("203.0.113.9", AGENT)
    assert (item["before"], item["after"]) == ({"state": "parked"}, {"state": "discarded"})


async def test_every_verb_on_a_projection_is_noted(
    api: httpx.AsyncClient, ops: dict[str, str]
) -> None:
    for verb in ("pause", "resume", "verify", "rollback", "rebuild"):
        body = {"max_lag_seconds": 2.5} if verb == "rebuild" else {}
        asked = await api.post(f"/v1/ops/projections/journal.tags/{verb}", json=body, headers=ops)
        assert asked.status_code == 202
        [item] = (await seen_after(api, ops, asked, target="journal.tags"))[:1]
        assert item["action"] == f"projection.{verb}"
        operation = asked.json()["data"]["id"]
        cancelled = await api.delete(f"/v1/operations/{operation}", headers=ops)
        assert cancelled.status_code == 202
        [item] = await seen_after(api, ops, cancelled, target=operation)
        assert (item["action"], item["after"]) == (
            "operation.cancel", {"kind": f"projection.{verb}"},
        )  # fmt: skip
    [item] = (await items(api, ops, target="journal.tags"))[:1]
    assert item["after"]["max_lag_seconds"] == 2.5


async def test_pages_go_on_newest_first_and_filters_hold(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str]
) -> None:
    async def all_there() -> bool:
        return len(await items(api, ops, limit=100)) >= 10

    await eventually_async(all_there)
    everything = await items(api, ops, limit=100)
    moments = [item["at"] for item in everything]
    assert moments == sorted(moments, reverse=True)
    first = await api.get(AUDIT, headers=ops, params={"limit": 4})
    cursor = first.json()["meta"]["next_cursor"]
    second = await items(api, ops, limit=4, cursor=cursor)
    assert [item["id"] for item in first.json()["data"] + second] == [
        item["id"] for item in everything[:8]
    ]
    of_anna = everything[-1]["actor"]
    for item in await items(api, ops, actor=of_anna, limit=100):
        assert item["actor"] == of_anna
    middle = moments[len(moments) // 2]
    assert all(item["at"] >= middle for item in await items(api, ops, **{"from": middle}))
    assert all(item["at"] < middle for item in await items(api, ops, to=middle))
    strange = await api.get(AUDIT, headers=ops, params={"cursor": cursor, "actor": "x"})
    assert strange.status_code == 422
    wrong = await api.get(AUDIT, headers=ops, params={"category": "gossip", "sort": "x"})
    assert wrong.status_code == 422
    assert {fault["field"] for fault in wrong.json()["errors"]} == {"category", "sort"}


async def test_what_the_command_line_does_is_noted_too(
    api: httpx.AsyncClient, ops: dict[str, str], settings: Settings
) -> None:
    async with desk(settings) as opened:
        item = uuid.uuid4()
        await opened.care.retry(opened.new(RETRY, {"item_id": str(item)}), item_id=item)
        pause = opened.new(PAUSE_REACTION, {"reaction": "accounts.letters"})
        await opened.care.pause_reaction(pause, "accounts.letters", True)

    async def both_there() -> bool:
        found = await items(api, ops, actor="system:cli", category="system_event")
        return [(each["action"], each["target"]) for each in found] == [
            ("reaction.pause", "accounts.letters"),
            ("quarantine.retry", str(item)),
        ]

    await eventually_async(both_there)


async def test_the_log_is_operators_alone(api: httpx.AsyncClient, anna: dict[str, str]) -> None:
    for path in (AUDIT, "/v1/ops/requests"):
        assert (await api.get(path)).status_code == 401
        assert (await api.get(path, headers=anna)).status_code == 403


async def test_from_where_somebody_acted_is_sealed_and_no_field_of_an_event(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str], database: Database
) -> None:
    with psycopg.connect(database.owner_dsn) as connection:
        [(clear,)] = connection.execute(
            "SELECT count(*) FROM events WHERE position(%s::bytea IN data) > 0"
            " OR position(%s::bytea IN data) > 0",
            (b"203.0.113.9", AGENT.encode()),
        ).fetchall()
    assert clear == 0
    for topic in ("journal.EntryDeleted.v1", "journal.EntryWritten.v1"):
        listed = await api.get("/v1/ops/events", headers=ops, params={"topic": topic})
        assert {event["topic"] for event in listed.json()["data"]} == {topic}
        assert all("@" not in event["data"] for event in listed.json()["data"])


def test_nothing_that_people_wrote_lies_in_the_table(database: Database) -> None:
    with psycopg.connect(database.read_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM ops_audit").fetchone() == (0,)
    with psycopg.connect(database.owner_dsn) as connection:
        rows = connection.execute("SELECT ops_audit::text FROM ops_audit").fetchall()
    assert len(rows) > 10
    assert not any("canary" in row[0] or "203.0.113" in row[0] for row in rows)
