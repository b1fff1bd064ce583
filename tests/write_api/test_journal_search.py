"""The search over HTTP, from a write to the hit that shows it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_store.source import PostgresSource
from adapters.event_store.subject_keys import SubjectKeys
from adapters.sealing import Sealer
from projections.engine.rebuild import rebuild, verify
from projections.engine.view import RowView
from projections.journal.search import OUTSIDE, Searchable
from projections.journal.vocabulary import Vocabulary
from tests.support.journal_stack import Stack, running_stack
from tests.support.servers import Database

pytestmark = pytest.mark.anyio

SEARCH = "/v1/journal/search"


@pytest.fixture(scope="module")
async def stack(database: Database) -> AsyncIterator[Stack]:
    async with running_stack(database) as running:
        yield running


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with stack.client(uuid7()) as person:
        yield person


async def write(client: httpx.AsyncClient, day: int, content: str, **fields: Any) -> dict[str, str]:
    body = {"date": f"2026-03-{day:02}", "title": "A day", "content": content, **fields}
    answer = await client.post("/v1/journal/entries", json=body)
    assert answer.status_code == 201, answer.text
    return {"consistency-token": answer.headers["consistency-token"], "prefer": "wait=10"}


async def found(client: httpx.AsyncClient, fresh: dict[str, str], **query: Any) -> httpx.Response:
    answer = await client.get(SEARCH, params=query, headers=fresh)
    assert answer.status_code == 200, answer.text
    return answer


async def test_a_hit_has_the_shape_of_the_contract(client: httpx.AsyncClient) -> None:
    await write(client, 1, "nothing")
    fresh = await write(
        client, 2, "Tea & <b>cake</b> at the harbour", title="Harbours", mood="happy", tags=["Sea"]
    )
    answer = await found(client, fresh, q="harbour")
    body = answer.json()
    [hit] = body["data"]
    assert set(hit) == {"entry_id", "date", "title", "mood", "tags", "score", "highlights"}
    assert (hit["date"], hit["title"], hit["mood"], hit["tags"]) == (
        "2026-03-02", "Harbours", "happy", ["sea"],
    )  # fmt: skip
    assert hit["score"] > 0
    assert hit["highlights"] == {
        "title": ["<mark>Harbours</mark>"],
        "content": ["Tea &amp; &lt;b&gt;cake&lt;/b&gt; at the <mark>harbour</mark>"],
    }
    assert body["meta"] == {
        "next_cursor": None,
        "limit": 20,
        "total": 1,
        "facets": {
            "moods": [{"value": "happy", "count": 1}],
            "tags": [{"value": "sea", "count": 1}],
        },
    }
    assert answer.headers["consistency-token"]


async def test_private_entries_are_found_where_they_are_asked_for(
    client: httpx.AsyncClient,
) -> None:
    fresh = await write(client, 1, "a secret", is_private=True, mood="sad", tags=["hidden"])
    nothing = (await found(client, fresh, q="secret")).json()
    assert nothing["data"] == []
    assert nothing["meta"]["total"] == 0
    assert nothing["meta"]["facets"] == {"moods": [], "tags": []}
    everything = (await found(client, fresh, q="secret", include_private="true")).json()
    assert everything["meta"]["total"] == len(everything["data"]) == 1


async def test_pages_follow_each_other_and_belong_to_one_person(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    for day in range(1, 6):
        fresh = await write(client, day, "harbour", mood="happy")
    first = (await found(client, fresh, q="harbour", limit=2)).json()
    cursor = first["meta"]["next_cursor"]
    fresh = await write(client, 9, "harbour")  # newer: it belongs before the cursor
    second = (await found(client, fresh, q="harbour", limit=2, cursor=cursor)).json()
    dates = [hit["date"] for hit in first["data"] + second["data"]]
    assert dates == [f"2026-03-0{day}" for day in (5, 4, 3, 2)]
    assert second["meta"]["total"] == 6
    async with stack.client(uuid7()) as stranger:
        for params in (
            {"q": "harbour", "cursor": cursor},
            {"q": "harbour", "cursor": cursor[:-2] + "AA"},
        ):
            assert (await stranger.get(SEARCH, params=params)).status_code == 422
    other = await client.get(SEARCH, params={"q": "harbours", "cursor": cursor})
    assert (other.status_code, other.json()["code"]) == (422, "INVALID_CURSOR")


@pytest.mark.parametrize(
    "query",
    [
        "q=" + quote('"'), "q=-", "q=the+of", "q=" + quote("😀🎉"), "q=" + quote("!?&|():*'\\"),
        "q=" + quote('"a" -"b" --c "'), "q=", "", "q=%20", "tag=%F0%9F%98%80", "q=" + "x" * 1_000,
        "q=" + "+".join(["ab"] * 300), "tag=" + "t" * 5_000, "q=%E2%80%AE",
    ],
)  # fmt: skip
async def test_whatever_is_asked_has_an_answer(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"{SEARCH}?{query}")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("q=" + "x" * 10_000, "q"), ("q=" + "+".join(f"x{n}" for n in range(51)), "q"),
        ("q=a%00b", "q"), ("q=%FF", "q"), ("tag=a%00b", "tag.0"), ("mood=bored", "mood"),
        ("date_from=yesterday", "date_from"), ("date_to=2026-02-30", "date_to"),
        ("limit=0", "limit"),
        ("limit=101", "limit"), ("include_private=maybe", "include_private"), ("sort=date", "sort"),
        ("q=a&q=b", "q"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    answer = await client.get(f"{SEARCH}?{query}")
    assert answer.status_code == 422, answer.text
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


async def test_a_rebuild_equals_the_live_rows_and_is_searched(
    client: httpx.AsyncClient, database: Database
) -> None:
    fresh = await write(client, 1, "harbour and sea", tags=["sea"])
    await write(client, 2, "habrour")
    entry = (await found(client, fresh, q="harbour")).json()["data"][0]["entry_id"]
    path = f"/v1/journal/entries/{entry}"
    await client.patch(path, json={"content": "mountain"}, headers={"if-match": '"1"'})
    await client.delete(path, headers={"if-match": '"2"'})
    restored = await client.post(f"{path}/restore")
    fresh = {"consistency-token": restored.headers["consistency-token"], "prefer": "wait=10"}
    before = (await found(client, fresh, q="mountain")).json()
    assert before["meta"]["total"] == 1
    keys = SubjectKeys(Sealer(bytes(range(32))))
    sources = functools.partial(PostgresSource, database.project_dsn, keys=keys)
    views: tuple[RowView[Any], ...] = (Searchable(), Vocabulary())
    for view in views:
        checked = await asyncio.to_thread(verify, database.project_dsn, sources, view)
        assert checked.equal, checked
        report = await asyncio.to_thread(rebuild, database.project_dsn, sources, view)
        assert (report.equal, report.swapped) == (True, True)
    after = (await found(client, fresh, q="mountain")).json()
    assert (after["data"], after["meta"]) == (before["data"], before["meta"])
    assert (await found(client, fresh, q="mountian")).json()["meta"]["total"] == 1
    fresh = await write(client, 3, "another mountain")
    assert (await found(client, fresh, q="mountain")).json()["meta"]["total"] == 2


async def test_rows_that_lie_outside_are_not_taken_for_none(
    client: httpx.AsyncClient, database: Database
) -> None:
    fresh = await write(client, 1, "harbour")
    assert (await found(client, fresh, q="harbour")).json()["meta"]["total"] == 1
    moved = "UPDATE projection_checkpoints SET version = %s WHERE name = 'journal.search'"
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute(moved, (OUTSIDE + 1,))
        refused = await client.get(SEARCH, params={"q": "harbour"})
        connection.execute(moved, (1,))
    assert (refused.status_code, refused.json()["code"]) == (503, "SEARCH_UNAVAILABLE")
    assert int(refused.headers["retry-after"]) > 0


async def test_nobody_finds_anything_of_others(client: httpx.AsyncClient, stack: Stack) -> None:
    fresh = await write(client, 1, "harbour", tags=["mine"], mood="sad")
    async with stack.client(uuid7()) as stranger:
        for q in ("harbour", "habrour", "", "-x"):
            body = (await found(stranger, fresh, q=q, include_private="true")).json()
            assert body["data"] == []
            assert body["meta"]["total"] == 0
            assert body["meta"]["facets"] == {"moods": [], "tags": []}


async def test_without_a_token_nobody_searches(stack: Stack) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(stack.app), base_url="http://mindstream"
    ) as nobody:
        assert (await nobody.get(SEARCH)).status_code == 401
