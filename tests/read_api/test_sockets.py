"""The talk over a WebSocket and the sending of a stream, with a client that does as it likes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from litestar import WebSocket
from uuid_utils.compat import uuid7

from adapters.http import sse
from adapters.http.sse import EventStream, frame
from adapters.live import lines
from adapters.live.lines import LiveLine
from projections.following import Credentials, Reason, Told
from read_api import sockets
from read_api.sockets import CODES, converse

pytestmark = pytest.mark.anyio

NAME = "journal.EntryDeleted"


class Good(Credentials):
    def good(self) -> bool:
        return True

    async def check(self) -> Reason | None:
        return None


async def _no_replay(line: LiveLine) -> list[Told]:
    raise AssertionError("it has joined")


def joined() -> LiveLine:
    line = LiveLine(
        uuid7(), "user:x", {NAME}, Good(), "ws", replay=_no_replay, left=lambda line: None
    )
    line.begin(0)
    line.joined, line.replaying = True, False
    return line


def event(position: int) -> Told:
    data = msgspec.Raw(b'{"entry_id":"x"}')
    return Told(position, f"{NAME}.v1", "journal.entry-x", data, datetime(2026, 3, 1, tzinfo=UTC))


class Client:
    """The other end, by ASGI: what it says, what it was sent, and whether it takes anything."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self.offered = asyncio.Event()
        self.says.put_nowait({"type": "websocket.connect"})

    async def send(self, message: Any) -> None:
        self.offered.set()
        await self.takes.wait()
        self.sent.append(message)

    def say(self, text: str | None) -> None:
        self.says.put_nowait({"type": "websocket.receive", "text": text, "bytes": None})

    def socket(self) -> WebSocket[Any, Any, Any]:
        scope: Any = {"type": "websocket", "path": "/v1/ws", "headers": [], "subprotocols": []}
        return WebSocket(scope, self.says.get, self.send)

    def texts(self) -> list[dict[str, Any]]:
        return [json.loads(each["text"]) for each in self.sent if "text" in each]


async def test_a_client_that_does_not_read_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_WAITING", 1)
    monkeypatch.setattr(lines, "SLOW_AFTER", -1.0)
    line, client = joined(), Client()
    talking = asyncio.create_task(converse(line, client.socket()))
    await client.offered.wait()
    client.takes.clear()
    client.offered.clear()
    line.push(event(1))
    await client.offered.wait()
    for position in (2, 3):
        line.push(event(position))
    client.takes.set()
    await talking
    assert [text["position"] for text in client.texts()] == [1]
    assert client.sent[-1]["code"] == 4008


async def test_a_client_that_never_reads_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "STALL", 0.05)
    monkeypatch.setattr(sse, "STALL", 0.05)
    line, client = joined(), Client()
    talking = asyncio.create_task(converse(line, client.socket()))
    await client.offered.wait()
    client.takes.clear()
    line.push(event(1))
    async with asyncio.timeout(5):
        await talking
    assert [each["type"] for each in client.sent] == ["websocket.accept"]

    line, client = joined(), Client()
    client.takes.clear()
    streaming = asyncio.create_task(EventStream(line, 10, frame)({}, _never, _answering(client)))
    async with asyncio.timeout(5):
        await streaming
    assert [each["type"] for each in client.sent] == ["http.response.start"]


def _answering(client: Client) -> Any:
    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            client.sent.append(message)
        else:
            await client.send(message)

    return send


async def _never() -> Any:
    await asyncio.Event().wait()


async def test_a_long_page_is_sent_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_CHUNK", 400)
    line, client = joined(), Client()
    for position in range(1, 11):
        line.push(event(position))
    streaming = asyncio.create_task(EventStream(line, 10, frame)({}, _never, client.send))

    async def bodies() -> bytes:
        while True:
            body = b"".join(each.get("body", b"") for each in client.sent)
            if body.count(b"\n\n") == 10:
                return body
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        body = await bodies()
        line.end("closing")
        await streaming
    assert body.count(b"id: ") == 10
    pieces = [each["body"] for each in client.sent if each.get("more_body")][1:]
    assert 1 < len(pieces) < 10
    assert all(piece.endswith(b"\n\n") for piece in pieces)
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    ("says", "code"), [([None], 1003), (["x" * 5_000], 1009), (['{"type": "ping"}'] * 200, 1008)]
)
async def test_a_client_that_says_too_much_is_told_so(says: list[str | None], code: int) -> None:
    client = Client()
    for text in says:
        client.say(text)
    async with asyncio.timeout(5):
        await converse(joined(), client.socket())
    assert client.sent[-1]["code"] == code


@pytest.mark.parametrize("reason", list(CODES))
async def test_every_reason_has_a_code(reason: Reason) -> None:
    line, client = joined(), Client()
    line.end(reason)
    await converse(line, client.socket())
    assert (client.sent[-1]["code"], client.sent[-1]["reason"]) == CODES[reason]
    assert len(CODES[reason][1]) < 124


async def test_a_fault_of_ours_closes_it_as_one(caplog: pytest.LogCaptureFixture) -> None:
    line, client = joined(), Client()
    line.joined, line.replaying = False, True  # it will ask for a replay, which fails
    await converse(line, client.socket())
    assert client.sent[-1]["code"] == 1011
    assert "it has joined" in caplog.text
