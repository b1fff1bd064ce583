"""Many at once: on one version, under one key, for one day."""

from __future__ import annotations

import datetime
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx

from tests.support.people import ENTRY, People, Person, token_of
from tests.support.servers import wait_until
from tests.support.upped import Up


def _at_once(many: int, ask: Any) -> list[httpx.Response]:
    """``many`` requests that leave together."""
    ready = Barrier(many)

    def go(number: int) -> httpx.Response:
        ready.wait(30)
        return ask(number)

    with ThreadPoolExecutor(many) as pool:
        return list(pool.map(go, range(many)))


def test_of_two_writers_on_one_version_one_wins(person: Person) -> None:
    path = person.write("2024-01-01").headers["Location"]
    for version in range(1, 11):
        answers = _at_once(2, lambda n, v=version: person.patch(path, {"title": f"{v} of {n}"}, v))
        won, lost = sorted(answers, key=lambda answer: answer.status_code)
        assert (won.status_code, lost.status_code) == (200, 412)
        assert lost.json()["code"] == "VERSION_STALE"
        assert won.headers["ETag"] == f'"{version + 1}"'
        read = person.get(path, headers=token_of(won)).json()["data"]
        assert read["title"] == won.json()["data"]["title"]


def test_one_key_from_fifty_clients_is_one_entry(people: People) -> None:
    person = people.new()
    key = str(uuid.uuid4())
    clients = [
        httpx.Client(
            base_url=people.base_url, headers={"Authorization": person.authorization}, timeout=30
        )
        for _ in range(50)
    ]
    try:
        answers = _at_once(
            50,
            lambda n: clients[n].post(
                "/v1/journal/entries",
                json={**ENTRY, "date": "2024-03-03"},
                headers={"Idempotency-Key": key},
            ),
        )
    finally:
        for client in clients:
            client.close()
    assert [answer.status_code for answer in answers] == [201] * 50
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    replayed = [answer for answer in answers if "Idempotency-Replayed" in answer.headers]
    assert len(replayed) == 49
    assert {answer.headers["Idempotency-Replayed"] for answer in replayed} == {"true"}
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 50
    entries = person.whole_list(token_of(answers[0]))
    assert [entry["date"] for entry in entries] == ["2024-03-03"]
    history = person.get(answers[0].headers["Location"] + "/history").json()["data"]
    assert len(history) == 1


def test_one_day_from_twenty_clients_is_one_entry(person: Person) -> None:
    answers = _at_once(
        20, lambda n: person.post("/v1/journal/entries", {**ENTRY, "date": "2024-03-04"})
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201] + [409] * 19
    won = next(answer for answer in answers if answer.status_code == 201)
    for lost in answers:
        if lost.status_code == 409:
            assert lost.json()["code"] == "DUPLICATE_ENTRY_DATE"
            assert lost.json()["entry_id"] == won.json()["data"]["id"]


def test_one_address_from_ten_clients_is_one_person(people: People) -> None:
    from tests.support.people import registration

    body = registration(f"same-{uuid.uuid4()}@example.org")
    answers = _at_once(5, lambda n: people.anonymous.post("/v1/auth/register", json=body))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 4


def test_a_key_stands_for_one_method_path_and_body(person: Person) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    path = "/v1/journal/entries"
    first = person.post(path, {**ENTRY, "date": "2024-01-01"}, headers=key)
    assert first.status_code == 201
    assert "Idempotency-Replayed" not in first.headers
    others = [
        person.post(path, {**ENTRY, "date": "2024-01-02"}, headers=key),
        person.post(first.headers["Location"] + "/restore", headers=key),
        person.patch(first.headers["Location"], {"title": "t"}, 1, **key),
        person.delete(first.headers["Location"], 1, **key),
    ]
    for other in others:
        assert other.status_code == 422, other.text
        assert other.json()["code"] == "IDEMPOTENCY_KEY_REUSED"
    again = person.post(path, {**ENTRY, "date": "2024-01-01"}, headers=key)
    assert again.status_code == 201
    assert again.content == first.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert [entry["version"] for entry in person.whole_list(token_of(first))] == [1]


def test_keys_belong_to_one_person(people: People) -> None:
    key = {"Idempotency-Key": "the same"}
    one, other = people.new(), people.new()
    for person in (one, other):
        answer = person.post("/v1/journal/entries", {**ENTRY, "date": "2024-01-01"}, headers=key)
        assert answer.status_code == 201
        assert "Idempotency-Replayed" not in answer.headers
        assert answer.json()["data"]["user_id"] == person.id


def test_every_kind_of_write_replays(person: Person) -> None:
    path = person.write("2024-01-01").headers["Location"]
    diary = b'{"date": "2024-02-01", "title": "t", "content": "c"}'
    writes: list[Any] = [
        lambda **key: person.patch(path, {"mood": "happy"}, 1, **key),
        lambda **key: person.delete(path, 2, **key),
        lambda **key: person.post(path + "/restore", headers=key),
        lambda **key: person.patch("/v1/me", {"bio": "a bio"}, **key),
        lambda **key: person.http.post(
            "/v1/journal/import",
            content=diary,
            headers={"Content-Type": "application/x-ndjson", **key},
        ),
        lambda **key: person.http.put(
            "/v1/me/consent",
            json={
                "terms_version": "2",
                "privacy_policy_version": "2",
                "data_processing": True,
                "marketing": True,
            },
            headers=key,
        ),
    ]
    for write in writes:
        key = {"Idempotency-Key": str(uuid.uuid4())}
        first, second = write(**key), write(**key)
        assert first.is_success, first.text
        assert second.status_code == first.status_code
        assert second.content == first.content
        assert second.headers["Idempotency-Replayed"] == "true"
        assert second.headers.get("ETag") == first.headers.get("ETag")
        assert second.headers.get("Location") == first.headers.get("Location")
        assert second.headers["Consistency-Token"]


def test_refusals_of_a_rule_are_kept_and_invalid_requests_are_not(person: Person) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = {**ENTRY, "date": "2024-02-30"}
    assert person.post("/v1/journal/entries", body, headers=key).status_code == 422
    body["date"] = "2024-02-29"
    right = person.post("/v1/journal/entries", body, headers=key)
    assert right.status_code == 201


def test_a_key_outlives_the_write_api(up: Up, person: Person) -> None:
    import os
    import signal

    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = {**ENTRY, "date": str(datetime.date(2024, 1, 1))}
    first = person.post("/v1/journal/entries", body, headers=key)
    before = up.processes()["write-api"]
    os.kill(before["pid"], signal.SIGKILL)
    again: list[httpx.Response] = []

    def answers() -> bool:
        again[:] = [person.post("/v1/journal/entries", body, headers=key)]
        return again[0].status_code != 503

    wait_until(answers, seconds=10, what="the write API answers again")
    assert up.processes()["write-api"]["pid"] != before["pid"]
    assert again[0].status_code == 201
    assert again[0].content == first.content
    assert again[0].headers["Idempotency-Replayed"] == "true"
