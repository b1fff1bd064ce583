"""A store beside the database is gone under a stream of writes: none fails, and all converges.

The short form runs with all tests; ``make test-faults`` adds ``--long``: a minute each, killed as
well as hung, and with a search server that hangs, alone and together with the cache.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import WITHOUT_LIMITS
from tests.support.outside import opensearch_node
from tests.support.people import ENTRY, People, Person, people_at, token_of
from tests.support.rough import held_down
from tests.support.servers import wait_until
from tests.support.upped import Up, prepared

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

PER_SECOND = 100
WRITERS = 8
FOLDED = ("journal.entries", "journal.days", "accounts.people")
_FIRST_DAY = datetime.date(1800, 1, 1)


class Stream:
    """What a stream of writes was answered; nothing of it is tried twice."""

    def __init__(self) -> None:
        self.written: list[str] = []
        """Dates that were acknowledged."""
        self.failed: list[str] = []
        self.slowest = 0.0
        self.last = ""
        """The Consistency-Token of the last one."""
        self.lock = threading.Lock()

    def take(self, date: str, answer: httpx.Response | None) -> None:
        with self.lock:
            if answer is None or answer.status_code != 201:
                said = "no answer" if answer is None else f"{answer.status_code} {answer.text}"
                self.failed.append(f"{date}: {said}")
                return
            self.written.append(date)
            self.slowest = max(self.slowest, answer.elapsed.total_seconds())
            self.last = answer.headers["Consistency-Token"]


@contextmanager
def stream_of_writes(person: Person) -> Iterator[Stream]:
    """So many entries a second are written until the block ends."""
    stream, stop = Stream(), threading.Event()
    numbers = itertools.count()
    began = time.monotonic()

    def write() -> None:
        headers = {"Authorization": person.authorization}
        with httpx.Client(base_url=person.http.base_url, headers=headers, timeout=30) as client:
            while not stop.is_set():
                with stream.lock:
                    number = next(numbers)
                stop.wait(began + number / PER_SECOND - time.monotonic())
                date = str(_FIRST_DAY + datetime.timedelta(number))
                try:
                    answer = client.post("/v1/journal/entries", json={**ENTRY, "date": date})
                except httpx.TransportError:
                    stream.take(date, None)
                else:
                    stream.take(date, answer)

    writers = [threading.Thread(target=write) for _ in range(WRITERS)]
    for each in writers:
        each.start()
    try:
        yield stream
    finally:
        stop.set()
        for each in writers:
            each.join(60)


def hits(up: Up) -> float:
    """How often the cache has answered so far."""
    text = httpx.get(f"{up.gateway}/metrics").text
    found = re.findall(r"^mindstream_cache_hits_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(float(each) for each in found)


def readiness(up: Up) -> dict[str, Any]:
    answer = httpx.get(f"{up.gateway}/health/ready", timeout=10)
    assert answer.status_code == 200, answer.text
    health: dict[str, Any] = answer.json()
    return health


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What goes and how; the short form leaves killing to ``test_faults.py``."""
    long = metafunc.config.getoption("--long")
    if "number" in metafunc.fixturenames:
        ways = {"hung": signal.SIGSTOP, **({"killed": signal.SIGKILL} if long else {})}
        metafunc.parametrize("number", ways.values(), ids=ways.keys())
    if "gone" in metafunc.fixturenames:
        marks = () if long else (pytest.mark.skip("only in the long form: make test-faults"),)
        stores = ("search", "search and cache")
        metafunc.parametrize("gone", [pytest.param(each, marks=marks) for each in stores])


@pytest.fixture(scope="module")
def seconds(request: pytest.FixtureRequest) -> float:
    """For how long a store is gone."""
    return 60.0 if request.config.getoption("--long") else 2.0


@pytest.fixture(scope="module")
def indexed() -> Iterator[tuple[Up, People, subprocess.Popen[bytes]]]:
    """A system with a search server of its own, people, and that server."""
    with (
        opensearch_node() as (node, process),
        prepared(**WITHOUT_LIMITS, MINDSTREAM_SEARCH_URL=node.url) as up,
    ):
        up.start()
        with people_at(up.gateway) as crowd:
            yield up, crowd, process
        assert up.stop() == 0


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """It hangs until the block ends."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def search(reader: Person, fresh: dict[str, str]) -> httpx.Response:
    """For all that ``stream_of_writes`` wrote."""
    query = {"q": ENTRY["content"], "limit": "1", "include_private": "true"}
    return reader.get("/v1/journal/search", params=query, headers=fresh)


def live_without(
    up: Up,
    crowd: People,
    gone: Mapping[str, AbstractContextManager[None]],
    seconds: float,
    folded: Sequence[str],
) -> None:
    """Stores go under a stream of writes and come back: see what is answered, and what is left."""
    person = crowd.new()
    reader = crowd.log_in(person.email)

    def is_told() -> bool:
        checks = readiness(up)["checks"]
        return all(checks[name]["status"] == "degraded" for name in gone)

    with stream_of_writes(person) as stream:
        wait_until(lambda: len(stream.written) >= 20, what="writes flow")
        with ExitStack() as holding:
            for each in gone.values():
                holding.enter_context(each)
            gone_at = time.monotonic()
            wait_until(is_told, seconds=10, what="readiness tells what is gone")
            assert readiness(up)["status"] == "degraded"
            while time.monotonic() - gone_at < seconds:
                # Whoever reads gets their own writes, and does not wait for what is gone.
                written, fresh = len(stream.written), {"Consistency-Token": stream.last}
                for path in ("/v1/journal/entries", "/v1/analytics/mood", "/v1/me"):
                    answer = reader.get(path, headers=fresh)
                    assert answer.status_code == 200, answer.text
                    assert answer.elapsed.total_seconds() < 2
                assert answer.json()["data"]["statistics"]["total_entries"] >= written - WRITERS
                if "search" in gone:
                    answer = search(reader, {})
                    assert answer.status_code == 503, answer.text
                    assert answer.json()["code"] == "SEARCH_UNAVAILABLE"
                    assert int(answer.headers["Retry-After"]) >= 1
                    assert answer.elapsed.total_seconds() < 10
            wanted = len(stream.written) + 20
            wait_until(lambda: len(stream.written) >= wanted, what="writes flow all the time")
        wait_until(
            lambda: readiness(up)["status"] == "ready", seconds=20, what="all is there again"
        )
    assert stream.failed == []
    assert stream.slowest < 5
    assert len(stream.written) > seconds * PER_SECOND / 4

    fresh = token_of(person.write("2099-01-01"))
    listed = [entry["date"] for entry in reader.whole_list(fresh, sort="date")]
    assert listed == sorted([*stream.written, "2099-01-01"])
    if "search" in gone:

        def is_found() -> bool:
            answer = search(reader, {**fresh, "Prefer": "wait=10"})
            return answer.status_code == 200 and answer.json()["meta"]["total"] == len(listed)

        wait_until(is_found, seconds=60, what="all that was written is found")
    for name in folded:
        checked = up.cli("projections", "verify", name, "--json")
        assert checked.returncode == 0, checked.stderr
        assert json.loads(checked.stdout)["equal"] is True, checked.stdout

    # The cache serves again, and what it serves is what there is.
    before = hits(up)

    def is_served_by_the_cache() -> bool:
        answers = [reader.get(path, headers=fresh) for path in ("/v1/me", "/v1/journal/entries")]
        me, page = (answer.json()["data"] for answer in answers)
        assert me["statistics"]["total_entries"] == len(listed)
        assert [entry["date"] for entry in page] == listed[:-21:-1]
        return hits(up) > before

    wait_until(is_served_by_the_cache, seconds=20, what="the cache serves again")


def test_the_cache_gone_under_writes(
    rough: Up, crowd: People, number: signal.Signals, seconds: float
) -> None:
    live_without(rough, crowd, {"cache": held_down(rough, "valkey", number)}, seconds, FOLDED)


def test_the_search_server_gone_under_writes(
    indexed: tuple[Up, People, subprocess.Popen[bytes]], gone: str, seconds: float
) -> None:
    up, crowd, server = indexed
    stores: dict[str, AbstractContextManager[None]] = {"search": stopped(server)}
    if "cache" in gone:
        stores["cache"] = held_down(up, "valkey", signal.SIGSTOP)
    live_without(up, crowd, stores, seconds, (*FOLDED, "journal.search"))
