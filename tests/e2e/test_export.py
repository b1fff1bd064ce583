"""An export by a running system: through the gateway, by a worker that is killed meanwhile."""

from __future__ import annotations

import io
import json
import os
import signal
import zipfile

import psycopg

from tests.support.generated_diary import GeneratedDiary
from tests.support.people import People
from tests.support.servers import wait_until
from tests.support.upped import Up


def test_an_export_survives_its_worker_and_is_a_whole_diary(up: Up, people: People) -> None:
    person, other = people.new(), people.new(display_name="Somebody else")
    diary = GeneratedDiary(6_000)
    _, fresh = person.ended(person.begin_import(diary.raw))
    foreign = other.write("2026-03-01", title="of another person").json()["data"]["id"]

    accepted = person.post("/v1/me/export")
    assert accepted.status_code == 202
    path = accepted.headers["Location"]
    assert other.get(path).status_code == 404

    killed = 0
    with psycopg.connect(up.services()["owner_dsn"], autocommit=True) as connection:
        connection.execute("SET row_security = off")
        query = "SELECT count(*) FROM export_pieces WHERE export_id = %s"
        operation_id = path.rpartition("/")[2]

        def has_begun() -> bool:
            row = connection.execute(query, (operation_id,)).fetchone()
            return row is not None and row[0] > 0

        wait_until(has_begun, what="the first piece is there")
        if person.get(path).json()["data"]["finished_at"] is None:
            os.kill(up.processes()["worker"]["pid"], signal.SIGKILL)
            killed += 1
        operation, _ = person.ended(path)
        runs = connection.execute(
            "SELECT count(DISTINCT run) FROM export_pieces WHERE export_id = %s", (operation_id,)
        ).fetchone()
    assert killed, "it was done before it could be killed: take a longer diary"
    assert operation["state"] == "succeeded", operation
    assert runs == (1,)

    answer = people.anonymous.get(operation["result"]["download_url"])
    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    bundle = zipfile.ZipFile(io.BytesIO(answer.content))
    assert bundle.testzip() is None
    items = json.loads(bundle.read("journal/entries.json"))
    assert [item["entry"] for item in items] == person.whole_list(fresh, sort="date")
    assert len(items) == len(diary.entries)
    everything = b"".join(bundle.read(name) for name in bundle.namelist())
    for theirs in (other.id, other.email, foreign, "of another person"):
        assert theirs.encode() not in everything

    signature = operation["result"]["download_url"].rpartition("=")[2]
    logs = b"".join(file.read_bytes() for file in up.home.rglob("*.log"))
    assert signature.encode() not in logs + up.output.read_bytes()
    changed = operation["result"]["download_url"][:-1]
    assert people.anonymous.get(changed).status_code == 403
