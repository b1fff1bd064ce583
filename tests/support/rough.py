"""Rough handling of a running system: who is killed when, and writes that go on meanwhile.

Owns the writers under load, which retry as API.md tells clients to, and what they were told.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import psutil

from tests.support.people import ENTRY, Person
from tests.support.servers import wait_until
from tests.support.upped import Up

_FIRST_DAY = datetime.date(1900, 1, 1)
PACE = 0.05
"""Seconds between two writes of one writer: eight of them write some hundred times a second."""


def pid_of(up: Up, name: str) -> int:
    """The pid of a supervised process."""
    return int(up.processes()[name]["pid"])


def kill(up: Up, name: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to it; returns the pid it had. It may have gone this moment."""
    pid = pid_of(up, name)
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


def kill_aside(up: Up) -> int:
    """Kill the process aside of the projector, which takes it along; the pid that it had."""
    pid = pid_of(up, "projector")
    projector = psutil.Process(pid)
    wait_until(projector.children, seconds=20, what="the projector has its process aside")
    projector.children()[0].kill()
    return pid


def wait_for_another(up: Up, name: str, pid: int, *, seconds: float = 20) -> None:
    """Wait until it runs again, as another process."""
    wait_until(lambda: pid_of(up, name) != pid, seconds=seconds, what=f"{name} is started again")


@contextmanager
def held_down(up: Up, name: str, number: signal.Signals) -> Iterator[None]:
    """Whenever the process runs it is stopped (``SIGSTOP``) or killed, until the block ends."""
    stopping = threading.Event()
    pids: list[int] = []

    def hold_down() -> None:
        while not stopping.wait(0.02):
            pid = pid_of(up, name)
            if not pids or pids[-1] != pid or number == signal.SIGKILL:
                pids.append(kill(up, name, number))

    holding = threading.Thread(target=hold_down)
    holding.start()
    try:
        wait_until(lambda: pids, what=f"{name} is gone")
        yield
    finally:
        stopping.set()
        holding.join()
        for pid in set(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Acknowledged:
    """Answers that writers were given, and when."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        """By date, the body of the first acknowledgement."""
        self.times: list[float] = []
        self.refusals: list[str] = []
        """What should never be answered."""
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.entries)

    def longest_silence(self) -> float:
        """Most seconds between one acknowledgement and the next."""
        return max(after - before for before, after in itertools.pairwise(sorted(self.times)))


@contextmanager
def writing(person: Person, writers: int = 8) -> Iterator[Acknowledged]:
    """Entries are written, each under a key and until it is acknowledged, until the block ends."""
    said = Acknowledged()
    stop = threading.Event()
    days = itertools.count()

    def write() -> None:
        with httpx.Client(
            base_url=person.http.base_url,
            headers={"Authorization": person.authorization},
            timeout=30,
        ) as client:
            while not stop.is_set():
                with said.lock:
                    date = str(_FIRST_DAY + datetime.timedelta(next(days)))
                _until_acknowledged(client, date, said)
                stop.wait(PACE)

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield said
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def _until_acknowledged(client: httpx.Client, date: str, said: Acknowledged) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    pause = threading.Event()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            answer = client.post("/v1/journal/entries", json={**ENTRY, "date": date}, headers=key)
        except httpx.TransportError:
            continue
        if answer.status_code == 201:
            with said.lock:
                said.entries[date] = answer.content
                said.times.append(time.monotonic())
            return
        if answer.status_code not in (409, 503) or "Retry-After" not in answer.headers:
            said.refusals.append(f"{date}: {answer.status_code} {answer.text}")
            return
        pause.wait(0.1)  # a client would wait as long as Retry-After says
    said.refusals.append(f"{date}: never acknowledged")


def is_there_once(person: Person, said: Acknowledged, fresh: dict[str, str]) -> None:
    """Assert that every acknowledged entry is there as acknowledged, and nothing else is."""
    assert said.refusals == []
    listed = {entry["date"]: entry for entry in person.whole_list(fresh, sort="date")}
    assert listed.keys() == said.entries.keys()
    for date, body in said.entries.items():
        assert listed[date] == json.loads(body)["data"]
        assert listed[date]["version"] == 1
