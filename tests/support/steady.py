"""A steady stream of requests from several people, as many a second as are wanted, none repeated.

Owns the mixture and what counts as a failure: no answer, or another one than was due. Nothing is
sent again, and writes have no key, so that whatever a restart would break is seen.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import aiohttp
import httpx

from tests.support.people import ENTRY, Person

_FIRST_DAY = datetime.date(1950, 1, 1)


class Stream:
    """What became of the requests."""

    def __init__(self) -> None:
        self.answered = 0
        self.events: Counter[str] = Counter()
        """How many events each person has made."""
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self.late = 0
        """How many could not be sent in time, because the client itself was not quick enough."""
        self.stop = threading.Event()


@contextmanager
def steady(base_url: str, people: Sequence[Person], per_second: float) -> Iterator[Stream]:
    """Requests go out until the block ends; then those under way are waited for."""
    stream = Stream()
    thread = threading.Thread(
        target=lambda: asyncio.run(_send(base_url, people, per_second, stream))
    )
    thread.start()
    try:
        yield stream
    finally:
        stream.stop.set()
        thread.join()


async def _send(base_url: str, people: Sequence[Person], per_second: float, stream: Stream) -> None:
    async with aiohttp.ClientSession(base_url, timeout=aiohttp.ClientTimeout(30)) as client:
        client._retry_connection = False
        writers = [_Writer(client, person, stream) for person in people]
        under_way: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        for number in itertools.count():
            pause = began + number / per_second - time.monotonic()
            stream.late += pause < -0.5
            await asyncio.sleep(max(pause, 0))
            if stream.stop.is_set():
                break
            task = asyncio.create_task(writers[number % len(writers)].step(number // len(writers)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)


class _Writer:
    """One person, who writes, changes and reads in turn."""

    def __init__(self, client: aiohttp.ClientSession, person: Person, stream: Stream) -> None:
        self._client = client
        self._id = person.id
        self._headers = {"Authorization": person.authorization}
        self._stream = stream
        self._days = (_FIRST_DAY + datetime.timedelta(number) for number in itertools.count())
        self._entries: list[tuple[str, str]] = []
        """Path of an entry that nobody changes at the moment, and its tag."""
        self._token = ""

    async def step(self, number: int) -> None:
        match number % 10:
            case 0 | 5:
                await self._write()
            case 2 if self._entries:
                await self._change()
            case 4 if self._token:
                await self._ask("GET", "/v1/journal/entries", 200, headers=self._fresh())
            case 6 if self._entries:
                await self._ask("GET", self._entries[-1][0], 200, headers=self._fresh())
            case 8:
                await self._ask("GET", "/v1/me", 200)
            case _:
                await self._ask("GET", "/v1/journal/entries?limit=10", 200)

    def _fresh(self) -> dict[str, str]:
        return {"Consistency-Token": self._token, "Prefer": "wait=10"}

    async def _write(self) -> None:
        body = {**ENTRY, "date": str(next(self._days))}
        answer = await self._ask("POST", "/v1/journal/entries", 201, json=body)
        if answer is not None:
            self._token = answer["Consistency-Token"]
            self._remember(answer["Location"], answer)

    async def _change(self) -> None:
        path, tag = self._entries.pop(0)
        answer = await self._ask(
            "PATCH", path, 200, json={"title": f"After {tag}"}, headers={"If-Match": tag}
        )
        if answer is not None:
            self._remember(path, answer)

    def _remember(self, path: str, answer: Mapping[str, str]) -> None:
        self._stream.events[self._id] += 1
        self._entries.append((path, answer["ETag"]))

    async def _ask(
        self,
        method: str,
        path: str,
        wanted: int,
        json: object = None,
        headers: dict[str, str] | None = None,
    ) -> Mapping[str, str] | None:
        began = time.monotonic()
        try:
            async with self._client.request(
                method, path, json=json, headers={**self._headers, **(headers or {})}
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._stream.failures.append(f"{method} {path}: {error!r}")
            return None
        self._stream.seconds.append(time.monotonic() - began)
        if answer.status != wanted:
            self._stream.failures.append(f"{method} {path}: {answer.status} {text}")
            return None
        self._stream.answered += 1
        return answer.headers


@contextmanager
def listening(base_url: str, person: Person) -> Iterator[list[int]]:
    """Positions of the events that a stream brings, which is opened again whenever it ends."""
    seen: list[int] = []
    stop = threading.Event()

    def listen() -> None:
        headers = {"Authorization": person.authorization, "Last-Event-ID": "0"}
        with httpx.Client(base_url=base_url, timeout=20) as client:
            while not stop.is_set():
                if seen:
                    headers["Last-Event-ID"] = str(seen[-1])
                with (
                    suppress(httpx.RemoteProtocolError),
                    client.stream("GET", "/v1/stream?topics=journal", headers=headers) as lines,
                ):
                    lines.raise_for_status()
                    for line in lines.iter_lines():
                        if line.startswith("data:"):
                            seen.append(json.loads(line[5:])["position"])
                        if stop.is_set():
                            return

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        person.write("2020-01-01")  # a line, at which it sees that it may go
        thread.join()
