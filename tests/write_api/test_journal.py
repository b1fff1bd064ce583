"""The journal's calls, from a write to the read that shows it, on real parts."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from uuid_utils.compat import uuid7

from tests.support.journal_stack import Stack, running_stack
from tests.support.servers import Database

pytestmark = pytest.mark.anyio

ENTRIES = "/v1/journal/entries"


def draft(date: str = "2026-03-01", **fields: Any) -> dict[str, Any]:
    return {"date": date, "title": "A day", "content": "Two words", **fields}


@pytest.fixture(scope="module")
async def stack(database: Database) -> AsyncIterator[Stack]:
    async with running_stack(database) as running:
        yield running


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with stack.client(uuid7()) as person:
        yield person


def fresh(answer: httpx.Response) -> dict[str, str]:
    return {"consistency-token": answer.headers["consistency-token"], "prefer": "wait=10"}


async def written(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    answer = await client.post(ENTRIES, json=draft(**fields))
    assert answer.status_code == 201, answer.text
    return answer


async def test_what_is_written_is_read_back_to_the_byte(client: httpx.AsyncClient) -> None:
    answer = await written(
        client, content="eins\u00a0zwei\tdrei", tags=[" Walks ", "walks", "ÄRGER"], mood="happy"
    )
    entry = answer.json()["data"]
    assert entry["word_count"] == 3
    assert entry["reading_time_seconds"] == 1
    assert entry["tags"] == ["walks", "ärger"]
    assert entry["version"] == 1
    assert entry["state"] == "active"
    assert entry["attachments"] == []
    assert entry["mood_inferred"] is None
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"] == f"{ENTRIES}/{entry['id']}"
    read = await client.get(answer.headers["location"], headers=fresh(answer))
    assert read.status_code == 200
    assert read.json()["data"] == entry
    assert read.headers["etag"] == '"1"'
    assert read.headers["consistency-token"]
    again = await client.get(answer.headers["location"], headers={"if-none-match": '"1"'})
    assert again.status_code == 304
    assert again.content == b""


async def test_a_day_has_one_entry(client: httpx.AsyncClient) -> None:
    first = await written(client)
    second = await client.post(ENTRIES, json=draft())
    assert second.status_code == 409
    assert second.json()["code"] == "DUPLICATE_ENTRY_DATE"
    assert second.json()["entry_id"] == first.json()["data"]["id"]


async def test_all_faults_at_once(client: httpx.AsyncClient) -> None:
    body = draft(
        date="2024-02-30", title="", content="x" * 10_001, mood="glad", tags=["", "x" * 51], no=1
    )
    answer = await client.post(ENTRIES, json=body)
    assert answer.status_code == 422
    faults = {(fault["field"], fault["code"]) for fault in answer.json()["errors"]}
    assert faults == {
        ("date", "invalid_format"),
        ("title", "too_short"),
        ("content", "too_long"),
        ("mood", "not_allowed"),
        ("tags.0", "too_short"),
        ("tags.1", "too_long"),
        ("no", "unknown_field"),
    }


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b'{"date": "2026-01-01", "title": "\xff", "content": "x"}', 400, None),
        (b"[]", 422, ""),
        (b'{"date":"2026-01-01","title":"a\\u0000","content":"x"}', 422, "title"),
        (b'{"date":"2026-01-01","title":"a","content":"\\ud800"}', 422, "content"),
        (b'{"date":"2026-01-01","title":"a","content":"x","tags":["\\u0000"]}', 422, "tags.0"),
        (b'{"date":"0000-01-01","title":"a","content":"x"}', 422, "date"),
        (b'{"date":"2026-01-01","title":"a","content":"x","is_private":null}', 422, "is_private"),
        (b'{"date":"2026-01-01","title":"a","content":"x","tags":["  "]}', 422, "tags.0"),
        (b"[" * 100_000, 400, None),
    ],
)
async def test_bad_bodies(
    client: httpx.AsyncClient, body: bytes, status: int, field: str | None
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post(ENTRIES, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert field in [fault["field"] for fault in answer.json()["errors"]]


async def test_ten_thousand_emoji_fit_and_one_more_does_not(client: httpx.AsyncClient) -> None:
    await written(client, content="😀" * 10_000)
    answer = await client.post(ENTRIES, json=draft("2026-03-02", content="😀" * 10_001))
    assert answer.status_code == 422
    assert (await written(client, date="9999-12-31")).status_code == 201
    assert (await written(client, date="0001-01-01")).status_code == 201


async def test_revision_needs_the_current_version(client: httpx.AsyncClient) -> None:
    first = await written(client, location="Porto")
    path = first.headers["location"]
    assert (await client.patch(path, json={"title": "New"})).status_code == 428
    revised = await client.patch(
        path, json={"title": "New", "location": None}, headers={"if-match": '"1"'}
    )
    assert revised.status_code == 200
    assert revised.json()["data"]["location"] is None
    assert revised.headers["etag"] == '"2"'
    stale = await client.patch(path, json={"title": "Old"}, headers={"if-match": '"1"'})
    assert stale.status_code == 412
    assert stale.json()["code"] == "VERSION_STALE"
    same = await client.patch(path, json={"title": "New"}, headers={"if-match": '"2"'})
    assert same.json()["data"]["version"] == 2
    weak = await client.patch(path, json={"title": "W"}, headers={"if-match": 'W/"2"'})
    assert weak.status_code == 412
    read = await client.get(path, headers=fresh(revised))
    assert read.json()["data"] == revised.json()["data"]


async def test_of_fifty_writers_on_one_version_one_wins(client: httpx.AsyncClient) -> None:
    path = (await written(client)).headers["location"]
    answers = await asyncio.gather(
        *(
            client.patch(path, json={"title": f"No {n}"}, headers={"if-match": '"1"'})
            for n in range(50)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 49


async def test_fifty_retries_at_once_are_one_entry(client: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "once"}
    answers = await asyncio.gather(
        *(client.post(ENTRIES, json=draft(), headers=headers) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    other = await client.post(ENTRIES, json=draft("2026-03-02"), headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_a_refusal_is_kept_and_a_fault_is_not(client: httpx.AsyncClient) -> None:
    await written(client)
    headers = {"idempotency-key": "again"}
    first = await client.post(ENTRIES, json=draft(), headers=headers)
    second = await client.post(ENTRIES, json=draft(), headers=headers)
    assert first.status_code == second.status_code == 409
    assert second.content == first.content
    assert second.headers["idempotency-replayed"] == "true"
    bad = {"idempotency-key": "bad"}
    assert (await client.post(ENTRIES, json={}, headers=bad)).status_code == 422
    assert (await client.post(ENTRIES, json=draft("2026-03-02"), headers=bad)).status_code == 201


async def test_a_retried_patch_and_delete_answer_as_at_first(client: httpx.AsyncClient) -> None:
    path = (await written(client)).headers["location"]
    headers = {"if-match": '"1"', "idempotency-key": "patch"}
    first = await client.patch(path, json={"title": "New"}, headers=headers)
    second = await client.patch(path, json={"title": "New"}, headers=headers)
    assert (first.status_code, second.content) == (200, first.content)
    headers = {"if-match": '"2"', "idempotency-key": "delete"}
    assert (await client.delete(path, headers=headers)).status_code == 204
    again = await client.delete(path, headers=headers)
    assert again.status_code == 204
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["consistency-token"]


async def test_delete_restore_and_write_again(client: httpx.AsyncClient) -> None:
    first = await written(client)
    path, entry = first.headers["location"], first.json()["data"]
    gone = await client.delete(path, headers={"if-match": "*"})
    assert gone.status_code == 204
    assert gone.headers["consistency-token"]
    assert (await client.get(path, headers=fresh(gone))).status_code == 404
    assert (await client.patch(path, json={}, headers={"if-match": "*"})).status_code == 404
    assert (await client.delete(path, headers={"if-match": "*"})).status_code == 404
    back = await client.post(f"{path}/restore")
    assert back.status_code == 200
    assert back.json()["data"]["state"] == "active"
    assert back.json()["data"]["version"] == 3
    assert (await client.get(path, headers=fresh(back))).json()["data"] == back.json()["data"]
    await client.delete(path, headers={"if-match": '"3"'})
    again = await written(client, title="Afresh")
    assert again.json()["data"]["id"] == entry["id"]
    assert again.json()["data"]["version"] == 5
    history = await client.get(f"{path}/history", headers=fresh(again))
    types = [item["type"] for item in history.json()["data"]]
    assert types == [
        "EntryWritten",
        "EntryDeleted",
        "EntryRestored",
        "EntryDeleted",
        "EntryWritten",
    ]


async def test_a_move_takes_the_day_of_a_deleted_entry(client: httpx.AsyncClient) -> None:
    deleted = await written(client, date="2026-03-01")
    mover = await written(client, date="2026-03-02")
    third = await written(client, date="2026-03-03")
    path, moved = deleted.headers["location"], mover.headers["location"]
    await client.delete(path, headers={"if-match": "*"})
    to = {"date": "2026-03-01"}
    answer = await client.patch(moved, json=to, headers={"if-match": '"1"'})
    assert answer.status_code == 200
    taken = await client.patch(third.headers["location"], json=to, headers={"if-match": "*"})
    assert taken.status_code == 409
    assert taken.json()["entry_id"] == mover.json()["data"]["id"]
    refused = await client.post(f"{path}/restore")
    assert refused.status_code == 409
    assert refused.json()["entry_id"] == mover.json()["data"]["id"]
    await written(client, date="2026-03-02")  # the day that was left is free
    await client.delete(moved, headers={"if-match": "*"})
    assert (await client.post(f"{path}/restore")).status_code == 200


async def test_what_is_somebody_elses_is_unknown(stack: Stack, client: httpx.AsyncClient) -> None:
    path = (await written(client)).headers["location"]
    bad: dict[str, Any] = {"content": b"{", "headers": {"content-type": "application/json"}}
    async with stack.client() as other:
        for unknown in (path, f"{ENTRIES}/{uuid4()}", f"{ENTRIES}/nonsense"):
            for answer in (
                await other.get(unknown),
                await other.get(f"{unknown}/history"),
                await other.patch(unknown, **bad),
                await other.patch(unknown, json={"tags": [""]}, headers={"if-match": '"1"'}),
                await other.delete(unknown),
                await other.post(f"{unknown}/restore"),
            ):
                assert answer.status_code == 404, answer.text
                assert answer.json()["code"] == "NOT_FOUND"
    anonymous = await client.get(path, headers={"authorization": ""})
    assert anonymous.status_code == 401


async def test_pages(client: httpx.AsyncClient) -> None:
    last = None
    for day in range(1, 26):
        last = await written(
            client,
            date=f"2026-01-{day:02}",
            mood="happy" if day % 2 else None,
            tags=["odd", "all"] if day % 2 else ["all"],
            is_private=day == 3,
        )
    assert last is not None
    for sort in ("date", "-date", "updated_at", "-updated_at"):
        dates: list[str] = []
        cursor: str | None = None
        while True:
            query: dict[str, Any] = {"sort": sort, "limit": 10}
            if cursor:
                query["cursor"] = cursor
            page = await client.get(ENTRIES, params=query, headers=fresh(last))
            assert page.status_code == 200, page.text
            dates += [entry["date"] for entry in page.json()["data"]]
            cursor = page.json()["meta"]["next_cursor"]
            assert page.json()["meta"]["limit"] == 10
            if cursor is None:
                break
        expected = [f"2026-01-{day:02}" for day in range(1, 26)]
        assert dates == (expected if sort[0] != "-" else expected[::-1])
    odd = await client.get(ENTRIES, params={"tag": ["ODD", "all"], "limit": 100})
    assert len(odd.json()["data"]) == 13
    some = await client.get(
        ENTRIES,
        params={"date_from": "2026-01-03", "date_to": "2026-01-05", "mood": "happy"},
    )
    assert [entry["date"] for entry in some.json()["data"]] == ["2026-01-05", "2026-01-03"]
    private = await client.get(ENTRIES, params={"is_private": "true"})
    assert len(private.json()["data"]) == 1
    first = await client.get(ENTRIES, params={"limit": 5})
    cursor = first.json()["meta"]["next_cursor"]
    wrong = await client.get(ENTRIES, params={"limit": 5, "cursor": cursor, "sort": "date"})
    assert wrong.status_code == 422
    assert wrong.json()["code"] == "INVALID_CURSOR"
    for bad in ({"limit": 0}, {"limit": 101}, {"sort": "title"}, {"nonsense": 1}):
        assert (await client.get(ENTRIES, params=bad)).status_code == 422


async def test_history_and_the_entry_as_it_was(client: httpx.AsyncClient) -> None:
    first = await written(client)
    path = first.headers["location"]
    change = {"title": "New", "content": "three more words", "tags": ["x"]}
    second = await client.patch(path, json=change, headers={"if-match": '"1"'})
    history = await client.get(f"{path}/history", headers=fresh(second))
    items = history.json()["data"]
    assert [item["version"] for item in items] == [1, 2]
    assert items[1]["type"] == "EntryRevised"
    assert items[1]["changes"] == {
        "title": {"from": "A day", "to": "New"},
        "content": {"from": "Two words", "to": "three more words"},
        "tags": {"from": [], "to": ["x"]},
    }
    assert items[1]["actor"].startswith("user:")
    assert items[0]["changes"]["title"] == {"from": None, "to": "A day"}
    was = await client.get(f"{path}/history", params={"version": 1})
    assert was.json()["data"] == first.json()["data"]
    assert (await client.get(f"{path}/history", params={"version": 3})).status_code == 404
    assert (await client.get(f"{path}/history", params={"version": 0})).status_code == 422
    page = await client.get(f"{path}/history", params={"limit": 1})
    cursor = page.json()["meta"]["next_cursor"]
    rest = await client.get(f"{path}/history", params={"limit": 1, "cursor": cursor})
    assert rest.json()["data"] == items[1:]
    assert rest.json()["meta"]["next_cursor"] is None


async def test_tags_calendar_and_streak(client: httpx.AsyncClient) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    day = datetime.timedelta(1)
    last = None
    for back, tags in ((1, ["b", "a"]), (2, ["a"]), (4, ["ab"]), (5, []), (6, []), (7, [])):
        last = await written(client, date=str(today - back * day), tags=tags, mood="sad")
    assert last is not None
    found = (await client.get("/v1/journal/tags", headers=fresh(last))).json()
    assert found["data"] == [
        {"tag": "a", "count": 2},
        {"tag": "ab", "count": 1},
        {"tag": "b", "count": 1},
    ]
    page = (await client.get("/v1/journal/tags", params={"limit": 2})).json()
    cursor = page["meta"]["next_cursor"]
    rest = await client.get("/v1/journal/tags", params={"limit": 2, "cursor": cursor})
    assert rest.json()["data"] == [{"tag": "b", "count": 1}]
    suggested = await client.get("/v1/journal/tags/suggest", params={"prefix": "A"})
    assert [tag["tag"] for tag in suggested.json()["data"]] == ["a", "ab"]
    streak = (await client.get("/v1/journal/streak", headers=fresh(last))).json()["data"]
    assert streak == {
        "current": 2,
        "longest": 4,
        "last_entry_date": str(today - day),
        "streak_start_date": str(today - 2 * day),
    }
    written_on = today - 4 * day
    path = f"/v1/journal/calendar/{written_on.year}/{written_on.month}"
    days = (await client.get(path, headers=fresh(last))).json()["data"]
    assert len(days) >= 28
    assert {
        "date": str(written_on),
        "mood": "sad",
        "has_entry": True,
        "word_count": 2,
    } in days
    empty = (await client.get("/v1/journal/calendar/1/2")).json()["data"]
    assert empty[0] == {"date": "0001-02-01", "mood": None, "has_entry": False, "word_count": 0}
    assert len(empty) == 28
    for bad in ("2026/13", "2026/0", "0/1", "10000/1", "x/1"):
        assert (await client.get(f"/v1/journal/calendar/{bad}")).status_code == 422
    # Filling the gap joins the runs; a day ahead neither breaks nor lengthens the current one.
    joined = await written(client, date=str(today - 3 * day))
    ahead = await written(client, date=str(today + 30 * day))
    assert joined.status_code == 201
    streak = (await client.get("/v1/journal/streak", headers=fresh(ahead))).json()["data"]
    assert (streak["current"], streak["longest"]) == (7, 7)
    assert streak["streak_start_date"] == str(today - 7 * day)


async def test_reads_include_ones_own_writes(stack: Stack) -> None:
    async def person(number: int) -> None:
        async with stack.client(uuid7()) as client:
            for day in range(1, 11):
                answer = await written(client, date=f"2025-01-{day:02}", title=f"{number}")
                read = await client.get(answer.headers["location"], headers=fresh(answer))
                assert read.status_code == 200, read.text
                listed = await client.get(ENTRIES, headers=fresh(answer))
                assert len(listed.json()["data"]) == day

    await asyncio.gather(*(person(number) for number in range(8)))
