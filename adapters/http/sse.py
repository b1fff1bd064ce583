"""An answer that never ends by itself: ``text/event-stream``.

Owns the form of the stream and how it is kept open. What is in it comes from a line of the feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from adapters.ending import end
from adapters.http.responses import Answer
from projections.following import Ended, Reason, Told

T = TypeVar("T")

MEDIA_TYPE = "text/event-stream"
HEADERS = [
    (b"content-type", MEDIA_TYPE.encode()),
    (b"x-accel-buffering", b"no"),  # else a proxy may gather what is to be seen at once
]
STALL = 30.0
"""Seconds that a client has to take what was sent."""

_CHUNK = 65_536
_encode = msgspec.json.Encoder().encode
# Without an empty line, which some clients take for an event.
_COMMENT = b": still here\n"


def frame(told: Told) -> bytes:
    """One event of the stream."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (told.position, told.name.encode(), _encode(told))


class Source(Protocol[T]):
    """Where the events of a stream come from: a line of the feed, or what is like it."""

    position: int

    async def next(self, within: float) -> list[T]:
        """The next events; none if none came within that time.

        Raises:
            Ended: that was all.
        """
        ...

    def end(self, reason: Reason) -> None:
        """Tell nothing more; the first reason counts."""
        ...

    def close(self) -> None:
        """The connection is closed."""
        ...


class EventStream(Answer, Generic[T]):
    """The events of a line; a comment keeps the connection open where none came for ``every``."""

    __slots__ = ("_every", "_frame", "_line")

    def __init__(self, line: Source[T], every: float, frame: Callable[[T], bytes]) -> None:
        super().__init__(200, list(HEADERS))
        self._line = line
        self._every = every
        self._frame = frame

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send until the client goes or the line ends (ASGI)."""
        line = self._line
        watching = asyncio.create_task(_watch(receive, line))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # The head goes out with the first bytes of the body.
            await _send(send, b": since %d\n" % line.position)
            while True:
                told = await line.next(self._every)
                for chunk in _chunks(map(self._frame, told)) if told else (_COMMENT,):
                    await _send(send, chunk)
        except Ended as ended:
            if ended.reason != "gone":
                with suppress(TimeoutError):
                    await _send(send, b"", more=False)
        except TimeoutError:
            line.end("slow")  # the connection ends without its last bytes
        finally:
            line.close()
            await end(watching)


def _chunks(frames: Iterable[bytes]) -> Iterator[bytes]:
    """The events in pieces that a slow client takes in time."""
    gathered = bytearray()
    for each in frames:
        gathered += each
        if len(gathered) >= _CHUNK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


async def _send(send: Any, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(STALL):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _watch(receive: Any, line: Source[Any]) -> None:
    """End the line when the client goes; what it sends is nobody's business."""
    while (await receive())["type"] != "http.disconnect":
        pass
    line.end("gone")
