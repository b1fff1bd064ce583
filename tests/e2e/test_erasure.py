"""A person is erased: what they wrote is found nowhere, and everything else goes on."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
from joserfc import jws
from joserfc.jwk import KeySet
from psycopg.sql import SQL, Identifier

from tests.e2e.conftest import OPERATOR, WITHOUT_LIMITS
from tests.support.people import PASSWORD, People, Person, people_at, token_of
from tests.support.servers import wait_until
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


@pytest.fixture(scope="module")
def operator(system: Up) -> Iterator[httpx.Client]:
    body = {"email": OPERATOR[0], "password": OPERATOR[1]}
    answer = httpx.post(f"{system.gateway}/v1/auth/login", json=body)
    token = answer.json()["data"]["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=system.gateway, headers=bearer, timeout=30) as client:
        yield client


def tables(system: Up) -> Iterator[tuple[str, bytes]]:
    """All that every table holds, as PostgreSQL's binary COPY gives it."""
    with psycopg.connect(owner_dsn(system)) as connection:
        names = connection.execute(
            "SELECT c.relname FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname = 'public'"
        ).fetchall()
        for (name,) in names:
            query = SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT BINARY)")
            with connection.cursor().copy(query.format(Identifier(name))) as copy:
                yield name, b"".join(bytes(part) for part in copy)


def owner_dsn(system: Up) -> str:
    dsn: str = system.services()["write_dsn"]
    return dsn.replace("mindstream_write@", "mindstream@", 1)


def files(system: Up) -> Iterator[tuple[Path, bytes]]:
    """Every file of the home, but for those of the database's own."""
    for folder, inner, names in os.walk(system.home):
        inner[:] = [name for name in inner if Path(folder, name) != system.home / "pg"]
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                yield path, path.read_bytes()


def cached(system: Up) -> Iterator[tuple[str, bytes]]:
    """All that Valkey holds, in every database of it."""
    with redis.Redis.from_url(system.services()["redis_url"]) as client:
        number = int(client.config_get("databases")["databases"])
    for database in range(number):
        with redis.Redis.from_url(system.services()["redis_url"], db=database) as client:
            for key in client.scan_iter():
                yield f"valkey {database}", key + repr(value_of(client, key)).encode()


def value_of(client: Any, key: bytes) -> Any:
    match client.type(key):
        case b"string":
            return client.get(key)
        case b"list":
            return client.lrange(key, 0, -1)
        case b"hash":
            return client.hgetall(key)
        case b"set":
            return client.smembers(key)
        case b"zset":
            return client.zrange(key, 0, -1)
        case b"stream":
            return client.xrange(key)
        case b"none":  # it has expired meanwhile
            return None
        case other:
            raise AssertionError(f"a key of another type: {other!r}")


def found_in(system: Up, *words: str) -> list[str]:
    everything = [
        *tables(system),
        *((str(path), data) for path, data in files(system)),
        *cached(system),
    ]
    return sorted({name for name, data in everything for word in words if word.encode() in data})


def fill(person: Person, canary: str) -> str:
    """Say the word wherever something can be said; the id of an entry."""
    made = person.write("2024-05-01", title=canary, content=f"it is {canary}", tags=[canary])
    entry = made.json()["data"]
    path = f"/v1/journal/entries/{entry['id']}"
    changed = person.patch(path, {"content": f"again {canary}", "location": canary}, 1)
    assert changed.status_code == 200, changed.text
    key = {"Idempotency-Key": f"key-{secrets.token_hex(4)}", "User-Agent": f"agent {canary}"}
    again = person.post(
        "/v1/journal/entries", {"date": "2024-05-02", "title": canary, "content": "x"}, headers=key
    )
    assert again.status_code == 201, again.text
    me = person.get("/v1/me", headers=token_of(again)).json()["data"]
    profile = {"display_name": canary, "bio": canary, "preferences": {"motto": canary}}
    revised = person.patch("/v1/me", profile, me["version"])
    assert revised.status_code == 200, revised.text
    login = {"email": person.email, "password": PASSWORD}
    httpx.post(
        f"{person.http.base_url}/v1/auth/login", json=login, headers={"User-Agent": canary}
    ).raise_for_status()
    key_made = person.post("/v1/api-keys", {"name": canary, "permissions": ["journal:read"]})
    assert key_made.status_code == 201, key_made.text
    tenant = person.post("/v1/tenants", {"name": canary})
    assert tenant.status_code == 201, tenant.text
    line = json.dumps({"date": "2024-06-01", "title": canary, "content": canary})
    _, fresh = person.ended(person.begin_import(line.encode()))
    assert len(person.whole_list(fresh)) == 3
    return str(entry["id"])


def letters_in(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*.eml"))


def ended(client: httpx.Client, path: str) -> dict[str, Any]:
    last: list[dict[str, Any]] = []

    def is_over() -> bool:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        last[:] = [answer.json()["data"]]
        return last[0]["finished_at"] is not None

    wait_until(is_over, seconds=90, what="the erasure is done")
    assert last[0]["state"] == "succeeded", last[0]
    return last[0]


def test_what_somebody_wrote_is_found_nowhere_after_erasure(
    system: Up, crowd: People, operator: httpx.Client
) -> None:
    canary = f"kanarie{secrets.token_hex(8)}"
    person, other = crowd.new(), crowd.new()
    entry_id = fill(person, canary)
    other.write("2024-05-01", content="stays")
    name = person.email.split("@")[0]
    reset = f"{system.gateway}/v1/auth/request-password-reset"
    assert httpx.post(reset, json={"email": person.email}).status_code == 202
    letters = system.home / "mail"
    wait_until(lambda: name in letters_in(letters), seconds=20, what="the letter is there")
    rebuilt = system.cli("projections", "rebuild", "journal.entries", "--yes", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr  # the former generation is kept
    before = found_in(system, canary)
    named = {"accounts_people", "accounts_keys", "accounts_tenants", "journal_tags"}
    assert named | {"journal_entries"} <= set(before)
    assert any(table.startswith("journal_entries__g") for table in before)
    assert not {"events", "snapshots", "idempotency"} & set(before)

    asked = person.post("/v1/me/erasure")
    assert asked.status_code == 202, asked.text
    path = asked.headers["Location"]

    def closed() -> bool:
        return person.get("/v1/me").status_code == person.delete(path).status_code == 401

    wait_until(closed, seconds=3, what="the login has ended")
    login = {"email": person.email, "password": PASSWORD}
    assert httpx.post(f"{system.gateway}/v1/auth/login", json=login).status_code == 401
    operation = ended(person.http, path)  # by the asking token
    assert operator.get(path).json()["data"]["result"] == operation["result"]
    assert other.get(path).status_code == 404
    assert person.get("/v1/operations/00000000-0000-0000-0000-000000000000").status_code == 401

    assert found_in(system, canary, name) == []
    report = operation["result"]
    erased = report["erased"]
    assert erased["subject_keys"] == erased["accounts_people"] == 1
    assert erased["mail"] >= 1
    assert erased["journal_entries"] == erased["journal_days"] == 3
    assert sum(n for table, n in erased.items() if table.startswith("journal_entries__g")) == 3
    assert erased["accounts_logins"] >= 2
    assert erased["idempotency"] >= 1
    assert erased["claims"] >= 4
    assert erased["accounts_keys"] == erased["accounts_key_hashes"] == 1
    assert erased["accounts_tenants"] == 2  # their own and the one that they made: folded anew
    check_signature(system, report)
    said = system.cli("subjects", "report", operation["id"], "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == report

    nothing_fails(system, operator, person, entry_id)
    assert found_in(system, canary, name) == []
    assert [entry["content"] for entry in other.whole_list()] == ["stays"]
    # The address is free again, for somebody who is another person.
    register = {
        "email": person.email,
        "password": PASSWORD,
        "display_name": "New",
        "consent": {
            "terms_version": "1",
            "privacy_policy_version": "1",
            "data_processing": True,
            "marketing": False,
        },
    }
    anew = httpx.post(f"{system.gateway}/v1/auth/register", json=register)
    assert anew.status_code == 201, anew.text
    assert anew.json()["data"]["id"] != person.id


def nothing_fails(system: Up, operator: httpx.Client, person: Person, entry_id: str) -> None:
    """Everything is built anew, and shows what is left of the events."""
    for view in ("journal.entries", "accounts.people", "journal.tags", "journal.days"):
        again = system.cli("projections", "rebuild", view, "--yes", "--json")
        assert again.returncode == 0, again.stderr
        result = json.loads(again.stdout)
        assert (result[0] if isinstance(result, list) else result)["equal"], view
    with psycopg.connect(owner_dsn(system)) as connection:
        for table in ("journal_entries", "journal_days", "journal_tags", "accounts_people"):
            query = SQL("SELECT count(*) FROM {} WHERE user_id = %s").format(Identifier(table))
            assert connection.execute(query, (person.id,)).fetchone() == (0,)
    listed = operator.get(f"/v1/ops/events?stream_id=journal.entry-{entry_id}").json()["data"]
    assert listed[0]["data"]["title"] == {"erased": True}
    assert listed[0]["data"]["entry_id"] == entry_id
    status = operator.get("/v1/ops/projections").json()["data"]
    assert {each["status"] for each in status} == {"live"}
    # An archive is written among the files, where whoever comes next will look.
    archive, keys = str(system.home / "archive"), str(system.home / "keys")
    exported = system.cli("events", "export", archive, "--keys", keys)
    assert exported.returncode == 0, exported.stderr


def check_signature(system: Up, report: dict[str, Any]) -> None:
    published = httpx.get(f"{system.gateway}/.well-known/jwks.json").json()
    token = jws.deserialize_compact(
        report["signature"], KeySet.import_key_set(published), ["RS256"]
    )
    said = {name: value for name, value in report.items() if name != "signature"}
    assert json.loads(token.payload) == said
    # Nobody can log in with it.
    answer = httpx.get(
        f"{system.gateway}/v1/me", headers={"Authorization": f"Bearer {report['signature']}"}
    )
    assert answer.status_code == 401
    header = json.loads(urlsafe_b64decode(report["signature"].split(".", 1)[0] + "=="))
    assert header["typ"] == "JOSE"


def test_an_operator_erases_from_the_command_line_what_waits_and_what_is_paused(
    system: Up, crowd: People
) -> None:
    canary = f"kanarie{secrets.token_hex(8)}"
    person = crowd.new()
    fill(person, canary)
    assert system.cli("projections", "pause", "journal.tags").returncode == 0
    person.write("2024-07-01", tags=[canary])
    refused = system.cli("subjects", "erase", "nobody@example.org", "--yes")
    assert refused.returncode == 4
    done = subprocess.Popen(
        [*cli_command(), "subjects", "erase", person.email, "--yes", "--json"],
        env=system.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, complaint = done.communicate(timeout=120)
    assert done.returncode == 0, complaint
    report = json.loads(said)
    assert report["erased"]["journal_tags"] == 1  # the other one waits to be folded
    check_signature(system, report)
    assert found_in(system, canary) == []
    assert system.cli("projections", "resume", "journal.tags").returncode == 0
    with psycopg.connect(owner_dsn(system), autocommit=True) as connection:

        def caught_up() -> bool:
            row = connection.execute(
                "SELECT min(position) >= (SELECT max(position) FROM events), min(status)"
                " FROM projection_checkpoints WHERE name = 'journal.tags'"
            ).fetchone()
            return row == (True, "live")

        wait_until(caught_up, seconds=20, what="the view has caught up")
        assert connection.execute("SELECT count(*) FROM projection_quarantine").fetchone() == (0,)
        query = "SELECT count(*) FROM journal_tags WHERE user_id = %s"
        assert connection.execute(query, (person.id,)).fetchone() == (0,)


def cli_command() -> list[str]:
    return [sys.executable, "-m", "bootstrap.cli"]
