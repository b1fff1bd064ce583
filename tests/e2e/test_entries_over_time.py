"""What lists, streaks and statistics say as entries come late, go, move and come back."""

from __future__ import annotations

import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.people import ENTRY, People, Person, token_of

DAY = datetime.timedelta(1)
ZONES = ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago")
"""The last two never have the same date."""


def _streak(person: Person, fresh: dict[str, str]) -> dict[str, Any]:
    answer = person.get("/v1/journal/streak", headers=fresh)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def _statistics(person: Person, fresh: dict[str, str]) -> dict[str, Any]:
    return person.get("/v1/me", headers=fresh).json()["data"]["statistics"]


def _expected(current: int, longest: int, last: object, start: object) -> dict[str, Any]:
    return {
        "current": current,
        "longest": longest,
        "last_entry_date": None if last is None else str(last),
        "streak_start_date": None if start is None else str(start),
    }


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("offsets", "current", "longest", "start"),
    [
        ((), 0, 0, None),
        ((0,), 1, 1, 0),
        ((-1,), 1, 1, -1),
        ((-2,), 0, 1, None),
        ((-3, -2, -1), 3, 3, -3),
        ((-3, -2, -1, 0), 4, 4, -3),
        ((-9, -8, -7, -6, -1, 0), 2, 4, -1),
        ((-4, -3, -1), 1, 2, -1),
        ((-4, -3), 0, 2, None),
        ((-1, 0, 5), 2, 2, -1),
        ((5, 6, 7), 0, 3, None),
        ((-5, 1), 0, 1, None),
    ],
)
def test_streaks_in_the_persons_time_zone(
    people: People,
    zone: str,
    offsets: tuple[int, ...],
    current: int,
    longest: int,
    start: int | None,
) -> None:
    person = people.new(timezone=zone)
    for _ in range(2):  # a second time if midnight passed meanwhile
        today = datetime.datetime.now(ZoneInfo(zone)).date()
        fresh = token_of(person.get("/v1/me"))
        for offset in sorted(offsets, key=lambda n: (n * 7) % 5):  # late ones among them
            fresh = token_of(person.write(today + offset * DAY))
        found = _streak(person, fresh)
        statistics = _statistics(person, fresh)
        if today == datetime.datetime.now(ZoneInfo(zone)).date():
            break
        person = people.new(timezone=zone)
    assert found == _expected(
        current,
        longest,
        today + max(offsets) * DAY if offsets else None,
        None if start is None else today + start * DAY,
    )
    assert (statistics["current_streak"], statistics["longest_streak"]) == (current, longest)


def test_the_streak_follows_a_change_of_the_time_zone(people: People) -> None:
    person = people.new(timezone="Pacific/Kiritimati")
    there = datetime.datetime.now(ZoneInfo("Pacific/Pago_Pago")).date()
    fresh = token_of(person.write(there - DAY))
    assert _streak(person, fresh)["current"] == 0, "two days ago or more, in Kiritimati"
    moved = person.patch("/v1/me", {"timezone": "Pacific/Pago_Pago"})
    assert _streak(person, token_of(moved))["current"] == 1, "yesterday in Pago Pago"


def test_late_entries_deletions_and_restorations_move_the_streak(person: Person) -> None:
    first = datetime.date(2023, 1, 1)
    for number in (0, 1, 3, 4):
        written = person.write(first + number * DAY, content="one two three")
    last = first + 4 * DAY
    assert _streak(person, token_of(written)) == _expected(0, 2, last, None)
    late = person.write(first + 2 * DAY, content="late")
    assert _streak(person, token_of(late)) == _expected(0, 5, last, None)
    assert _statistics(person, token_of(late))["total_words"] == 13
    path = late.headers["Location"]
    deleted = person.delete(path, 1)
    assert _streak(person, token_of(deleted)) == _expected(0, 2, last, None)
    assert _statistics(person, token_of(deleted)) == {
        "current_streak": 0,
        "longest_streak": 2,
        "total_entries": 4,
        "total_words": 12,
        "avg_words_per_entry": 3,
        "joined_days_ago": 0,
    }
    restored = person.post(path + "/restore")
    assert restored.status_code == 200
    assert _streak(person, token_of(restored))["longest"] == 5
    moved = person.patch(path, {"date": "2023-06-01"}, 3)
    assert _streak(person, token_of(moved)) == _expected(0, 2, "2023-06-01", None)


def test_the_average_is_rounded_down_and_white_space_is_unicodes(person: Person) -> None:
    content = "one\u00a0two\u2003three\u3000four\u0085five\u2028six\x1fseven"
    one = person.write("2024-01-01", content=content, title="title words do not count")
    assert one.json()["data"]["word_count"] == 7
    assert one.json()["data"]["reading_time_seconds"] == 3
    other = person.write("2024-01-02", content="zero\u200bwidth is-no space")
    assert other.json()["data"]["word_count"] == 3
    last = person.write("2024-01-03", content=" \n ", is_private=True)
    assert last.json()["data"]["word_count"] == 0
    assert last.json()["data"]["reading_time_seconds"] == 0
    statistics = _statistics(person, token_of(last))
    assert statistics["total_words"] == 10
    assert statistics["total_entries"] == 3
    assert statistics["avg_words_per_entry"] == 3
    long = person.write("2024-01-04", content="w " * 4_999)
    assert long.json()["data"]["reading_time_seconds"] == 1500


def test_a_deleted_day_is_written_again_on_the_same_stream(person: Person) -> None:
    first = person.write("2024-01-01", title="first", tags=["one"], mood="sad")
    path, entry_id = first.headers["Location"], first.json()["data"]["id"]
    deleted = person.delete(path, 1)
    assert deleted.status_code == 204
    assert deleted.content == b""
    fresh = token_of(deleted)
    assert person.get(path, headers=fresh).status_code == 404
    assert person.whole_list(fresh) == []
    assert person.get("/v1/journal/tags", headers=fresh).json()["data"] == []
    again = person.write("2024-01-01", title="again")
    assert again.json()["data"]["id"] == entry_id
    assert again.headers["Location"] == path
    assert again.headers["ETag"] == '"3"'
    body = again.json()["data"]
    assert (body["state"], body["version"], body["tags"], body["mood"]) == ("active", 3, [], None)
    assert person.get(path, headers=token_of(again)).json()["data"] == body
    history = person.get(path + "/history", headers=token_of(again)).json()
    assert [item["type"] for item in history["data"]] == [
        "EntryWritten",
        "EntryDeleted",
        "EntryWritten",
    ]
    assert [item["version"] for item in history["data"]] == [1, 2, 3]
    for item in history["data"]:
        assert {"version", "type", "at", "actor", "changes"} <= item.keys()


def test_restoring(person: Person) -> None:
    written = person.write("2024-01-01", tags=["kept"])
    path, entry_id = written.headers["Location"], written.json()["data"]["id"]
    person.delete(path, 1)
    restored = person.post(path + "/restore")
    assert restored.status_code == 200
    assert restored.headers["ETag"] == '"3"'
    body = restored.json()["data"]
    assert (body["id"], body["state"], body["tags"]) == (entry_id, "active", ["kept"])
    assert person.whole_list(token_of(restored)) == [body]
    person.delete(path, 3)
    other = person.write("2024-01-02").headers["Location"]
    moved = person.patch(other, {"date": "2024-01-01"}, 1)
    assert moved.status_code == 200, moved.text
    refused = person.post(path + "/restore")
    assert refused.status_code == 409
    assert refused.json()["code"] == "DUPLICATE_ENTRY_DATE"
    assert refused.json()["entry_id"] == other.rsplit("/", 1)[1]
    assert person.get(path, headers=token_of(moved)).status_code == 404


def test_a_day_that_is_taken_names_the_entry(person: Person) -> None:
    one = person.write("2024-01-01").json()["data"]["id"]
    refused = person.post("/v1/journal/entries", {**ENTRY, "date": "2024-01-01"})
    other = person.write("2024-01-02").headers["Location"]
    moved = person.patch(other, {"date": "2024-01-01"}, 1)
    for answer in (refused, moved):
        assert answer.status_code == 409
        assert answer.json()["code"] == "DUPLICATE_ENTRY_DATE"
        assert answer.json()["entry_id"] == one
    free = person.patch(other, {"date": "2024-01-03"}, 1)
    assert free.json()["data"]["date"] == "2024-01-03"
    assert person.write("2024-01-02").status_code == 201


def test_a_patch_leaves_what_is_not_sent_and_null_clears(person: Person) -> None:
    full: dict[str, Any] = {
        "title": "All",
        "content": "Everything is set here",
        "mood": "happy",
        "location": "Lisbon",
        "weather": "sun",
        "tags": ["One", " two ", "one"],
        "is_private": True,
    }
    written = person.write("2024-01-01", **full)
    data = written.json()["data"]
    assert data["tags"] == ["one", "two"]
    path = written.headers["Location"]
    revised = person.patch(path, {"title": "New"}, 1).json()["data"]
    changed = {name for name in revised if revised[name] != data[name]}
    assert changed == {"title", "version", "updated_at"}
    cleared = person.patch(path, {"mood": None, "location": None, "weather": None, "tags": None}, 2)
    assert cleared.status_code == 200, cleared.text
    body = cleared.json()["data"]
    assert (body["mood"], body["location"], body["weather"], body["tags"]) == (
        None,
        None,
        None,
        [],
    )
    for required in ("title", "content", "date", "is_private"):
        refused = person.patch(path, {required: None}, 3)
        assert refused.status_code == 422, required
        assert [error["field"] for error in refused.json()["errors"]] == [required]
    assert person.get(path, headers=token_of(cleared)).json()["data"] == body
    item = person.get(path + "/history", headers=token_of(cleared)).json()["data"][-1]
    assert item["type"] == "EntryRevised"
    assert item["changes"]["mood"] == {"from": "happy", "to": None}
    assert item["changes"]["tags"] == {"from": ["one", "two"], "to": []}
    before = person.get(path + "/history", params={"version": 1}, headers=token_of(cleared))
    assert before.json()["data"] == data
    missing = person.get(path + "/history", params={"version": 9}, headers=token_of(cleared))
    assert missing.status_code == 404


def test_pages_are_stable_under_inserts(person: Person) -> None:
    for day in range(1, 26, 2):
        written = person.write(f"2024-01-{day:02}")
    fresh = token_of(written)
    first = person.get("/v1/journal/entries", params={"limit": 5}, headers=fresh).json()
    seen = [entry["date"] for entry in first["data"]]
    for day in range(2, 26, 2):
        written = person.write(f"2024-01-{day:02}")
    cursor = first["meta"]["next_cursor"]
    while cursor:
        page = person.get(
            "/v1/journal/entries", params={"limit": 5, "cursor": cursor}, headers=token_of(written)
        ).json()
        seen += [entry["date"] for entry in page["data"]]
        cursor = page["meta"]["next_cursor"]
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=True)
    assert {f"2024-01-{day:02}" for day in range(1, 26, 2)} <= set(seen)


@pytest.mark.parametrize(("year", "month", "days"), [(1, 1, 31), (9999, 12, 31), (2024, 2, 29)])
def test_the_calendar_knows_every_year(person: Person, year: int, month: int, days: int) -> None:
    written = person.write(f"{year:04}-{month:02}-{days}", content="a b", mood="angry")
    answer = person.get(f"/v1/journal/calendar/{year}/{month}", headers=token_of(written))
    data = answer.json()["data"]
    assert len(data) == days
    assert data[0] == {
        "date": f"{year:04}-{month:02}-01",
        "mood": None,
        "has_entry": False,
        "word_count": 0,
    }
    assert data[-1] == {
        "date": f"{year:04}-{month:02}-{days}",
        "mood": "angry",
        "has_entry": True,
        "word_count": 2,
    }
