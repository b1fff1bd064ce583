"""A rebuild while people write and read: nobody sees an empty page, and nothing is lost.

The long form (``make test-faults``) rebuilds a million events under 200 writes a second.
"""

from __future__ import annotations

import datetime
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from tests.e2e.conftest import OPERATOR
from tests.support.people import ENTRY, People, Person, token_of
from tests.support.servers import wait_until
from tests.support.upped import Up

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

PROJECTIONS = "/v1/ops/projections"

# Entries of a thousand people whom nobody knows: what a rebuild has to read.
FILL = """
INSERT INTO events (position, stream_id, stream_version, topic, tenant_id, event_id,
                    correlation_id, actor, recorded_at, data)
SELECT head + n, 'journal.entry-' || id, 1, 'journal.EntryWritten.v1', person, gen_random_uuid(),
       'fill', 'user:' || person, clock_timestamp(),
       convert_to(json_build_object('entry_id', id, 'user_id', person,
           'date', ('1900-01-01'::date + n / 1000)::text, 'title', 'A day',
           'content', repeat('Up, and to the office. ', 20), 'mood', 'happy', 'location', NULL,
           'weather', NULL, 'tags', json_build_array('work', 'rain'), 'is_private', false,
           'word_count', 100)::text, 'UTF8')
FROM (SELECT n, gen_random_uuid() AS id, ('00000000-0000-7000-8000-' ||
             lpad((n %% 1000)::text, 12, '0'))::uuid AS person
      FROM generate_series(1, %s) AS n) AS made,
     (SELECT coalesce(max(position), 0) AS head FROM events) AS at
"""


@contextmanager
def running(*bodies: Callable[[threading.Event], None]) -> Iterator[None]:
    """Each body on a thread of its own until the block ends; what one raises is raised here."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def guarded(body: Callable[[threading.Event], None]) -> None:
        try:
            body(stop)
        except BaseException as error:  # noqa: BLE001 - told below, by the thread that can
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    if failed:
        raise failed[0]


def fill(rough: Up, events: int) -> None:
    """Append so many entries of other people."""
    with psycopg.connect(rough.services()["owner_dsn"], autocommit=True) as database:
        for _ in range(events // 10_000):
            database.execute(FILL, (10_000,))


def test_a_rebuild_under_writes(
    rough: Up, crowd: People, request: pytest.FixtureRequest, slack: float
) -> None:
    long = request.config.getoption("--long")
    events, writes = (1_000_000, 200) if long else (20_000, 50)
    operator, still, writer = crowd.log_in(*OPERATOR), crowd.new(), crowd.new()
    for day in range(1, 29):
        last = still.write(f"2024-02-{day:02}", tags=["rain"])
    fresh = token_of(last)
    fill(rough, events)
    wait_until(
        lambda: operator.get(f"{PROJECTIONS}/journal.entries").json()["data"]["gap_events"] == 0,
        seconds=300,
        what="the projections have caught up",
    )
    shown = {path: answer(still, path, fresh) for path in PAGES}
    written, waits = Written(), []
    reads = itertools.count()

    def write(stop: threading.Event) -> None:
        """At its share of the pace, and now and then reads what it wrote."""
        due = time.monotonic()
        with httpx.Client(base_url=rough.gateway, timeout=30) as client:
            client.headers["Authorization"] = writer.authorization
            while not stop.is_set():
                due += 4 / writes
                stop.wait(max(0.0, due - time.monotonic()))
                posted = written.post(client)
                if len(written.dates) % 10 == 0:
                    began = time.monotonic()
                    read = client.get(
                        posted.headers["Location"],
                        headers={**token_of(posted), "Prefer": "wait=10"},
                    )
                    waits.append(time.monotonic() - began)
                    assert read.status_code == 200, read.text
                    assert read.json()["data"] == posted.json()["data"]

    def read(stop: threading.Event) -> None:
        """The same pages over and over: never another answer than before."""
        with httpx.Client(base_url=rough.gateway, timeout=30) as client:
            client.headers["Authorization"] = still.authorization
            for path in itertools.cycle(PAGES):
                if stop.is_set():
                    return
                found = client.get(path)
                assert (found.status_code, found.json()["data"]) == (200, shown[path]), path
                next(reads)
                stop.wait(0.02)

    mail = mails(rough)
    with running(write, write, write, write, read):
        results = {}
        for name in ("journal.entries", "journal.days"):
            accepted = operator.post(f"{PROJECTIONS}/{name}/rebuild", {"max_lag_seconds": 0.5})
            operation, _ = operator.ended(accepted.headers["Location"], seconds=900)
            assert operation["state"] == "succeeded", operation
            results[name] = operation["result"]
    for result in results.values():
        assert (result["equal"], result["swapped"]) == (True, True), result
        assert result["checksum_live"] == result["checksum_shadow"]
    assert next(reads) > 50
    assert max(waits) < slack, f"a read of one's own write waited {max(waits):.2f} s"
    assert mails(rough) == mail, "a rebuild sends nothing"
    assert {each["date"] for each in writer.whole_list(_after(writer))} == set(written.dates)
    for name in results:
        accepted = operator.post(f"{PROJECTIONS}/{name}/verify")
        operation, _ = operator.ended(accepted.headers["Location"], seconds=900)
        assert operation["result"]["equal"], operation


PAGES = (
    "/v1/journal/entries?limit=100",
    "/v1/journal/entries?tag=rain&limit=5",
    "/v1/journal/calendar/2024/2",
    "/v1/journal/streak",
    "/v1/journal/tags",
)


def mails(rough: Up) -> int:
    """How many were sent."""
    return len(list(rough.home.glob("mail/**/*")))


def answer(person: Person, path: str, fresh: dict[str, str]) -> Any:
    """What a page shows."""
    found = person.get(path, headers=fresh)
    assert found.status_code == 200, found.text
    return found.json()["data"]


class Written:
    """Days that were written to, each once."""

    def __init__(self) -> None:
        self.dates: list[str] = []
        self._lock = threading.Lock()
        self._days = itertools.count()

    def post(self, client: httpx.Client) -> httpx.Response:
        """Write the next day's entry."""
        with self._lock:
            date = str(datetime.date(1000, 1, 1) + datetime.timedelta(next(self._days)))
        posted = client.post("/v1/journal/entries", json={**ENTRY, "date": date})
        assert posted.status_code == 201, posted.text
        with self._lock:
            self.dates.append(date)
        return posted


def _after(person: Person) -> dict[str, str]:
    """Headers of a read that includes all that was written until now."""
    probe = person.write("2099-01-01").headers["Location"]
    return token_of(person.delete(probe, 1))
