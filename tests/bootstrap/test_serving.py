"""How a server comes and goes: another takes its socket, and what it has begun is answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from bootstrap.roles import serve
from bootstrap.stopping import Stop
from bootstrap.upstreams import Upstream
from tests.support.http_app import conventions

pytestmark = pytest.mark.anyio


class Api:
    """Answers with its name, and on ``/slow`` only when it may."""

    def __init__(self, name: str, socket: Path) -> None:
        self.stop = Stop()
        self.ready = asyncio.Event()
        self.asked = asyncio.Event()
        self.may = asyncio.Event()
        self._name = name.encode()
        conventional = conventions([])
        conventional._app = self._answer
        serving = serve(conventional, f"unix:{socket}", self.stop, self.ready.set)
        self.serving = asyncio.create_task(serving)

    async def _answer(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
        if scope["path"] == "/health/slow":
            self.asked.set()
            await self.may.wait()
        length = (b"content-length", b"%d" % len(self._name))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": self._name})


async def ask(upstream: Upstream, path: str = "/health/x") -> str:
    """Who answers."""
    async for session, origin in upstream.choices():
        try:
            async with session.get(origin + path) as answer:
                return await answer.text()
        except aiohttp.ClientConnectorError:
            continue
    raise AssertionError("no answer")


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_another_takes_the_socket_and_the_first_answers_what_it_has_begun(
    tmp_path: Path,
) -> None:
    socket = tmp_path / "api.sock"
    upstream = Upstream("api", [f"unix:{socket}"])
    await upstream.open()
    first = Api("first", socket)
    async with asyncio.timeout(20):
        await first.ready.wait()
        slow = asyncio.create_task(ask(upstream, "/health/slow"))
        await first.asked.wait()
        assert await ask(upstream) == "first"

        second = Api("second", socket)
        await second.ready.wait()
        assert [await ask(upstream) for _ in range(5)] == ["second"] * 5
        first.stop.set()
        assert await ask(upstream) == "second"
        first.may.set()
        assert await slow == "first"
        await first.serving
        assert await ask(upstream) == "second"

        second.stop.set()
        second.stop.hurry.set()
        await second.serving
    assert left_in(tmp_path) == []
    await upstream.close()


async def test_in_haste_nothing_is_waited_for(tmp_path: Path) -> None:
    stop = Stop()
    stop.hurry.set()
    async with asyncio.timeout(5):
        await stop.grants(asyncio.Event().wait(), 60)
