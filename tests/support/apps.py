"""Both APIs and the projector in this process, on a module's servers, as the gateway joins them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bootstrap import wiring
from bootstrap.gateway import reads
from bootstrap.settings import Settings


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """The application started, as a server would, and shut down in the end."""
    asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    running = asyncio.create_task(app({"type": "lifespan"}, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    answer = await told.get()
    assert answer["type"] == "lifespan.startup.complete", answer
    try:
        yield
    finally:
        await asked.put({"type": "lifespan.shutdown"})
        await running


@asynccontextmanager
async def served(
    settings: Settings, address: str = "192.0.2.7"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of both APIs, which are chosen from as the gateway does."""
    await wiring.setup(settings)
    write, read = wiring.write_api_app(settings), wiring.read_api_app(settings)

    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        await (read if reads(scope["method"], scope["path"]) else write)(scope, receive, send)

    stop = asyncio.Event()
    async with lifespan(write), lifespan(read):
        projecting = asyncio.create_task(wiring.projector(settings, stop))
        transport = httpx.ASGITransport(gateway, client=(address, 1))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                yield client
        finally:
            stop.set()
            await projecting
