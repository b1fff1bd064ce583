"""Limits of bodies: refused when announced too large, or as soon as they have become so.

Owns the limits, and the reading of a body that fits into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from adapters.http.exchange import Message, Receive
from adapters.http.problems import Problem


class HasBody(Protocol):
    """What is needed of a request: Litestar's has it."""

    @property
    def receive(self) -> Any:
        """ASGI's receive."""


class BodyLimits:
    """``most`` bytes for every path, but for those that ``by_path`` names."""

    def __init__(self, most: int, by_path: Mapping[str, int]) -> None:
        self._most = most
        self._by_path = dict(by_path)

    def around(self, receive: Receive, path: str, announced: bytes | None) -> Receive:
        """``receive``, but refusing more than the path takes; ``announced`` is Content-Length.

        Raises:
            Problem: 413 when it is announced; the result raises it when more has come.
        """
        most = self._by_path.get(path, self._most)
        if announced is not None:
            if not announced.isdigit():
                raise Problem("MALFORMED_REQUEST", "Content-Length is no number.")
            if len(announced) > 18 or int(announced) > most:
                raise _too_large(most)
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
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
