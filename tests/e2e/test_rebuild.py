"""Read models are expendable: without a row left, a rebuild brings the same answers back."""

from __future__ import annotations

import re

import httpx
import psycopg
from psycopg import sql

from bootstrap.views import VIEWS
from tests.support.generated_diary import GeneratedDiary
from tests.support.people import People, Person
from tests.support.upped import Up

_MOMENT = re.compile(rb'"timestamp":"[^"]*","requestId":"[^"]*"')


def _answers(person: Person, entries: list[str], fresh: dict[str, str]) -> dict[str, bytes]:
    """What some thirty reads answer, without the moment of each."""
    listed = "/v1/journal/entries"
    paths = [
        "/v1/me",
        "/v1/journal/streak",
        "/v1/journal/tags",
        "/v1/journal/tags?limit=3",
        "/v1/journal/tags/suggest?prefix=",
        "/v1/journal/tags/suggest?prefix=w&limit=100",
        listed,
        *(f"{listed}?limit=100&sort={sort}" for sort in ("date", "-updated_at", "updated_at")),
        f"{listed}?mood=sad&limit=50",
        f"{listed}?tag=rain&tag=work",
        f"{listed}?is_private=true&limit=7",
        f"{listed}?date_from=2001-06-01&date_to=2001-07-31",
        *(f"/v1/journal/calendar/2001/{month}" for month in range(1, 8)),
        *(f"{listed}/{entry}" for entry in entries),
        *(f"{listed}/{entry}/history" for entry in entries[:3]),
    ]
    found = {}
    for path in paths:
        answer: httpx.Response = person.get(path, headers=fresh)
        found[path] = b"%d " % answer.status_code + _MOMENT.sub(b"", answer.content)
        following = re.search(rb'"next_cursor":"([^"]+)"', answer.content)
        if following:
            after = path + ("&" if "?" in path else "?") + "cursor=" + following[1].decode()
            found[after] = _MOMENT.sub(b"", person.get(after, headers=fresh).content)
    return found


def _rows(owner_dsn: str) -> dict[str, list[str]]:
    with psycopg.connect(owner_dsn) as connection:
        return {
            view.table: [
                row[0]
                for row in connection.execute(
                    sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(
                        sql.Identifier(view.table)
                    )
                )
            ]
            for view in VIEWS
        }


def test_without_a_row_left_a_rebuild_brings_the_same_answers_back(up: Up, people: People) -> None:
    person = people.new(timezone="Asia/Tokyo", username="r-e-build")
    _, fresh = person.ended(person.begin_import(GeneratedDiary(400).raw))
    entries = [entry["id"] for entry in person.whole_list(fresh, sort="date")[:8]]
    path = "/v1/journal/entries/"
    person.patch(path + entries[0], {"title": "revised", "tags": ["rain", "new"]}, 1)
    person.delete(path + entries[1], 1)
    person.delete(path + entries[2], 1)
    person.post(f"{path}{entries[2]}/restore")
    person.patch(path + entries[3], {"date": "1999-01-01", "mood": None}, 1)
    last = person.patch("/v1/me", {"bio": "a bio", "theme": "dark"})
    fresh = {"Consistency-Token": last.headers["Consistency-Token"], "Prefer": "wait=10"}

    owner = up.services()["owner_dsn"]
    before, rows = _answers(person, entries, fresh), _rows(owner)
    assert len(before) > 30
    # Others may be empty: nobody here has an API key, say.
    kept = {table for table, found in rows.items() if found}
    assert kept >= {"accounts_people", "journal_entries", "journal_days", "journal_tags"}
    with psycopg.connect(owner) as connection:
        for table in rows:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
    assert not any(_rows(owner).values())
    done = up.cli("projections", "rebuild", "all", "--json")
    assert done.returncode == 0, done.stderr
    # What was asked for meanwhile is in the log of what operators do, and all else as it was.
    asked = [row for row in _rows(owner)["ops_audit"] if row not in rows["ops_audit"]]
    assert len(asked) == len(VIEWS)
    assert all("projection.rebuild" in row for row in asked)
    assert {**_rows(owner), "ops_audit": sorted({*_rows(owner)["ops_audit"]} - {*asked})} == rows
    assert _answers(person, entries, fresh) == before
    other = person.write("2030-01-01")
    read = person.get(other.headers["Location"], headers={**fresh, **_token(other)})
    assert read.json()["data"] == other.json()["data"], "and they go on from there"


def _token(answer: httpx.Response) -> dict[str, str]:
    return {"Consistency-Token": answer.headers["Consistency-Token"]}
