"""A person reads what they wrote: whoever hands on a write's token never misses it."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.people import People, Person, token_of
from tests.support.upped import Up

CLIENTS = 16
WRITES = 1_000
ROUNDS = 26
"""For each client: a POST, a PATCH and, every other time, a DELETE."""
FIRST = datetime.date(2020, 1, 1)


def _rounds(person: Person, client: int) -> int:
    """Write and read; returns how many writes there were."""
    writes = 0
    for number in range(ROUNDS):
        date = str(FIRST + datetime.timedelta(number * CLIENTS + client))
        written = person.write(date, title="first")
        path = written.headers["Location"]
        read = person.get(path, headers=token_of(written))
        assert read.status_code == 200, read.text
        assert read.json()["data"] == written.json()["data"]
        listed = person.get(
            "/v1/journal/entries",
            params={"date_from": date, "date_to": date},
            headers=token_of(written),
        )
        assert listed.json()["data"] == [written.json()["data"]]
        revised = person.patch(path, {"title": "second"}, 1)
        read = person.get(path, headers=token_of(revised))
        assert read.json()["data"] == revised.json()["data"]
        assert read.headers["ETag"] == '"2"'
        writes += 2
        if number % 2:
            deleted = person.delete(path, 2)
            assert deleted.status_code == 204
            assert person.get(path, headers=token_of(deleted)).status_code == 404
            writes += 1
    return writes


def test_a_thousand_writes_of_sixteen_clients_are_read_at_once(people: People) -> None:
    persons = [people.new() for _ in range(4)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = list(pool.map(lambda n: _rounds(persons[n % 4], n), range(CLIENTS)))
    assert sum(done) >= WRITES
    for person in persons:
        fresh = token_of(person.get("/v1/me"))
        entries = person.whole_list(fresh)
        assert {entry["title"] for entry in entries} == {"second"}


def test_one_clients_own_reads_are_fresh_on_every_view(person: Person) -> None:
    for number in range(40):
        date = datetime.date(2022, 1, 1) + datetime.timedelta(number)
        fresh = token_of(person.write(date, tags=["seen"], content="two words"))
        assert person.get("/v1/journal/tags", headers=fresh).json()["data"] == [
            {"tag": "seen", "count": number + 1}
        ]
        streak = person.get("/v1/journal/streak", headers=fresh).json()["data"]
        assert streak["longest"] == number + 1
        month = person.get(f"/v1/journal/calendar/2022/{date.month}", headers=fresh)
        assert month.json()["data"][date.day - 1]["has_entry"] is True
        statistics = person.get("/v1/me", headers=fresh).json()["data"]["statistics"]
        assert statistics["total_words"] == 2 * (number + 1)
    revised = person.patch("/v1/me", {"display_name": "Elizabeth"})
    assert revised.status_code == 200, revised.text
    me = person.get("/v1/me", headers=token_of(revised))
    assert me.json()["data"]["display_name"] == "Elizabeth"


def test_a_reads_own_token_can_be_handed_on(person: Person) -> None:
    written = person.write("2024-05-01")
    read = person.get("/v1/journal/entries", headers=token_of(written))
    again = person.get(written.headers["Location"], headers=token_of(read))
    assert again.status_code == 200


def test_somebody_elses_token_is_a_position_and_shows_nothing(people: People) -> None:
    one, other = people.new(), people.new()
    written = one.write("2024-05-01")
    assert other.get("/v1/journal/entries", headers=token_of(written)).json()["data"] == []
    seen = other.get(written.headers["Location"], headers=token_of(written))
    assert seen.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/me",
        "/v1/journal/entries",
        "/v1/journal/entries/{entry}",
        "/v1/journal/entries/{entry}/history",
        "/v1/journal/tags",
        "/v1/journal/tags/suggest?prefix=a",
        "/v1/journal/calendar/2024/5",
        "/v1/journal/streak",
        "/v1/analytics/mood",
        "/v1/analytics/activity",
    ],
)
def test_tokens_on_every_read_model(up: Up, person: Person, path: str) -> None:
    from adapters.http.fresh import token

    entry = person.write("2024-05-01").json()["data"]["id"]
    path = path.format(entry=entry)
    for damaged in ("nonsense", "", token(7)[:-1] + ("A" if token(7)[-1] != "A" else "B")):
        answer = person.get(path, headers={"Consistency-Token": damaged})
        assert answer.status_code == 400, (damaged, answer.text)
        assert answer.json()["code"] == "INVALID_CONSISTENCY_TOKEN"
    began = datetime.datetime.now(datetime.UTC)
    behind = person.get(path, headers={"Consistency-Token": token(10**15), "Prefer": "wait=1"})
    waited = datetime.datetime.now(datetime.UTC) - began
    assert behind.status_code == 503
    problem = behind.json()
    assert problem["code"] == "READ_MODEL_BEHIND"
    assert problem["projection"].split(".")[0] in ("journal", "accounts")
    assert problem["lag"] > 10**14
    assert int(behind.headers["Retry-After"]) >= 1
    assert 0.9 < waited.total_seconds() < 3


def test_the_wait_is_two_seconds_unless_asked_for_and_never_over_ten(person: Person) -> None:
    from adapters.http.fresh import token

    future = {"Consistency-Token": token(10**15)}
    with ThreadPoolExecutor(3) as pool:

        def waits(prefer: str | None) -> float:
            headers = future | ({} if prefer is None else {"Prefer": prefer})
            answer = person.get("/v1/journal/entries", headers=headers)
            assert answer.status_code == 503
            return answer.elapsed.total_seconds()

        usual, none, most = pool.map(waits, [None, "wait=0", "wait=3600"])
    assert 1.9 < usual < 4
    assert none < 1
    assert 9.5 < most < 12
