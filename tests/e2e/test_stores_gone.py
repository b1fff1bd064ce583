"""A store beside the database is gone under a stream of writes: none fails, and all converges.

The short form runs with all tests; ``make test-faults`` adds ``--long``: a minute each, killed as
well as hung.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.support.people import ENTRY, People, Person, token_of
from tests.support.rough import held_down
from tests.support.servers import wait_until
from tests.support.upped import Up

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


@pytest.fixture(scope="module")
def seconds(request: pytest.FixtureRequest) -> float:
    """For how long a store is gone."""
    return 60.0 if request.config.getoption("--long") else 2.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """How a store goes; the short form leaves killing to ``test_faults.py``."""
    if "number" in metafunc.fixturenames:
        ways = {"hung": signal.SIGSTOP}
        if metafunc.config.getoption("--long"):
            ways["killed"] = signal.SIGKILL
        metafunc.parametrize("number", ways.values(), ids=ways.keys())


def test_the_cache_gone_under_writes(
    rough: Up, crowd: People, number: signal.Signals, seconds: float
) -> None:
    person = crowd.new()
    reader = crowd.log_in(person.email)
    with stream_of_writes(person) as stream:
        wait_until(lambda: len(stream.written) >= 20, what="writes flow")
        with held_down(rough, "valkey", number):
            gone_at = time.monotonic()
            wait_until(
                lambda: readiness(rough)["checks"]["cache"]["status"] == "degraded",
                seconds=10,
                what="readiness tells that the cache is gone",
            )
            assert readiness(rough)["status"] == "degraded"
            while time.monotonic() - gone_at < seconds:
                # Whoever reads gets their own writes, and does not wait for what is gone.
                written, fresh = len(stream.written), {"Consistency-Token": stream.last}
                for path in ("/v1/journal/entries", "/v1/me"):
                    answer = reader.get(path, headers=fresh)
                    assert answer.status_code == 200, answer.text
                    assert answer.elapsed.total_seconds() < 2
                assert answer.json()["data"]["statistics"]["total_entries"] >= written - WRITERS
            wanted = len(stream.written) + 20
            wait_until(lambda: len(stream.written) >= wanted, what="writes flow all the time")
        wait_until(
            lambda: readiness(rough)["status"] == "ready", seconds=20, what="all is there again"
        )
    assert stream.failed == []
    assert stream.slowest < 5
    assert len(stream.written) > seconds * PER_SECOND / 4

    probe = person.write("2099-01-01")
    fresh = token_of(probe)
    listed = [entry["date"] for entry in reader.whole_list(fresh, sort="date")]
    assert listed == sorted([*stream.written, "2099-01-01"])
    for name in FOLDED:
        checked = rough.cli("projections", "verify", name, "--json")
        assert checked.returncode == 0, checked.stderr
        assert json.loads(checked.stdout)["equal"] is True, checked.stdout

    # The cache serves again, and what it serves is what there is.
    before = hits(rough)

    def is_served_by_the_cache() -> bool:
        answers = [reader.get(path, headers=fresh) for path in ("/v1/me", "/v1/journal/entries")]
        me, page = (answer.json()["data"] for answer in answers)
        assert me["statistics"]["total_entries"] == len(listed)
        assert [entry["date"] for entry in page] == listed[:-21:-1]
        return hits(rough) > before

    wait_until(is_served_by_the_cache, seconds=20, what="the cache serves again")
