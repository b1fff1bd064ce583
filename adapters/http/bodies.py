"""Limits of bodies: refused when announced too large, or as soon as they are so, or too slow.

Owns the limits, and the reading of a body that fits into them. A body has some seconds, and one
more for every ``SLOWEST`` bytes that have come: enough for a large upload on a poor line, and
nothing for whoever sends a byte now and then to keep a connection busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from adapters.http.exchange import Message, Receive
from adapters.http.problems import Problem

SLOWEST = 16_384
"""Bytes a second."""


class HasBody(Protocol):
    """What is needed of a request: Litestar's has it."""

    @property
    def receive(self) -> Any:
        """ASGI's receive."""


class BodyLimits:
    """``most`` bytes for every path, but for those that ``by_path`` names; ``patience`` seconds."""

    def __init__(self, most: int, by_path: Mapping[str, int], patience: float = 30.0) -> None:
        self._patience = patience
        self._most = most
        self._by_path = dict(by_path)

    def around(self, receive: Receive, path: str, announced: bytes | None) -> Receive:
        """``receive``, but refusing more than the path takes; ``announced`` is Content-Length.

        Raises:
            Problem: 413 when it is announced; the result raises it when more has come, and 408
                when it does not come.
        """
        most = self._by_path.get(path, self._most)
        if announced is not None:
            if not announced.isdigit():
                raise Problem("MALFORMED_REQUEST", "Content-Length is no number.")
            if len(announced) > 18 or int(announced) > most:
                raise _too_large(most)
        seen = 0
        whole = False
        began = asyncio.get_running_loop().time()

        async def bounded() -> Message:
            nonlocal seen, whole
            if whole:  # what comes now is the end of the connection, for which one may wait
                return await receive()
            try:
                async with asyncio.timeout_at(began + self._patience + seen / SLOWEST):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            if message["type"] == "http.request":
                whole = not message.get("more_body")
                seen += len(message.get("body", b""))
                if seen > most:
                    raise _too_large(most)
            return message

        return bounded


def _too_large(most: int) -> Problem:
    return Problem(
        "PAYLOAD_TOO_LARGE",
        f"This takes at most {most} bytes.",
        extra={"max_bytes": most},
        headers={"connection": "close"},
    )


def _too_slow() -> Problem:
    return Problem("REQUEST_TIMEOUT", headers={"connection": "close"})


async def body_of(request: HasBody) -> bytes:
    """The request's whole body, once; without the headers that Litestar would parse for it.

    Raises:
        Problem: 400 when the client went away in the middle.
    """
    receive = request.receive
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("MALFORMED_REQUEST", "The body ended early.")
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def pieces_of(request: HasBody) -> AsyncIterator[bytes]:
    """The request's body as it comes, once.

    Raises:
        Problem: 400 when the client went away in the middle.
    """
    receive = request.receive
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("MALFORMED_REQUEST", "The body ended early.")
        if piece := message.get("body", b""):
            yield piece
        more = message.get("more_body", False)
