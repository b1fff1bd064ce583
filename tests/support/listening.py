"""The read API on a real port, beside the APIs in this process, and clients that keep listening.

Owns what a client of a live connection does: reading a stream event by event, and opening a
WebSocket with one's credentials.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx

from bootstrap import wiring
from bootstrap.embedded import free_port
from bootstrap.roles import serve
from bootstrap.settings import Settings
from bootstrap.stopping import Stop


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[str]:
    """The base URL of a read API of its own, served as a role serves it."""
    port = free_port()
    stop = Stop()
    app = wiring.read_api_app(settings)
    serving = asyncio.create_task(serve(app, f"127.0.0.1:{port}", stop))
    url = f"http://127.0.0.1:{port}"
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=url) as client:
        while True:
            assert not serving.done()
            try:
                if (await client.get("/health/live")).status_code == 200:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.02)
    try:
        yield url
    finally:
        stop.hurry.set()
        stop.set()
        await serving


class Stream:
    """An open event stream, read line by line."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def line(self, within: float = 10) -> str | None:
        """The next line; None at the end of the stream."""
        async with asyncio.timeout(within):
            return await anext(self._lines, None)

    async def comment(self, within: float = 10) -> str:
        """The next comment; what comes before it is passed over."""
        async with asyncio.timeout(within):
            while True:
                line = await self.line(within)
                assert line is not None, "the stream has ended"
                if line.startswith(":"):
                    return line

    async def event(self, within: float = 10) -> dict[str, Any] | None:
        """The next event: ``id``, ``event`` and ``data``; None at the end of the stream."""
        fields: dict[str, Any] = {}
        while (line := await self.line(within)) is not None:
            if line.startswith(":"):
                continue
            if not line:
                fields["data"] = json.loads(fields["data"])
                return fields
            name, _, value = line.partition(": ")
            fields[name] = value
        return None

    async def until_end(self, within: float = 10) -> None:
        """Wait for the end of the stream."""
        async with asyncio.timeout(within):
            while await self.line(within) is not None:
                pass


@asynccontextmanager
async def streaming(
    base_url: str,
    headers: dict[str, str],
    query: str = "",
    *,
    last: object = None,
    path: str = "/v1/stream",
) -> AsyncIterator[Stream]:
    """An open stream that has begun."""
    sent = headers if last is None else headers | {"Last-Event-ID": str(last)}
    async with (
        httpx.AsyncClient(base_url=base_url, timeout=30) as client,
        client.stream("GET", path + query, headers=sent) as answer,
    ):
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        stream = Stream(answer)
        assert str(await stream.line()).startswith(": since ")
        yield stream


@asynccontextmanager
async def talking(
    base_url: str, headers: dict[str, str], query: str = "", **options: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """An open WebSocket."""
    async with (
        aiohttp.ClientSession(base_url=base_url) as session,
        session.ws_connect(f"/v1/ws{query}", headers=headers, **options) as socket,
    ):
        yield socket
