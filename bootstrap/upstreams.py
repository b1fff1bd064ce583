"""The gateway's connections to the processes of an API.

Owns the turn they are taken in, how long one that is away is waited for, and that a process which
has been replaced gets no more requests. It forwards nothing: ``gateway.py`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import aiohttp

CONNECT_SECONDS = 5.0
"""How long an API that does not take connections is waited for: one restart."""


class _Place:
    """One address, and the process that listens there now."""

    def __init__(self, name: str, address: str, session: aiohttp.ClientSession) -> None:
        self.session = session
        unix = address.startswith("unix:")
        self._path = Path(address.removeprefix("unix:")) if unix else None
        self._name = name if unix else address
        self._seen: tuple[int, int] | None = None
        self._generation = 0

    def origin(self) -> str:
        """The base of requests; another one for each process that has taken the socket.

        Connections are kept by the host of their requests, so that those to the process before
        are not used again: it may close them any moment.
        """
        if self._path is None:
            return f"http://{self._name}"
        try:
            found = self._path.stat()
        except OSError:  # it is about to end: its successor is waited for
            return f"http://{self._name}.{self._generation + 1}"
        seen = (found.st_ino, found.st_mtime_ns)
        if seen != self._seen:
            self._seen = seen
            self._generation += 1
        return f"http://{self._name}.{self._generation}"


class Upstream:
    """The processes of one API, taken in turn."""

    def __init__(self, name: str, addresses: Iterable[str]) -> None:
        self.name = name
        self._places: list[_Place] = []
        self._addresses = tuple(addresses)
        self._turn = 0

    async def open(self) -> None:
        """Make the connection pools; nothing is connected yet."""
        for address in self._addresses:
            connector: aiohttp.BaseConnector
            if address.startswith("unix:"):
                connector = aiohttp.UnixConnector(address.removeprefix("unix:"), limit=0)
            else:
                connector = aiohttp.TCPConnector(limit=0)
            session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
            self._places.append(_Place(self.name, address, session))

    async def close(self) -> None:
        """Close every connection."""
        for place in self._places:
            await place.session.close()

    async def choices(self) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
        """A session to try, and then others, until ``CONNECT_SECONDS`` have passed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CONNECT_SECONDS
        pause = 0.05
        while True:
            for _ in self._places:
                self._turn = (self._turn + 1) % len(self._places)
                place = self._places[self._turn]
                yield place.session, place.origin()
            if loop.time() + pause > deadline:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)
