"""Processes killed, stopped and starved under load: nothing acknowledged is lost or doubled.

The short form runs with all tests; ``make test-faults`` adds ``--long``, which kills more often.
"""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.generated_diary import GeneratedDiary
from tests.support.people import ENTRY, PASSWORD, People, Person, token_of
from tests.support.rough import (
    held_down,
    is_there_once,
    kill,
    pid_of,
    wait_for_another,
    writing,
)
from tests.support.servers import wait_until
from tests.support.upped import Up

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

DIARY = GeneratedDiary(2_000, seed=11)
VICTIMS = ("projector", "worker")


@pytest.fixture(scope="module")
def undisturbed(crowd: People) -> dict[str, Any]:
    """What the diary comes to when nobody is killed."""
    person = crowd.new()
    operation, fresh = person.ended(person.begin_import(DIARY.raw))
    assert operation["result"]["accepted"] == len(DIARY.entries)
    return _state(person, operation, fresh)


def _state(person: Person, operation: dict[str, Any], fresh: dict[str, str]) -> dict[str, Any]:
    """All that can be read, but for ids and times."""
    entries = person.whole_list(fresh, sort="date")
    for entry in entries:
        for name in ("id", "user_id", "created_at", "updated_at"):
            del entry[name]
    return {
        "result": operation["result"],
        "state": operation["state"],
        "entries": entries,
        "tags": person.get("/v1/journal/tags?limit=100", headers=fresh).json()["data"],
        "streak": person.get("/v1/journal/streak", headers=fresh).json()["data"],
        "statistics": person.get("/v1/me", headers=fresh).json()["data"]["statistics"],
        "months": [
            person.get(f"/v1/journal/calendar/{year}/{month}", headers=fresh).json()["data"]
            for year in (2001, 2003, 2006)
            for month in (1, 12)
        ],
    }


@pytest.fixture(scope="module")
def times(request: pytest.FixtureRequest) -> int:
    """How often each victim is killed."""
    return 20 if request.config.getoption("--long") else 4


def test_an_import_whose_processes_are_killed(
    rough: Up, crowd: People, undisturbed: dict[str, Any], times: int
) -> None:
    draw = random.Random(3)
    moments = [(victim, draw.random()) for victim in VICTIMS for _ in range(times)]
    draw.shuffle(moments)
    with psycopg.connect(rough.services()["owner_dsn"], autocommit=True) as database:

        def written() -> int:
            row = database.execute("SELECT count(*) FROM events").fetchone()
            assert row is not None
            return int(row[0])

        while moments:
            person = crowd.new()
            # Several kills in one import, each at a moment of its own.
            now, moments = moments[:4], moments[4:]
            before = written()
            path = person.begin_import(DIARY.raw)
            for victim, fraction in sorted(now, key=lambda moment: moment[1]):
                wanted = before + int(fraction * len(DIARY.entries))
                wait_until(lambda n=wanted: written() >= n, seconds=60, what="the import is there")
                wait_for_another(rough, victim, kill(rough, victim))
            operation, fresh = person.ended(path)
            assert _state(person, operation, fresh) == undisturbed
        twice = database.execute(
            "SELECT 1 FROM events WHERE stream_id LIKE 'journal.entry-%' AND stream_version > 1"
        )
        assert twice.fetchone() is None, "no line is taken twice"


def test_the_write_api_killed_under_load(
    rough: Up, crowd: People, times: int, slack: float
) -> None:
    draw = random.Random(5)
    person = crowd.new()
    with writing(person) as said:
        for _ in range(max(times // 2, 2)):
            wanted = len(said) + draw.randrange(20, 80)
            wait_until(lambda n=wanted: len(said) >= n, seconds=60, what="writes go on")
            wait_for_another(rough, "write-api", kill(rough, "write-api"))
        wanted = len(said) + 50
        wait_until(lambda: len(said) >= wanted, seconds=60, what="writes go on")
    is_there_once(person, said, _probed(person))
    assert said.longest_silence() < 8 * slack


def _probed(person: Person) -> dict[str, str]:
    """Headers of a read that includes all that was written until now."""
    probe = person.write("2099-01-01").headers["Location"]
    return token_of(person.delete(probe, 1))


def test_the_database_stopped_at_once_under_load(
    rough: Up, crowd: People, times: int, slack: float
) -> None:
    person = crowd.new()
    reader = crowd.log_in(person.email)
    codes: set[int] = set()
    with writing(person) as said:
        for _ in range(max(times // 4, 3)):
            wanted = len(said) + 60
            wait_until(lambda n=wanted: len(said) >= n, seconds=60, what="writes go on")
            pid = kill(rough, "postgres", signal.SIGQUIT)
            until = time.monotonic() + 30
            gone = False
            while (
                time.monotonic() < until
            ):  # reads meanwhile: an answer or 503, never anything else
                answer = reader.get("/v1/journal/entries")
                codes.add(answer.status_code)
                gone = gone or pid_of(rough, "postgres") != pid
                if gone and answer.status_code == 200:
                    break
            wanted = len(said) + 60
            wait_until(lambda n=wanted: len(said) >= n, seconds=60, what="writes go on")
    assert codes <= {200, 503}
    is_there_once(person, said, _probed(person))
    assert said.longest_silence() < 6 * slack
    wait_until(
        lambda: crowd.anonymous.get("/health/ready").status_code == 200,
        seconds=10,
        what="everything is ready again",
    )


def _within_ten_seconds(answer: httpx.Response) -> httpx.Response:
    assert answer.elapsed.total_seconds() < 10
    return answer


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["hung", "killed"])
def test_without_the_cache(rough: Up, crowd: People, number: signal.Signals) -> None:
    person = crowd.new()
    written = person.write("2024-01-01")
    with held_down(rough, "valkey", number):
        again = _within_ten_seconds(person.patch(written.headers["Location"], {"title": "on"}, 1))
        assert again.status_code == 200
        read = _within_ten_seconds(person.get("/v1/journal/entries", headers=token_of(again)))
        assert [entry["title"] for entry in read.json()["data"]] == ["on"]
        for path in ("/v1/auth/login", "/v1/auth/login", "/v1/me/restore"):
            login = crowd.anonymous.post(path, json={"email": person.email, "password": PASSWORD})
            assert _within_ten_seconds(login).status_code == 503, login.text
            assert int(login.headers["Retry-After"]) >= 1
            assert login.json()["code"] == "UNAVAILABLE"
        ready = crowd.anonymous.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["status"] == "degraded"
        path = person.begin_import(DIARY.raw)
        number_of_days = len(DIARY.entries)
    operation, fresh = person.ended(path)
    assert operation["result"]["accepted"] == number_of_days
    assert len(person.whole_list(fresh)) == number_of_days + 1

    def can_log_in() -> bool:
        answer = crowd.anonymous.post(
            "/v1/auth/login", json={"email": person.email, "password": PASSWORD}
        )
        assert answer.status_code in (200, 503)
        return answer.status_code == 200

    wait_until(can_log_in, seconds=20, what="people can log in again")


def test_everything_killed_at_once_comes_back(rough: Up, crowd: People, slack: float) -> None:
    person = crowd.new()
    key = {"Idempotency-Key": "before"}
    first = person.post("/v1/journal/entries", {**ENTRY, "date": "2024-01-01"}, headers=key)
    began = time.monotonic()
    for name in rough.processes():
        kill(rough, name)
    answers: list[httpx.Response] = []

    def is_back() -> bool:
        try:
            answers[:] = [
                person.post("/v1/journal/entries", {**ENTRY, "date": "2024-01-01"}, headers=key),
                person.get(first.headers["Location"], headers=token_of(first)),
            ]
        except httpx.TransportError:
            return False
        return [answer.status_code for answer in answers] == [201, 200]

    wait_until(is_back, seconds=90, what="everything is back")
    assert time.monotonic() - began < 15 * slack
    assert answers[0].content == first.content
    assert answers[1].json()["data"] == first.json()["data"]
