"""What operators ask and see over HTTP, on real servers, with a worker beside them."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.oversight import PostgresOversight
from adapters.postgres.pipeline import Pipeline
from bootstrap import wiring
from bootstrap.engine import DirectEngine
from bootstrap.settings import Settings
from bootstrap.views import VIEWS
from projections.oversight import EventFilter
from tests.support.accounts import PASSWORD
from tests.support.apps import served
from tests.support.servers import Database
from tests.support.waiting import eventually_async
from workers.projections import Tending, tend

pytestmark = pytest.mark.anyio

PROJECTIONS = "/v1/ops/projections"
QUARANTINE = "/v1/ops/quarantine"
SHAPE = set(
    "name version status generation position head gap_events gap_seconds events_per_second"
    " partitions quarantined_streams blocked_by rebuild".split()
)


class Worker:
    """Does what was accepted when it is told to, as the broker's worker would."""

    def __init__(self, operations: Any, engine: Any) -> None:
        self.tending = Tending(operations, engine, asyncio.Semaphore(4))

    async def do(self, answer: httpx.Response) -> None:
        assert answer.status_code == 202, answer.text
        await tend(uuid.UUID(answer.json()["data"]["id"]), self.tending)


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
async def worker(settings: Settings, api: httpx.AsyncClient) -> AsyncIterator[Worker]:
    side = wiring.WriteSide(settings)
    async with side.opened():
        yield Worker(side.operations, DirectEngine(settings.write_dsn or "", side.keys))


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
    headers = await log_in(api, "anna@example.com", PASSWORD)
    for day in range(1, 4):
        entry = {"date": f"2024-01-0{day}", "title": "t", "content": "nobody's business"}
        written = await api.post("/v1/journal/entries", json=entry, headers=headers)
        assert written.status_code == 201
    return headers


async def get(api: httpx.AsyncClient, path: str, headers: dict[str, str], **params: Any) -> Any:
    answer = await api.get(path, headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def caught_up(api: httpx.AsyncClient, ops: dict[str, str]) -> None:
    async def all_there() -> bool:
        return not any(each["gap_events"] for each in await get(api, PROJECTIONS, ops))

    await eventually_async(all_there)


@contextlib.contextmanager
def owner(database: Database) -> Any:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        yield connection


READS = ["projections", "projections/journal.entries", "reactions", "quarantine", "events"]
READS += ["operations", "jobs", "audit", "requests"]
WRITES = [f"projections/journal.entries/{verb}" for verb in
          ("rebuild", "pause", "resume", "verify", "rollback")]  # fmt: skip
WRITES += ["quarantine/retry", "quarantine/discard", f"quarantine/{uuid.UUID(int=1)}/retry"]
WRITES += [f"quarantine/{uuid.UUID(int=1)}/discard"]


async def test_only_operators_may(api: httpx.AsyncClient, anna: dict[str, str]) -> None:
    for method, paths in (("GET", READS), ("POST", WRITES)):
        for path in paths:
            answer = await api.request(method, f"/v1/ops/{path}")
            assert answer.status_code == 401, path
            answer = await api.request(method, f"/v1/ops/{path}", headers=anna)
            assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), path


async def test_projections_have_the_contracts_shape(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str]
) -> None:
    await caught_up(api, ops)
    listed = await get(api, PROJECTIONS, ops)
    assert [each["name"] for each in listed] == sorted(view.name for view in VIEWS)
    for each in listed:
        assert set(each) >= SHAPE
        assert (each["status"], each["gap_events"], each["blocked_by"]) == ("live", 0, None)
        assert set(each["partitions"][0]) == {"index", "position", "owner", "status"}
    one = await get(api, f"{PROJECTIONS}/journal.entries", ops)
    assert one["name"] == "journal.entries"
    assert (await api.get(f"{PROJECTIONS}/nothing", headers=ops)).status_code == 404
    reactions = await get(api, "/v1/ops/reactions", ops)
    assert "accounts.verification_mail" in {each["name"] for each in reactions}
    for each in reactions:
        assert set(each) >= {"status", "position", "head", "gap_events", "gap_seconds"}
        # Nobody works on them here, and that is what is said, not that they are up to date.
        assert each["status"] == "stopped"
        assert each["gap_events"] == each["head"] - each["position"] > 0
    name = reactions[0]["name"]
    assert (await get(api, f"/v1/ops/reactions/{name}", ops))["name"] == name
    assert (await api.get("/v1/ops/reactions/nothing", headers=ops)).status_code == 404
    for verb, status in (("pause", "paused"), ("resume", "stopped")):
        done = await api.post(f"/v1/ops/reactions/{name}/{verb}", headers=ops, json={})
        assert (done.status_code, done.json()["data"]["state"]) == (202, "succeeded"), done.text
        assert (await get(api, f"/v1/ops/reactions/{name}", ops))["status"] == status
        unknown = await api.post(f"/v1/ops/reactions/nothing/{verb}", headers=ops, json={})
        assert unknown.status_code == 404
        body = {"reason": "none"}
        wrong = await api.post(f"/v1/ops/reactions/{name}/{verb}", headers=ops, json=body)
        assert wrong.status_code == 422


async def test_a_rebuild_is_an_operation_with_a_result(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str], worker: Worker
) -> None:
    await caught_up(api, ops)
    path = f"{PROJECTIONS}/journal.entries"
    accepted = await api.post(f"{path}/rebuild", headers=ops, json={"max_lag_seconds": 5})
    operation = accepted.json()["data"]
    assert accepted.headers["location"] == f"/v1/operations/{operation['id']}"
    assert (operation["kind"], operation["state"]) == ("projection.rebuild", "pending")
    before = await get(api, path, ops)
    await worker.do(accepted)
    operation = await get(api, accepted.headers["location"], ops)
    assert (operation["state"], operation["progress"]) == ("succeeded", 1)
    assert operation["result"]["equal"] is True
    assert operation["result"]["swapped"] is True
    assert operation["result"]["rows"] == 3
    after = await get(api, path, ops)
    assert after["generation"] == operation["result"]["generation"] == before["generation"] + 1

    accepted = await api.post(f"{path}/verify", headers=ops)
    await worker.do(accepted)
    found = (await get(api, accepted.headers["location"], ops))["result"]
    assert (found["equal"], found["rows_live"], found["differences"]) == (True, 3, [])

    accepted = await api.post(f"{path}/rollback", headers=ops, json={})
    await worker.do(accepted)
    assert (await get(api, accepted.headers["location"], ops))["state"] == "succeeded"
    assert (await get(api, path, ops))["generation"] == before["generation"]


async def test_differences_fail_a_rebuild_and_are_listed(
    api: httpx.AsyncClient,
    ops: dict[str, str],
    anna: dict[str, str],
    worker: Worker,
    database: Database,
) -> None:
    await caught_up(api, ops)
    path = f"{PROJECTIONS}/journal.days"
    with owner(database) as connection:
        connection.execute("DELETE FROM journal_days WHERE ctid IN (SELECT ctid FROM journal_days"
                           " LIMIT 1)")  # fmt: skip
    accepted = await api.post(f"{path}/verify", headers=ops)
    await worker.do(accepted)
    operation = await get(api, accepted.headers["location"], ops)
    assert (operation["state"], operation["result"]["equal"]) == ("succeeded", False)
    [difference] = operation["result"]["differences"]
    assert difference["live"] is None
    accepted = await api.post(f"{path}/rebuild", headers=ops)
    await worker.do(accepted)
    operation = await get(api, accepted.headers["location"], ops)
    assert (operation["state"], operation["error"]["code"]) == ("failed", "DIFFERENCES")
    assert operation["result"]["swapped"] is False
    accepted = await api.post(f"{path}/rebuild", headers=ops, json={"accept_differences": True})
    await worker.do(accepted)
    operation = await get(api, accepted.headers["location"], ops)
    assert (operation["state"], operation["result"]["swapped"]) == ("succeeded", True)


async def test_pause_and_resume_show_in_the_status(
    api: httpx.AsyncClient, ops: dict[str, str], worker: Worker
) -> None:
    path = f"{PROJECTIONS}/journal.tags"
    for verb, paused in (("pause", True), ("resume", False)):
        accepted = await api.post(f"{path}/{verb}", headers=ops)
        await worker.do(accepted)
        assert (await get(api, accepted.headers["location"], ops))["state"] == "succeeded"
        assert ((await get(api, path, ops))["status"] == "paused") is paused
    await caught_up(api, ops)


async def test_what_is_asked_is_checked(api: httpx.AsyncClient, ops: dict[str, str]) -> None:
    path = f"{PROJECTIONS}/accounts.people/rebuild"
    for body, code, fields in (
        ({"nonsense": 1}, "VALIDATION_FAILED", {"nonsense"}),
        ({"partitions": 0, "max_lag_seconds": "x"}, "VALIDATION_FAILED",
         {"partitions", "max_lag_seconds"}),
        ({"from": "yesterday"}, "VALIDATION_FAILED", {"from"}),
        ({"key": "x", "to": "2024-01-01T00:00:00Z"}, "VALIDATION_FAILED", {"key"}),
        ({"from": "2024-01-01T00:00:00Z", "to": "2023-01-01T00:00:00Z"}, "VALIDATION_FAILED",
         {"to"}),
        ({"from": "2024-01-01T00:00:00Z"}, "RANGE_NOT_SUPPORTED", set()),
        ({"key": "x"}, "VALIDATION_FAILED", {"key"}),
        ({"key": "x", "partitions": 0, "nonsense": 1}, "VALIDATION_FAILED",
         {"key", "partitions", "nonsense"}),
        ({"from": "2024-01-01T00:00:00Z", "to": "2023-01-01T00:00:00Z", "max_lag_seconds": -1},
         "VALIDATION_FAILED", {"to", "max_lag_seconds"}),
        ({"key": 5, "from": 1}, "VALIDATION_FAILED", {"key", "from"}),
        ([], "VALIDATION_FAILED", {""}),
    ):  # fmt: skip
        answer = await api.post(path, headers=ops, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code), body
        assert {fault["field"] for fault in answer.json().get("errors", ())} == fields
    assert (await api.post(path, headers=ops, content=b"{")).status_code in (400, 415)
    for verb in ("rebuild", "pause", "resume", "verify", "rollback"):
        answer = await api.post(f"{PROJECTIONS}/nothing/{verb}", headers=ops, json={"x": 1})
        assert answer.status_code == 404
    answer = await api.post(f"{PROJECTIONS}/accounts.people/pause", headers=ops, json={"x": 1})
    assert answer.status_code == 422


async def test_a_range_and_a_key_mend_the_live_rows(
    api: httpx.AsyncClient,
    ops: dict[str, str],
    anna: dict[str, str],
    worker: Worker,
    database: Database,
) -> None:
    await caught_up(api, ops)
    entries = await get(api, "/v1/journal/entries", anna)
    for body in ({"from": "2020-01-01T00:00:00Z"}, {"key": entries[0]["id"]}):
        with owner(database) as connection:
            connection.execute("DELETE FROM journal_days")
        path = f"{PROJECTIONS}/journal.days/rebuild"
        accepted = await api.post(path, headers=ops, json=body)
        await worker.do(accepted)
        ended = await get(api, accepted.headers["location"], ops)
        assert ended["state"] == "succeeded", ended
        assert (ended["result"]["swapped"], ended["result"]["equal"]) == (False, None)
        with owner(database) as connection:
            [rows] = connection.execute("SELECT count(*) FROM journal_days").fetchone()
        assert rows == (len(entries) if "from" in body else 1) == ended["result"]["rows"]
    accepted = await api.post(path, headers=ops, json={"accept_differences": True})
    await worker.do(accepted)


async def test_a_repeated_request_is_the_same_operation(
    api: httpx.AsyncClient, ops: dict[str, str], worker: Worker
) -> None:
    path = f"{PROJECTIONS}/accounts.people/verify"
    keyed = {**ops, "idempotency-key": str(uuid7())}
    first = await api.post(path, headers=keyed)
    second = await api.post(path, headers=keyed)
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json()["data"]["id"] == first.json()["data"]["id"]
    reused = await api.post(f"{PROJECTIONS}/accounts.people/rollback", headers=keyed)
    assert reused.json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    await worker.do(first)


async def test_events_hide_what_is_personal(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str], settings: Settings
) -> None:
    written = await api.get("/v1/ops/events", headers=ops, params={"topic": "journal.EntryWritten"})
    events = written.json()["data"]
    assert len(events) == 3
    assert events[0]["topic"] == "journal.EntryWritten.v1"
    assert events[0]["data"]["content"] == "nobody's business", "this operator has ops:personal"
    assert set(events[0]) == set(
        "position stream_id stream_version topic tenant_id recorded_at actor correlation_id"
        " causation_id data".split()
    )
    [same] = await get(api, "/v1/ops/events", ops, stream_id=events[0]["stream_id"])
    assert same == events[0]
    [same] = await get(api, "/v1/ops/events", ops, correlation_id=events[0]["correlation_id"])
    assert same == events[0]
    between = await get(
        api, "/v1/ops/events", ops,
        after=events[0]["position"], before=events[2]["position"], topic="journal.EntryWritten.v1",
    )  # fmt: skip
    assert between == events[1:2]
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await api.get("/v1/ops/events", headers=ops, params={"limit": 2, **cursor})
        seen += [each["position"] for each in answer.json()["data"]]
        if (following := answer.json()["meta"]["next_cursor"]) is None:
            break
        cursor = {"cursor": following}
    assert seen == list(range(1, len(seen) + 1))
    pipeline = Pipeline(settings.read_dsn or "", role="mindstream_read")
    await pipeline.open()
    try:  # the same question without the permission
        wanted = EventFilter(stream_id=events[0]["stream_id"])
        [hidden] = await PostgresOversight(pipeline, ()).events(wanted, personal=False, limit=1)
    finally:
        await pipeline.close()
    assert hidden.data["content"] == {"sealed": True}
    assert hidden.data["entry_id"]


async def test_operators_see_everybodys_operations(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str]
) -> None:
    imported = await api.post(
        "/v1/journal/import",
        content=b"",
        headers={**anna, "content-type": "application/x-ndjson"},
    )
    location = imported.headers["location"]
    assert (await get(api, location, ops))["kind"] == "journal.import"
    own = await api.post(f"{PROJECTIONS}/journal.tags/verify", headers=ops)
    assert (await api.get(own.headers["location"], headers=anna)).status_code == 404
    assert (await api.delete(own.headers["location"], headers=anna)).status_code == 404
    assert (await api.delete(location, headers=ops)).status_code == 404, "not theirs to cancel"
    for path in ("/v1/ops/operations", "/v1/ops/jobs"):
        first, second = (await get(api, path, ops, limit=2))[:2]
        assert (first["id"], second["id"]) == (
            own.json()["data"]["id"],
            imported.json()["data"]["id"],
        )
        pending = await get(api, path, ops, state="pending", kind="projection.verify")
        assert first["id"] in {each["id"] for each in pending}
        assert {each["state"] for each in pending} == {"pending"}
        one = await api.get(path, headers=ops, params={"limit": 1})
        cursor = one.json()["meta"]["next_cursor"]
        [following] = await get(api, path, ops, limit=1, cursor=cursor)
        assert following["id"] == second["id"]
    cancelled = await api.delete(own.headers["location"], headers=ops)
    assert (cancelled.status_code, cancelled.json()["data"]["state"]) == (202, "cancelled")


def put_item(database: Database, stream_id: str, position: int, projection: str) -> str:
    """An event that could not be folded, as the projector would put it."""
    item = str(uuid7())
    with owner(database) as connection:
        connection.execute(
            "INSERT INTO projection_quarantine (id, projection, stream_id, position, topic, error,"
            " state, next_try_at) VALUES (%s, %s, %s, %s, 'journal.EntryWritten.v1',"
            " 'ValueError in Entries.fold', 'parked', now() + interval '1 day')",
            (item, projection, stream_id, position),
        )
    return item


def forget_items(database: Database) -> None:
    with owner(database) as connection:
        connection.execute("DELETE FROM projection_quarantine")


async def test_quarantine_is_listed_retried_and_discarded(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str], database: Database
) -> None:
    items = [put_item(database, f"journal.entry-{n}", 10_000 + n, "no.such") for n in range(3)]
    listed = await get(api, QUARANTINE, ops, projection="no.such")
    assert [each["id"] for each in listed] == items[::-1]
    assert set(listed[0]) >= set(
        "id projection partition stream_id position topic error attempts state waiting_events"
        " first_failed_at last_failed_at".split()
    )
    [one] = await get(api, QUARANTINE, ops, stream_id="journal.entry-1", state="parked")
    assert one == listed[1]
    page = await api.get(QUARANTINE, headers=ops, params={"limit": 2})
    cursor = page.json()["meta"]["next_cursor"]
    [last] = await get(api, QUARANTINE, ops, limit=2, cursor=cursor)
    assert last["id"] == items[0]
    assert (await api.get(QUARANTINE, headers=ops, params={"state": "x"})).status_code == 422

    accepted = await api.post(f"{QUARANTINE}/{items[0]}/retry", headers=ops, json={})
    operation = accepted.json()["data"]
    assert (accepted.status_code, operation["state"]) == (202, "succeeded")
    assert operation["result"] == {"count": 1, "ids": [items[0]]}
    assert await get(api, accepted.headers["location"], ops) == operation
    [found] = await get(api, QUARANTINE, ops, stream_id="journal.entry-0")
    assert found["state"] == "retrying"

    path = f"{QUARANTINE}/{items[1]}/discard"
    for body in ({}, {"reason": ""}, {"reason": "r", "x": 1}):
        assert (await api.post(path, headers=ops, json=body)).status_code == 422
    keyed = {**ops, "idempotency-key": str(uuid7())}
    accepted = await api.post(path, headers=keyed, json={"reason": "a fault of v1"})
    assert accepted.json()["data"]["result"]["ids"] == [items[1]]
    again = await api.post(path, headers=keyed, json={"reason": "a fault of v1"})
    assert again.json() == accepted.json()
    [found] = await get(api, QUARANTINE, ops, stream_id="journal.entry-1")
    assert (found["state"], found["reason"]) == ("discarded", "a fault of v1")

    accepted = await api.post(f"{QUARANTINE}/retry", headers=ops, json={"projection": "no.such"})
    assert set(accepted.json()["data"]["result"]["ids"]) == {items[0], items[2]}
    body = {"error": "ValueError", "stream_id": "journal.entry-2", "reason": "r"}
    accepted = await api.post(f"{QUARANTINE}/discard", headers=ops, json=body)
    assert accepted.json()["data"]["result"]["ids"] == [items[2]]
    for verb in ("retry", "discard"):
        answer = await api.post(f"{QUARANTINE}/{uuid7()}/{verb}", headers=ops, json={})
        assert answer.status_code == 404
    forget_items(database)


async def test_a_fresh_read_of_what_waits_in_quarantine_is_refused(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str], database: Database
) -> None:
    entry = {"date": "2025-01-01", "title": "t", "content": "c"}
    written = await api.post("/v1/journal/entries", json=entry, headers=anna)
    path, token = written.headers["location"], written.headers["consistency-token"]
    fresh = {**anna, "consistency-token": token}
    await get(api, path, fresh)
    [event] = await get(
        api, "/v1/ops/events", ops, stream_id=f"journal.entry-{written.json()['data']['id']}"
    )
    put_item(database, event["stream_id"], event["position"], "journal.entries")
    with owner(database) as connection:  # as the projector does in that transaction
        connection.execute(
            "SELECT pg_notify('mindstream_projected', %s)",
            (f'{{"position": {event["position"]}, "projections": {{}}, "users": null}}',),
        )

    async def refused() -> bool:
        answer = await api.get(path, headers=fresh)
        return answer.status_code == 503 and answer.json()["code"] == "READ_MODEL_BEHIND"

    await eventually_async(refused, within=1)
    problem = (await api.get(path, headers=fresh)).json()
    assert (problem["projection"], problem["lag"]) == ("journal.entries", 1)
    assert (await api.get(path, headers=anna)).status_code == 200, "nothing was asked for"
    other = await api.get("/v1/ops/projections/journal.entries", headers=ops)
    assert other.json()["data"]["quarantined_streams"] == 1
    foreign = {**ops, "consistency-token": token}
    assert (await api.get("/v1/journal/entries", headers=foreign)).status_code == 200
    later = await api.post(
        "/v1/journal/entries", json={**entry, "date": "2025-01-02"}, headers=anna
    )
    following = {**anna, "consistency-token": later.headers["consistency-token"]}
    await get(api, later.headers["location"], following)
    forget_items(database)

    async def answered() -> bool:
        return (await api.get(path, headers=fresh)).status_code == 200

    await eventually_async(answered)


async def test_who_blocks_a_projection_is_named_without_what_people_wrote(
    api: httpx.AsyncClient, ops: dict[str, str], anna: dict[str, str], database: Database
) -> None:
    await caught_up(api, ops)
    with owner(database) as connection, connection.transaction():
        connection.execute(
            "LOCK TABLE journal_entries IN ACCESS EXCLUSIVE MODE; SELECT 'a secret', 'it''s'"
        )
        pid = connection.info.backend_pid
        entry = {"date": "2025-02-01", "title": "t", "content": "c"}
        await api.post("/v1/journal/entries", json=entry, headers=anna)
        found: list[Any] = []

        async def blocked() -> bool:
            found[:] = [await get(api, f"{PROJECTIONS}/journal.entries", ops)]
            return found[0]["blocked_by"] is not None

        await eventually_async(blocked)
        [blocker] = found[0]["blocked_by"]
        assert set(blocker) == {"pid", "query", "since"}
        assert blocker["pid"] == pid
        assert blocker["query"].startswith("LOCK TABLE journal_entries")
        assert "secret" not in blocker["query"]
        assert found[0]["quarantined_streams"] == 0
    await caught_up(api, ops)
    assert (await get(api, f"{PROJECTIONS}/journal.entries", ops))["blocked_by"] is None
