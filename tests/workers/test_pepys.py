"""Ten years of a real diary: what is imported is what a plain script makes of the file."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from projections.journal.days import streak_and_statistics
from tests.support.diary import PEPYS, Diary
from tests.support.journal_stack import Stack, running_stack
from tests.support.servers import Database
from tests.support.waiting import eventually_async
from workers.journal import import_journal

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(PEPYS is None, reason="the diary is not at hand (shared/data)"),
]


@pytest.fixture(scope="module")
async def stack(database: Database) -> AsyncIterator[Stack]:
    async with running_stack(database) as running:
        yield running


async def test_pepys(stack: Stack) -> None:
    assert PEPYS is not None
    diary, user_id = Diary(PEPYS), uuid7()
    async with stack.client(user_id) as client:
        accepted = await client.post(
            "/v1/journal/import",
            content=PEPYS.read_bytes(),
            headers={"content-type": "application/x-ndjson"},
        )
        await import_journal(UUID(accepted.json()["data"]["id"]), stack.importing)
        operation = (await client.get(accepted.headers["location"])).json()["data"]
        assert operation["state"] == "succeeded"
        result = operation["result"]
        assert result["accepted"] == len(diary.entries)
        assert {
            item["line"]: [(fault["field"], fault["code"]) for fault in item["errors"]]
            for item in result["refused"]
        } == diary.refused
        # An empty change answers with the head, which all that was imported is part of.
        probe = await client.post(
            "/v1/journal/entries", json={"date": "1600-01-01", "title": "t", "content": "c"}
        )
        path = probe.headers["location"]
        gone = await client.delete(path, headers={"if-match": "*"})
        fresh = {"consistency-token": gone.headers["consistency-token"], "prefer": "wait=10"}

        async def is_folded() -> bool:
            answer = await client.get("/v1/journal/entries", headers=fresh)
            return answer.status_code == 200

        await eventually_async(is_folded, within=90)
        read: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        while True:
            query: dict[str, Any] = {"limit": 100, "sort": "date"}
            if cursor:
                query["cursor"] = cursor
            page = (await client.get("/v1/journal/entries", params=query, headers=fresh)).json()
            read |= {entry["date"]: entry for entry in page["data"]}
            cursor = page["meta"]["next_cursor"]
            if cursor is None:
                break
        assert list(read) == sorted(diary.entries)
        for date, entry in diary.entries.items():
            assert {name: read[date][name] for name in entry} == entry
        for year, month in ((1660, 1), (1663, 2), (1669, 6)):
            days = await client.get(f"/v1/journal/calendar/{year}/{month}", headers=fresh)
            assert days.json()["data"] == diary.month(year, month)
        today = datetime.datetime.now(datetime.UTC).date()
        streak = await client.get("/v1/journal/streak", headers=fresh)
        assert streak.json()["data"] == diary.streak(today)
        at = datetime.date(1669, 6, 10)
        found, totals = await streak_and_statistics(stack.reader, user_id, at)
        assert str(found.last_entry_date) == diary.streak(at)["last_entry_date"]
        assert found.current == diary.streak(at)["current"]
        assert {
            "total_entries": totals.total_entries,
            "total_words": totals.total_words,
            "avg_words_per_entry": totals.avg_words_per_entry,
        } == diary.statistics()
