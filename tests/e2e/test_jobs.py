"""``mindstream jobs`` against a running system."""

from __future__ import annotations

import json
import re
from uuid import uuid4

import psycopg

from tests.support.people import Person
from tests.support.upped import Up


def accepted(up: Up, kind: str, **params: str) -> str:
    """A job that no worker has heard of yet, nor will within this test."""
    job = str(uuid4())
    with psycopg.connect(up.services()["write_dsn"]) as connection:
        connection.execute(
            """
            INSERT INTO operations (id, kind, user_id, tenant_id, correlation_id, created_at,
                                    offers, offered_at, params)
            VALUES (%s, %s, gen_random_uuid(), gen_random_uuid(), 'test', now(), 6, now(), %s)
            """,
            (job, kind, json.dumps(params)),
        )
    return job


def test_jobs_are_listed_shown_and_waited_for(up: Up) -> None:
    assert up.cli("projections", "verify", "journal.tags").returncode == 0
    listed = json.loads(up.cli("jobs", "list", "--kind", "projection.verify", "--json").stdout)
    [newest, *_] = listed
    alone = json.loads(up.cli("jobs", "--kind", "projection.verify", "--json").stdout)
    assert [each["id"] for each in alone] == [each["id"] for each in listed]
    assert (newest["kind"], newest["state"]) == ("projection.verify", "succeeded")

    line = rf"^{newest['id']}  projection\.verify +journal\.tags "
    assert re.search(line, up.cli("jobs", "list").stdout, re.MULTILINE)

    shown = up.cli("jobs", "show", newest["id"])
    assert shown.returncode == 0
    assert '"equal":true' in shown.stdout

    waited = up.cli("jobs", "wait", newest["id"], "--json")
    assert waited.returncode == 0
    assert json.loads(waited.stdout)["result"]["equal"] is True
    assert "projection.verify" in waited.stderr

    over = up.cli("jobs", "cancel", newest["id"])
    assert (over.returncode, over.stderr) == (4, "It has ended already.\n")


def test_a_job_of_operators_is_cancelled_and_one_of_a_person_is_not(up: Up) -> None:
    job = accepted(up, "projection.verify")
    cancelled = up.cli("jobs", "cancel", job, "--json")
    assert cancelled.returncode == 0, cancelled.stderr
    assert json.loads(cancelled.stdout)["state"] == "cancelled"
    assert up.cli("jobs", "wait", job).returncode == 1

    rebuild = accepted(up, "projection.rebuild", projection="journal.tags")
    cancelled = up.cli("projections", "cancel", "--all", "--json")
    assert [each["id"] for each in json.loads(cancelled.stdout)] == [rebuild], cancelled.stderr
    assert up.cli("projections", "cancel", "--all").returncode == 4

    private = accepted(up, "journal.import")
    refused = up.cli("jobs", "cancel", private)
    assert refused.returncode == 4
    with psycopg.connect(up.services()["write_dsn"]) as connection:
        connection.execute("DELETE FROM operations WHERE id = %s", (private,))


def test_what_cannot_be_asked_for_is_said(up: Up) -> None:
    assert up.cli("jobs", "list", "--state", "asleep").returncode == 2
    unknown = up.cli("jobs", "show", str(uuid4()))
    assert unknown.returncode == 1
    assert "There is no job" in unknown.stderr


def test_an_erasure_can_be_foretold(up: Up, person: Person) -> None:
    said = up.cli("subjects", "erase", person.id, "--dry-run", "--json")

    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["rows"]["accounts_people"] == 1
    refused = up.cli("subjects", "erase", person.id)
    assert refused.returncode == 4
