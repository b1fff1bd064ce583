"""The talk over a WebSocket: events out, pings in, and codes that say why it ended.

Owns the messages and the codes. Which events there are is a line's to say.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from adapters.http.context import context_of
from adapters.http.errors import report
from projections.following import Ended, Line, Reason, Told

STALL = 30.0
"""Seconds that a client has to take what was sent."""
LONGEST = 4096
"""Characters of a message that a client may send."""
MOST = 120
"""Messages that a client may send in a minute."""

CODES: dict[Reason, tuple[int, str]] = {
    "closing": (1001, "restarting; come back"),
    "slow": (4008, "too slow; come back with after"),
    "unauthenticated": (4401, "credentials are good no more"),
    "forbidden": (4403, "not allowed any more"),
    "unavailable": (1013, "the store does not answer; come back"),
    "failed": (1011, "something went wrong on our side"),
}
"""With which code and words a connection is closed, by reason; nobody is told of ``gone``."""
_TOO_LONG = (1009, f"messages have at most {LONGEST} characters")
_TOO_MANY = (1008, f"at most {MOST} messages a minute")
_NOT_TEXT = (1003, "messages are text")


class Message(msgspec.Struct, frozen=True):
    """An event as a message; ``type`` is its name without context."""

    type: str
    position: int
    topic: str
    stream_id: str
    data: msgspec.Raw
    timestamp: datetime


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said besides: ``pong``, or ``error`` where a message was not understood."""

    type: str
    message: str | None = None
    timestamp: datetime | None = None


class _Said(msgspec.Struct, frozen=True):
    """A client's message, as far as it matters."""

    type: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Said).decode


def message_of(told: Told) -> Message:
    """An event as a message."""
    name = told.name.partition(".")[2]
    return Message(name, told.position, told.topic, told.stream_id, told.data, told.timestamp)


async def converse(line: Line, socket: WebSocket[Any, Any, Any]) -> None:
    """Accept the connection, and send what the line tells until either ends."""
    await socket.receive()  # websocket.connect
    offered = socket.scope.get("subprotocols") or []
    # The token beside it is no protocol and is not repeated.
    chosen = "bearer" if offered[:1] == ["bearer"] else None
    await socket.send({"type": "websocket.accept", "subprotocol": chosen, "headers": []})
    await _Talk(line, socket).run()


class _Talk:
    def __init__(self, line: Line, socket: WebSocket[Any, Any, Any]) -> None:
        self._line = line
        self._socket = socket
        self._words: list[Word] = []
        self._fault: tuple[int, str] | None = None
        self._minute = 0.0
        self._count = 0

    async def run(self) -> None:
        """Send until it is over, then close."""
        listening = asyncio.create_task(self._listen())
        code: tuple[int, str] | None = None
        try:
            code = await self._tell()
        except TimeoutError:
            code = CODES["slow"]
        except WebSocketDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - else the framework closes it, and says nothing
            report(error, context_of(self._socket).request_id, self._socket.scope["path"])
            code = CODES["failed"]
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        if code is not None:
            with suppress(TimeoutError, WebSocketDisconnect):
                async with asyncio.timeout(STALL):
                    await self._socket.send(
                        {"type": "websocket.close", "code": code[0], "reason": code[1]}
                    )

    async def _tell(self) -> tuple[int, str] | None:
        """Send what there is; returns how to close, None where the client did."""
        line = self._line
        while True:
            try:
                told = await line.next(STALL)
            except Ended as ended:
                return CODES.get(ended.reason)
            if self._fault is not None:
                return self._fault
            words, self._words = self._words, []
            for each in (*words, *map(message_of, told)):
                text = _encode(each).decode()
                async with asyncio.timeout(STALL):
                    await self._socket.send({"type": "websocket.send", "text": text, "bytes": None})

    async def _listen(self) -> None:
        try:
            while self._fault is None:
                message: Any = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                self._hear(message)
        finally:
            if self._fault is None:
                self._line.end("gone")

    def _hear(self, message: Any) -> None:
        text: str | None = message.get("text")
        now = asyncio.get_running_loop().time()
        if now - self._minute > 60:
            self._minute, self._count = now, 0
        self._count += 1
        if text is None:
            self._fault = _NOT_TEXT
        elif len(text) > LONGEST:
            self._fault = _TOO_LONG
        elif self._count > MOST:
            self._fault = _TOO_MANY
        else:
            self._words.append(_answer(text))
        self._line.nudge()


def _answer(text: str) -> Word:
    try:
        kind = _decode(text).type
    except (msgspec.MsgspecError, UnicodeError):
        kind = ""
    if kind == "ping":
        return Word("pong", timestamp=datetime.now(UTC))
    return Word("error", message='Only {"type": "ping"} is understood here.')
