"""Operators at work on a running system, over HTTP and at the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from typing import Any

import psycopg
import pytest

from tests.e2e.conftest import OPERATOR
from tests.support.generated_diary import GeneratedDiary
from tests.support.people import People, Person
from tests.support.servers import wait_until
from tests.support.upped import Up

PROJECTIONS = "/v1/ops/projections"


@pytest.fixture(scope="module")
def operator(people: People) -> Person:
    return people.log_in(*OPERATOR)


@pytest.fixture(scope="module")
def diary(people: People) -> Person:
    """Somebody with enough events for a rebuild to be met under way."""
    person = people.new()
    person.ended(person.begin_import(GeneratedDiary(3_000).raw))
    return person


def show(up: Up, name: str) -> dict[str, Any]:
    return json.loads(up.cli("projections", "show", name, "--json").stdout)


def test_the_command_line_and_http_say_the_same(up: Up, operator: Person, diary: Person) -> None:
    listed = json.loads(up.cli("projections", "list", "--json").stdout)
    over_http = operator.get(PROJECTIONS).json()["data"]
    assert [each["name"] for each in listed] == [each["name"] for each in over_http]
    assert set(listed[0]) == set(over_http[0])
    for command in ("projections", "show"), ("quarantine", "list", "--projection"):
        slip = up.cli(*command, "journal.entires")
        assert slip.returncode == 2
        assert slip.stderr.endswith(" journal.entires. Did you mean journal.entries?\n")
    waiting = operator.get("/v1/ops/quarantine", params={"limit": 100}).json()["data"]
    assert json.loads(up.cli("quarantine", "list", "--json").stdout) == waiting
    assert diary.get(PROJECTIONS).status_code == 403


@pytest.mark.parametrize(
    "path",
    ["projections", "projections/journal.tags", "reactions", "quarantine", "events", "operations",
     "jobs"],
)  # fmt: skip
def test_reads_keep_the_conventions(operator: Person, diary: Person, path: str) -> None:
    answer = operator.get(f"/v1/ops/{path}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["success"] is True
    assert answer.headers["Consistency-Token"]
    assert ("meta" in body) == isinstance(body["data"], list)
    if "meta" in body:
        assert body["meta"]["limit"] == 20
    if path in ("operations", "jobs"):
        # What it is about is for pages and tables alone: these are the contract's fields.
        fields = "id kind state progress eta_seconds detail result error created_at finished_at"
        assert set(body["data"][0]) == set(fields.split())
    assert operator.get(f"/v1/ops/{path}?x=1").status_code == 422
    assert operator.http.head(f"/v1/ops/{path}").status_code == 200


def test_a_rebuild_at_the_command_line_is_done_by_a_worker(
    up: Up, operator: Person, diary: Person
) -> None:
    planned = up.cli("projections", "rebuild", "journal.entries", "--dry-run", "--json")
    plan = json.loads(planned.stdout)
    assert plan["events_by_topic"]["journal.EntryWritten.v1"] >= 3_000
    assert plan["expected_seconds"] > 0
    done = up.cli("projections", "rebuild", "journal.entries", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["equal"], report["swapped"]) == (True, True)
    newest = operator.get("/v1/ops/operations", params={"kind": "projection.rebuild"}).json()
    assert newest["data"][0]["result"] == report
    path = f"/v1/operations/{newest['data'][0]['id']}"
    assert operator.get(path).json()["data"]["state"] == "succeeded"

    verified = up.cli("projections", "verify", "journal.entries", "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["equal"] is True
    assert up.cli("projections", "rollback", "journal.entries").returncode == 4
    back = up.cli("projections", "rollback", "journal.entries", "--yes", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["generation"] < report["generation"]
    for arguments in (["--from", "yesterday"], ["--partitions", "0"]):
        refused = up.cli("projections", "rebuild", "journal.entries", *arguments)
        assert refused.returncode == 2, refused.stderr
    assert up.cli("projections", "rebuild", "nothing").returncode == 2


def test_verify_ends_with_1_where_rows_differ(up: Up, diary: Person) -> None:
    with psycopg.connect(up.services()["owner_dsn"]) as connection:
        connection.execute("UPDATE journal_tags SET active = NOT active")
    said = up.cli("projections", "verify", "journal.tags", "--json")
    assert said.returncode == 1, said.stderr
    assert json.loads(said.stdout)["differences"]
    as_text = up.cli("projections", "verify", "journal.tags").stdout
    assert re.search(r"^[0-9a-f-]{36}  active (false → true|true → false)$", as_text, re.MULTILINE)
    refused = up.cli("projections", "rebuild", "journal.tags")
    assert refused.returncode == 4, refused.stderr
    assert refused.stdout == ""
    bar, *told, ways = refused.stderr.splitlines()
    assert "100%" in bar
    assert "nothing was swapped" in told[0]
    assert len(told) <= 4
    assert "projections verify journal.tags" in ways
    assert "--accept-differences" in ways
    as_json = up.cli("projections", "rebuild", "journal.tags", "--json")
    assert '"differences": [' in as_json.stderr
    assert up.cli("projections", "rebuild", "journal.tags", "--accept-differences").returncode == 0
    assert up.cli("projections", "verify", "journal.tags").returncode == 0


def test_pause_and_resume_at_the_command_line(up: Up, operator: Person, diary: Person) -> None:
    assert up.cli("projections", "pause", "journal.days").returncode == 0
    assert show(up, "journal.days")["status"] == "paused"
    assert operator.get("/health/ready").status_code == 200
    assert up.cli("projections", "resume", "journal.days").returncode == 0
    assert show(up, "journal.days")["status"] != "paused"
    assert up.cli("projections", "cancel", "journal.days").returncode == 4


def test_a_rebuild_is_paused_survives_its_worker_and_is_cancelled(
    up: Up, operator: Person, diary: Person
) -> None:
    path = f"{PROJECTIONS}/journal.entries"
    before = operator.get(path).json()["data"]["generation"]
    with psycopg.connect(up.services()["owner_dsn"]) as holding:
        # What it needs first is held, so that it cannot be over before it is paused.
        holding.execute("LOCK TABLE projection_generations IN ACCESS EXCLUSIVE MODE")
        accepted = operator.post(f"{path}/rebuild", {})
        paused = operator.post(f"{path}/pause", {})
        at = f"/v1/operations/{accepted.json()['data']['id']}"

        def wished() -> bool:
            found = holding.execute(
                "SELECT pause_requested FROM operations WHERE id = %s", (at[-36:],)
            ).fetchone()
            return found == (True,)

        wait_until(wished, what="the wish is known")
    operation, _ = operator.ended(paused.headers["Location"])
    assert operation["state"] == "succeeded", operation
    status = operator.get(path).json()["data"]
    assert status["rebuild"]["state"] == "paused"
    assert status["rebuild"]["operation_id"] == at[-36:]
    assert set(status["rebuild"]) >= {"progress", "eta_seconds", "events_done", "events_total"}
    assert operator.get(at).json()["data"]["state"] == "running"
    assert up.cli("projections", "rebuild", "journal.entries").returncode == 4

    worker = up.processes()["worker"]["pid"]

    os.kill(worker, signal.SIGKILL)
    resumed = operator.post(f"{path}/resume", {})
    operation, _ = operator.ended(resumed.headers["Location"])
    assert operation["state"] == "succeeded", operation
    operation, _ = operator.ended(at)
    assert operation["state"] == "succeeded", operation
    assert operation["result"]["swapped"] is True
    after = operator.get(path).json()["data"]
    assert after["generation"] > before
    assert after["rebuild"] is None

    with psycopg.connect(up.services()["owner_dsn"]) as holding:
        holding.execute("LOCK TABLE projection_generations IN ACCESS EXCLUSIVE MODE")
        accepted = operator.post(f"{path}/rebuild", {})
        cancelled = operator.http.delete(accepted.headers["Location"])
        assert cancelled.status_code == 202
    operation, _ = operator.ended(accepted.headers["Location"])
    assert operation["state"] == "cancelled"
    again = operator.get(path).json()["data"]
    assert (again["generation"], again["rebuild"]) == (after["generation"], None)


def test_an_interrupted_command_leaves_the_rebuild_running(
    up: Up, operator: Person, diary: Person
) -> None:
    with psycopg.connect(up.services()["owner_dsn"]) as holding:
        holding.execute("LOCK TABLE projection_generations IN ACCESS EXCLUSIVE MODE")
        waiting = subprocess.Popen(
            [sys.executable, "-m", "bootstrap.cli", "projections", "rebuild", "journal.days"],
            env=up.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Whoever starts the tests in the background has their children ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        query = {"kind": "projection.rebuild", "limit": 1}

        def running() -> bool:
            newest = operator.get("/v1/ops/operations", params=query).json()["data"]
            return [one["state"] for one in newest] == ["running"]

        try:
            wait_until(running, what="a worker has it")
            waiting.send_signal(signal.SIGINT)
            _, said = waiting.communicate(timeout=20)
        finally:
            waiting.kill()
        assert waiting.returncode == 130, said
        assert "goes on" in said
        newest = operator.get("/v1/ops/operations", params=query).json()["data"][0]
        assert newest["id"] in said
    operation, _ = operator.ended(f"/v1/operations/{newest['id']}")
    assert operation["state"] == "succeeded"


def test_a_filter_that_fits_nothing_is_not_mistaken_for_silence(up: Up, diary: Person) -> None:
    slip = up.cli("events", "read", "--topic", "journal.EntryWriten.v1")
    assert (slip.returncode, slip.stdout) == (2, "")
    assert "Did you mean journal.EntryWritten.v1?" in slip.stderr
    every = json.loads(
        up.cli("events", "read", "--topic", "journal.EntryWritten", "--limit", "2", "--json").stdout
    )
    assert [each["topic"] for each in every] == ["journal.EntryWritten.v1"] * 2
    nowhere = up.cli("events", "read", "--stream", "nonsense")
    assert nowhere.stderr == "no events: there is no stream nonsense\n"
    beyond = up.cli("events", "read", "--stream", every[0]["stream_id"], "--after", "999999999")
    assert (beyond.returncode, beyond.stderr) == (0, "no events\n")
    assert up.cli("quarantine", "list", "--stream-id", "nonsense").stderr == "no items\n"


def test_quarantine_at_the_command_line(up: Up, operator: Person) -> None:
    item = str(uuid.uuid4())
    with psycopg.connect(up.services()["owner_dsn"]) as connection:
        connection.execute(
            "INSERT INTO projection_quarantine (id, projection, stream_id, position, topic, error,"
            " state) VALUES (%s, 'no.such', 'journal.entry-x', 1000000, 'x.Y.v1', 'ValueError',"
            " 'parked')",
            (item,),
        )
    [listed] = json.loads(up.cli("quarantine", "list", "--state", "parked", "--json").stdout)
    assert [listed] == operator.get("/v1/ops/quarantine?state=parked").json()["data"]
    assert json.loads(up.cli("quarantine", "show", item, "--json").stdout) == listed
    assert up.cli("quarantine", "retry").returncode == 2
    retried = up.cli("quarantine", "retry", item, "--json")
    assert json.loads(retried.stdout) == {"count": 1, "ids": [item]}, retried.stderr
    choice = ["--projection", "no.such", "--reason", "made up"]
    assert up.cli("quarantine", "discard", *choice).returncode == 4
    planned = up.cli("quarantine", "discard", *choice, "--dry-run", "--json")
    assert [each["id"] for each in json.loads(planned.stdout)] == [item]
    done = up.cli("quarantine", "discard", *choice, "--yes")
    assert (done.returncode, done.stdout) == (0, "1 discarded\n")
    shown = json.loads(up.cli("quarantine", "show", item, "--json").stdout)
    assert (shown["state"], shown["reason"]) == ("discarded", "made up")
    with psycopg.connect(up.services()["owner_dsn"]) as connection:
        connection.execute("DELETE FROM projection_quarantine WHERE id = %s", (item,))
