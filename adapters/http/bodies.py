"""Limits of bodies: refused when announced too large, or as soon as they have become so.

Owns no reading: what passes goes on to who reads it, message by message.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.http.exchange import Message, Receive
from adapters.http.problems import Problem


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
