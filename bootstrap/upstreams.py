"""Where the APIs' processes listen, and connections to them.

Owns the naming of a role's processes and the turn they are taken in. It forwards nothing:
``gateway.py`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import aiohttp

from bootstrap.places import Places
from bootstrap.settings import Settings

CONNECT_SECONDS = 5.0
"""How long an API that does not take connections is waited for: one restart."""


def addresses(role: str, settings: Settings, places: Places) -> list[str]:
    """Where the processes of an API listen: ``unix:PATH`` or ``HOST:PORT`` each."""
    given, count = {
        "write-api": (settings.write_api_address, settings.write_api_workers),
        "read-api": (settings.read_api_address, settings.read_api_workers),
    }[role]
    if given is not None:
        return [given]
    return [f"unix:{places.api_socket(name)}" for name in numbered(role, count)]


def numbered(role: str, count: int) -> list[str]:
    """The names of a role's processes: a number is added where there are several."""
    return [role] if count == 1 else [f"{role}-{number}" for number in range(1, count + 1)]


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
