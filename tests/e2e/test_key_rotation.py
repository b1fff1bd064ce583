"""Both keys are rotated while people work: no request fails, and everything is sealed anew."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from joserfc.util import urlsafe_b64decode

from adapters.archive.keys import OtherMasterKey, read
from adapters.event_store.subject_keys import SubjectKeys
from adapters.rotation import PASSING, SEALED
from bootstrap.settings import load
from bootstrap.wiring.keys import sealer_of
from tests.e2e.conftest import WITHOUT_LIMITS
from tests.support.people import ENTRY, PASSWORD, People, Person, people_at, token_of
from tests.support.servers import Database, wait_until
from tests.support.upped import Up, prepared

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def system() -> Iterator[Up]:
    with prepared(**WITHOUT_LIMITS) as running:
        running.start()
        yield running
        assert running.stop() == 0
        assert running.left() == []


@pytest.fixture(scope="module")
def crowd(system: Up) -> Iterator[People]:
    with people_at(system.gateway) as found:
        yield found


PACE = 0.2
"""Seconds between two requests of one person: some twenty a second in all."""

Work = Callable[[int], httpx.Response]


def diarist(person: Person) -> Work:
    """Writes a day, reads the list, writes the next."""

    def work(number: int) -> httpx.Response:
        if number % 2:
            return person.get("/v1/journal/entries?limit=5")
        day = str(date(2000, 1, 1) + timedelta(days=number))
        body = {**ENTRY, "date": day}
        return person.post("/v1/journal/entries", body, headers={"Idempotency-Key": day})

    return work


def reader(person: Person) -> Work:
    """Reads what is opened for each request anew."""
    made = person.write("1999-12-31").headers["Location"]
    return lambda number: person.get(f"{made}/history")


def visitor(person: Person) -> Work:
    """Logs in, and uses the token at once."""
    body = {"email": person.email, "password": PASSWORD}
    base = str(person.http.base_url)

    def work(number: int) -> httpx.Response:
        answer = httpx.post(f"{base}/v1/auth/login", json=body, timeout=30)
        if answer.status_code != 200:
            return answer
        bearer = {"Authorization": f"Bearer {answer.json()['data']['access_token']}"}
        return httpx.get(f"{base}/v1/journal/entries", headers=bearer, timeout=30)

    return work


def keep_at_it(work: Work, failed: list[str], done: threading.Event) -> None:
    number = 0
    while not done.is_set():
        try:
            answer = work(number)
            if answer.status_code >= 400:
                failed.append(f"{answer.request.method} {answer.url.path} {answer.text}")
        except httpx.HTTPError as error:
            failed.append(repr(error))
        number += 1
        done.wait(PACE)


@contextmanager
def using(crowd: People) -> Iterator[list[str]]:
    """People who write, read and log in, on and on; gives what failed of it."""
    failed: list[str] = []
    done = threading.Event()
    threads = [
        threading.Thread(target=keep_at_it, args=(kind(crowd.new()), failed, done))
        for kind in (diarist, diarist, reader, visitor)
    ]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        done.set()
        for thread in threads:
            thread.join()


def column(system: Up, query: str) -> list[Any]:
    with psycopg.connect(system.services()["write_dsn"], autocommit=True) as connection:
        return [row[0] for row in connection.execute(query.encode())]


def test_a_rotation_of_the_master_key_under_load(system: Up, crowd: People) -> None:
    before = crowd.new()
    before.write("2020-01-01", content="sealed before")
    assert before.post("/v1/auth/totp").status_code in (200, 201)
    [first] = set(column(system, "SELECT DISTINCT master_generation FROM subject_keys"))
    with using(crowd) as failed:
        done = system.cli("keys", "rotate", "master", "--json")
        assert done.returncode == 0, done.stderr
        # People who come afterwards get keys that the new one wraps.
        crowd.new().write("2020-01-01")
    assert failed == []
    told = json.loads(done.stdout)
    assert told["generation"] == 2
    assert told["unopened"] == {}
    assert told["resealed"]["subject_keys.wrapped"] >= 5
    assert told["resealed"]["accounts_credentials.password_hash"] >= 5
    assert told["resealed"]["accounts_signing_keys.private_pem"] == 1
    assert told["resealed"]["accounts_totp.seed"] == 1
    assert column(system, "SELECT DISTINCT master_generation FROM subject_keys") == [told["id"]]
    assert first != told["id"]
    for each in SEALED:
        query = f"SELECT DISTINCT substring({each.column} FROM 2 FOR 4) FROM {each.table}"
        assert column(system, query) in ([], [bytes.fromhex(told["id"])]), each
    [entry] = before.whole_list()
    history = before.get(f"/v1/journal/entries/{entry['id']}/history").json()["data"]
    assert history[0]["changes"]["content"]["to"] == "sealed before"
    assert (system.home / "master.key.1").stat().st_mode & 0o777 == 0o600
    assert (system.home / "master.key").stat().st_mode & 0o777 == 0o600

    # Without the first key everything is there as well: nothing depends on it any more. And a
    # rebuild, which another process does from the beginning, opens every event.
    rebuilt = system.cli("projections", "rebuild", "journal.entries", "--yes", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    result = json.loads(rebuilt.stdout)
    assert (result[0] if isinstance(result, list) else result)["equal"]


def test_discarded_master_keys_open_no_backup_of_before(
    system: Up, crowd: People, tmp_path: Path
) -> None:
    leaving, staying = crowd.new(), crowd.new()
    leaving.write("2020-01-01")
    key = {"Idempotency-Key": "kept"}
    body = {**ENTRY, "date": "2020-01-01"}
    kept = staying.post("/v1/journal/entries", body, headers=key)
    fresh = token_of(staying.write("2020-01-02"))
    page = staying.get("/v1/journal/entries?limit=1", headers=fresh).json()
    cursor = page["meta"]["next_cursor"]
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    assert system.cli("keys", "export", str(old)).returncode == 0
    asked = leaving.post("/v1/me/erasure")
    assert leaving.ended(asked.headers["Location"])[0]["state"] == "succeeded"
    asks = system.cli("keys", "rotate", "master", "--discard-old")
    assert asks.returncode == 4
    with using(crowd) as failed:
        done = system.cli("keys", "rotate", "master", "--discard-old", "--yes", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
    assert failed == []
    told = json.loads(done.stdout)
    assert told["discarded"] >= 1
    assert told["resealed"]["idempotency.response"] >= 1
    assert [path.name for path in system.home.glob("master.key*")] == ["master.key"]
    for each in PASSING:
        query = f"SELECT DISTINCT substring({each.column} FROM 2 FOR 4) FROM {each.table}"
        assert column(system, query) in ([], [bytes.fromhex(told["id"])]), each

    # The keys of before the erasure are worthless, those of today open everybody but who left.
    ours = SubjectKeys(sealer_of(load({}, home=system.home)))
    with pytest.raises(OtherMasterKey):
        read(old, ours)
    assert system.cli("keys", "export", str(new)).returncode == 0
    found = {str(one.subject_id): one.wrapped for one in read(new, ours)}
    assert found[leaving.id] is None
    assert found[staying.id] is not None

    # Nothing that a client holds has become worthless, whoever answers.
    for name in ("read-api", "write-api"):
        psutil.Process(system.processes()[name]["pid"]).kill()
    wait_until(
        lambda: staying.get("/v1/me").status_code == 200, seconds=20, what="the APIs are back"
    )
    again = staying.post("/v1/journal/entries", body, headers=key)
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (201, "true")
    assert again.content == kept.content
    rest = staying.get("/v1/journal/entries", params={"limit": 1, "cursor": cursor})
    assert rest.status_code == 200, rest.text
    assert rest.json()["data"][0]["date"] == "2020-01-01"


def test_a_rotation_of_the_signing_key_under_load(system: Up, crowd: People) -> None:
    def published() -> list[str]:
        answer = httpx.get(f"{system.gateway}/.well-known/jwks.json", timeout=10)
        return [key["kid"] for key in answer.json()["keys"]]

    person = crowd.new()
    [old] = published()
    with using(crowd) as failed:
        done = system.cli("keys", "rotate", "signing", "--json")
        assert done.returncode == 0, done.stderr
        new = json.loads(done.stdout)["kid"]
        wait_until(lambda: published() == [new, old], seconds=10, what="both keys are published")

        def signed_by_the_new_one() -> bool:
            body = {"email": person.email, "password": PASSWORD}
            answer = httpx.post(f"{system.gateway}/v1/auth/login", json=body, timeout=30)
            token: str = answer.json()["data"]["access_token"]
            return kid_of(token) == new

        wait_until(signed_by_the_new_one, seconds=20, what="the new key signs")
        assert kid_of(person.authorization.removeprefix("Bearer ")) == old
        assert person.get("/v1/me").status_code == 200
    assert failed == []
    assert published() == [new, old]


def kid_of(token: str) -> str:
    kid: str = json.loads(urlsafe_b64decode(token.partition(".")[0].encode()))["kid"]
    return kid


def test_a_master_key_that_is_a_setting_is_rotated_by_whoever_sets_it(system: Up) -> None:
    env = dict(system.env)
    system.env["MINDSTREAM_MASTER_KEY"] = b64encode(bytes(32)).decode()
    try:
        refused = system.cli("keys", "rotate", "master")
    finally:
        system.env.clear()
        system.env.update(env)
    assert refused.returncode == 4
    assert "MINDSTREAM_MASTER_KEY_PREVIOUS" in refused.stderr


def test_every_sealed_column_is_known_to_the_rotation(database: Database) -> None:
    with psycopg.connect(database.owner_dsn) as connection:
        found = connection.execute(
            """
            SELECT c.relname, a.attname FROM pg_description d
            JOIN pg_class c ON c.oid = d.objoid
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid
            WHERE d.description LIKE '%sealed' AND c.relkind IN ('r', 'p')
            """
        ).fetchall()
    assert set(found) <= {(each.table, each.column) for each in SEALED}
    assert len(found) >= 2
