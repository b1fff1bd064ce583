"""An uploaded diary: which lines are in, what is said of the others, and what a kill does."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from uuid_utils.compat import uuid7

from bootstrap.imports import import_diary
from commands.bus import Bus
from tests.support.journal_stack import Stack, running_stack
from tests.support.servers import Database
from workers import journal, operations
from workers.journal import import_journal, numbered
from workers.operations import LEASE
from workers.scheduler import offer_stranded

pytestmark = pytest.mark.anyio

IMPORT = "/v1/journal/import"
NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
async def stack(database: Database) -> AsyncIterator[Stack]:
    async with running_stack(database) as running:
        yield running


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with stack.client(uuid7()) as person:
        yield person


def line(day: int, **fields: Any) -> bytes:
    date = datetime.date(2000, 1, 1) + datetime.timedelta(day)
    return json.dumps({"date": str(date), "title": "t", "content": "c", **fields}).encode()


async def upload(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    answer = await client.post(IMPORT, content=body, headers=NDJSON | headers)
    assert answer.status_code == 202, answer.text
    return answer


async def done(stack: Stack, client: httpx.AsyncClient, body: bytes) -> dict[str, Any]:
    accepted = await upload(client, body)
    await import_journal(UUID(accepted.json()["data"]["id"]), stack.importing)
    answer = await client.get(accepted.headers["location"])
    operation: dict[str, Any] = answer.json()["data"]
    return operation


async def test_lines_are_numbered_and_the_refused_ones_listed(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    there = await client.post("/v1/journal/entries", json=json.loads(line(9)))
    assert there.status_code == 201
    body = b"\n".join(
        [
            b"\xef\xbb\xbf" + line(1) + b"\r",
            line(2, title=""),
            line(1, title="late"),
            b"",
            b"{",
            b'{"date": "2000-01-09", "title": "\xff", "content": "x"}',
            b'"' + b"x" * (journal.MAX_LINE + 1) + b'"',
            line(9),
            line(3, tags=["A", "a "]),
            line(4, content="x" * 10_001, nonsense=1),
            b"",
        ]
    )
    operation = await done(stack, client, body)
    assert operation["state"] == "succeeded", operation
    assert operation["progress"] == 1
    assert operation["finished_at"]
    result = operation["result"]
    assert result["accepted"] == 2
    refused = {
        item["line"]: [(fault["field"], fault["code"]) for fault in item["errors"]]
        for item in result["refused"]
    }
    assert refused == {
        2: [("title", "too_short")],
        3: [("date", "duplicate_entry_date")],
        5: [("", "malformed_json")],
        6: [("", "malformed_json")],
        7: [("", "too_long")],
        8: [("date", "duplicate_entry_date")],
        10: [("content", "too_long"), ("nonsense", "unknown_field")],
    }


async def test_an_upload_is_accepted_only_as_ndjson(client: httpx.AsyncClient) -> None:
    answer = await client.post(IMPORT, content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 415


async def test_an_empty_upload_has_an_empty_result(stack: Stack, client: httpx.AsyncClient) -> None:
    operation = await done(stack, client, b"")
    assert operation["result"] == {"accepted": 0, "refused": []}


async def test_one_upload_for_each_idempotency_key(stack: Stack, client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(upload(client, line(1), **{"idempotency-key": "k"}) for _ in range(10))
    )
    assert len({answer.content for answer in answers}) == 1
    operation_id = UUID(answers[0].json()["data"]["id"])
    await import_journal(operation_id, stack.importing)
    found = await client.get(answers[0].headers["location"])
    assert found.json()["data"]["result"]["accepted"] == 1
    other = await client.post(IMPORT, content=line(2), headers=NDJSON | {"idempotency-key": "k"})
    assert other.status_code == 422


class Killed(BaseException):
    """As if the process had died here."""


class Dying:
    """An event store whose process dies after so many commits, before or after the answer."""

    def __init__(self, store: Any, commits: int, *, after: bool) -> None:
        self._store = store
        self._left = commits
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, *args: Any, **options: Any) -> Any:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise Killed
        answer = await self._store.append(*args, **options)
        if self._left < 0:
            raise Killed
        return answer


async def test_a_killed_worker_takes_no_line_twice_and_leaves_none(
    stack: Stack, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LEASE", 0.05)
    monkeypatch.setattr(operations, "LEASE", 0.05)
    lines = [line(day % 700, title="" if day % 50 == 0 else "t") for day in range(900)]
    accepted = await upload(client, b"\n".join(lines))
    operation_id = UUID(accepted.json()["data"]["id"])
    for run in range(4):
        store = Dying(stack.importing.store, 1, after=run % 2 == 0)
        dying = journal.Importing(stack.importing.operations, store, Bus(store).dispatch, uuid7)
        with pytest.raises(Killed):
            await import_journal(operation_id, dying)
        while (operation_id, "journal.import") not in await stack.operations.stranded(1000):
            pass
    await import_journal(operation_id, stack.importing)
    operation = (await client.get(accepted.headers["location"])).json()["data"]
    assert operation["state"] == "succeeded", operation
    refused = operation["result"]["refused"]
    assert operation["result"]["accepted"] + len(refused) == 900
    empty = [item["line"] for item in refused if item["errors"][0]["field"] == "title"]
    assert empty == [day + 1 for day in range(900) if day % 50 == 0]
    assert operation["result"]["accepted"] == len(
        {day % 700 for day in range(900) if day % 50 != 0}
    )


async def test_cancelling(stack: Stack, client: httpx.AsyncClient) -> None:
    accepted = await upload(client, b"\n".join(line(day) for day in range(300)))
    path, operation_id = accepted.headers["location"], UUID(accepted.json()["data"]["id"])
    async with stack.client() as other:
        assert (await other.get(path)).status_code == 404
        assert (await other.delete(path)).status_code == 404
    cancelled = await client.delete(path)
    assert cancelled.status_code == 202
    assert cancelled.json()["data"]["state"] == "cancelled"
    await import_journal(operation_id, stack.importing)
    assert (await client.get(path)).json()["data"]["state"] == "cancelled"
    assert (await client.delete(path)).status_code == 202

    accepted = await upload(client, b"\n".join(line(day) for day in range(300)))
    path, operation_id = accepted.headers["location"], UUID(accepted.json()["data"]["id"])
    claimed = await stack.operations.claim(operation_id, "somebody who dies", 0.0)
    assert claimed is not None
    assert (await client.delete(path)).json()["data"]["state"] == "running"
    await import_journal(operation_id, stack.importing)
    operation = (await client.get(path)).json()["data"]
    assert operation["state"] == "cancelled"
    assert operation["result"] == {"accepted": 0, "refused": []}


async def test_stranded_operations_are_offered_until_the_broker_takes_them(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    accepted = await upload(client, line(1))
    operation_id = UUID(accepted.json()["data"]["id"])
    claimed = await stack.operations.claim(operation_id, "somebody who dies", 0.0)
    assert claimed is not None

    class Broker:
        there = False
        taken: list[UUID]

        async def offer(self, kind: str, operation_id: UUID) -> bool:
            if self.there:
                self.taken.append(operation_id)
            return self.there

    broker = Broker()
    broker.taken = []
    assert await offer_stranded(stack.operations, broker) == 0
    broker.there = True
    assert await offer_stranded(stack.operations, broker) >= 1
    assert operation_id in broker.taken
    broker.taken = []
    await offer_stranded(stack.operations, broker)
    assert operation_id not in broker.taken  # it was offered a moment ago
    await import_journal(operation_id, stack.importing)
    assert LEASE > 0


async def test_lines_come_whole_from_any_pieces() -> None:
    text = b"one\n\n  \r\nfour\r\n" + b"x" * 50 + b"\nlast"

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(text), size):
            yield text[at : at + size]

    for size in range(1, len(text) + 1):
        found = [(number, raw) async for number, raw, _ in numbered(pieces(size))]
        assert found == [(1, b"one"), (4, b"four"), (5, b"x" * 50), (6, b"last")]
        offsets = [offset async for _, _, offset in numbered(pieces(size))]
        assert offsets[-1] == len(text)


async def test_a_line_too_long_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_LINE", 10)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"12345678"
        yield b"\nshort\n" + b"y" * 10 + b"\n" + b"z" * 11

    found = [(number, raw) async for number, raw, _ in numbered(pieces())]
    assert found == [(1, None), (2, b"short"), (3, b"y" * 10), (4, None)]


async def test_a_worker_that_shuts_down_gives_its_operation_back(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    accepted = await upload(client, b"\n".join(line(day) for day in range(150)))
    operation_id = UUID(accepted.json()["data"]["id"])
    begun = asyncio.Event()

    class Hanging(Dying):
        async def append(self, *args: Any, **options: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

    store = Hanging(stack.importing.store, 0, after=False)
    hanging = journal.Importing(stack.importing.operations, store, Bus(store).dispatch, uuid7)
    task = asyncio.create_task(import_journal(operation_id, hanging))
    await begun.wait()
    assert await stack.operations.claim(operation_id, "somebody else", 5) is None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await import_journal(operation_id, stack.importing)
    operation = (await client.get(accepted.headers["location"])).json()["data"]
    assert (operation["state"], operation["result"]["accepted"]) == ("succeeded", 150)


async def test_the_command_line_imports_a_file(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "diary.jsonl"
    path.write_bytes(b"\n".join(line(day) for day in range(10)))

    class Broker:
        async def offer(self, kind: str, operation_id: UUID) -> bool:
            await import_journal(operation_id, stack.importing)
            return True

    user_id = uuid7()
    broker: Any = Broker()
    ended = await import_diary(
        path, user_id, user_id, operations=stack.operations, offers=broker, new_id=uuid7
    )
    assert ended.state == "succeeded"
