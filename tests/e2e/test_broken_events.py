"""An event whose stored form was damaged: seen, put aside, repaired by SQL, and folded in order."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.e2e.conftest import OPERATOR
from tests.support.people import People, Person, token_of
from tests.support.servers import wait_until
from tests.support.upped import Up

ENTRIES = "/v1/ops/projections/journal.entries"


@pytest.fixture(scope="module")
def operator(people: People) -> Person:
    return people.log_in(*OPERATOR)


def done(operator: Person, path: str, body: Any = None) -> dict[str, Any]:
    """Ask for it and wait until it has ended."""
    accepted = operator.post(path, {} if body is None else body)
    assert accepted.status_code == 202, accepted.text
    operation, _ = operator.ended(accepted.headers["Location"])
    assert operation["state"] == "succeeded", operation
    return operation


@pytest.mark.parametrize(
    "damage",
    [
        b"not JSON at all",
        b"\xff\xfe\x00\x01",
        b'{"entry_id":"00000000-0000-0000-0000-000000000000"}\x00short',
        None,
    ],
    ids=["words", "bytes", "cut off", "one bit"],
)
def test_a_damaged_event(up: Up, people: People, operator: Person, damage: bytes | None) -> None:
    person = people.new()
    entry = person.write("2024-05-01")
    assert person.get(entry.headers["Location"], headers=token_of(entry)).status_code == 200
    done(operator, f"{ENTRIES}/pause")
    changed = person.patch(entry.headers["Location"], {"title": "second"}, 1)
    stream = f"journal.entry-{entry.json()['data']['id']}"
    with psycopg.connect(up.services()["owner_dsn"], autocommit=True) as database:
        [[whole]] = database.execute(
            "SELECT data FROM events WHERE stream_id = %s AND stream_version = 2", (stream,)
        ).fetchall()
        spoiled = whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage

        def store(data: bytes) -> None:
            database.execute(
                "UPDATE events SET data = %s WHERE stream_id = %s AND stream_version = 2",
                (data, stream),
            )

        store(spoiled)
        other = people.new().write("2024-05-01")  # behind it, in another stream
        done(operator, f"{ENTRIES}/resume")

        def items(**wanted: str) -> list[dict[str, Any]]:
            answer = operator.get("/v1/ops/quarantine", params={"stream_id": stream, **wanted})
            assert answer.status_code == 200, answer.text
            found: list[dict[str, Any]] = answer.json()["data"]
            return found

        wait_until(
            lambda: items(projection="journal.entries") != [],
            seconds=10,
            what="it is in quarantine",
        )
        [item] = items(projection="journal.entries")
        assert item["topic"] == "journal.EntryRevised.v1"
        assert "Undecodable" in item["error"]
        shown = operator.get("/v1/ops/events", params={"stream_id": stream})
        assert shown.status_code == 200, shown.text
        assert up.cli("events", "read", "--stream", stream).returncode == 0
        wait_until(
            lambda: operator.get(ENTRIES).json()["data"]["position"] > item["position"],
            seconds=10,
            what="the rest goes on",
        )
        status = operator.get(ENTRIES).json()["data"]["status"]
        assert status in ("live", "catching_up")
        waiting = person.get(entry.headers["Location"], headers=token_of(changed))
        assert (waiting.status_code, waiting.json()["code"]) == (503, "READ_MODEL_BEHIND")
        assert person.get(entry.headers["Location"]).json()["data"]["title"] == "A day"
        assert other.status_code == 201

        store(whole)
        done(operator, f"/v1/ops/quarantine/{item['id']}/retry")
        done(operator, "/v1/ops/quarantine/retry", {"stream_id": stream})  # the others' too
        wait_until(
            lambda: {each["state"] for each in items()} == {"released"},
            seconds=10,
            what="it is mended",
        )
    read = person.get(entry.headers["Location"], headers=token_of(changed))
    assert (read.status_code, read.json()["data"]["title"]) == (200, "second")
    verified = up.cli("projections", "verify", "journal.entries", "--json")
    assert json.loads(verified.stdout)["equal"]
