"""The gateway's connections to the processes of an API.

Owns the turn they are taken in, and how long one that is away is waited for. It forwards nothing:
``gateway.py`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import aiohttp

CONNECT_SECONDS = 5.0
"""How long an API that does not take connections is waited for: one restart."""


class Upstream:
    """The processes of one API, taken in turn."""

    def __init__(self, name: str, addresses: Iterable[str]) -> None:
        self.name = name
        self._sessions: list[tuple[aiohttp.ClientSession, str]] = []
        self._addresses = tuple(addresses)
        self._turn = 0

    async def open(self) -> None:
        """Make the connection pools; nothing is connected yet."""
        for address in self._addresses:
            connector: aiohttp.BaseConnector
            if address.startswith("unix:"):
                connector = aiohttp.UnixConnector(address.removeprefix("unix:"), limit=0)
                origin = f"http://{self.name}"
            else:
                connector = aiohttp.TCPConnector(limit=0)
                origin = f"http://{address}"
            session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
            self._sessions.append((session, origin))

    async def close(self) -> None:
        """Close every connection."""
        for session, _ in self._sessions:
            await session.close()

    async def choices(self) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
        """A session to try, and then others, until ``CONNECT_SECONDS`` have passed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CONNECT_SECONDS
        pause = 0.05
        while True:
            for _ in self._sessions:
                self._turn = (self._turn + 1) % len(self._sessions)
                yield self._sessions[self._turn]
            if loop.time() + pause > deadline:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)
