"""Years of a diary over HTTP: what comes back is what a plain script makes of the file."""

from __future__ import annotations

import collections
import datetime
import math
from typing import Any

import pytest

from tests.support.diary import PEPYS, Diary
from tests.support.generated_diary import GeneratedDiary
from tests.support.people import People, Person


class Imported:
    """A diary, whose it is, and what the import said."""

    def __init__(self, person: Person, diary: Diary, raw: bytes) -> None:
        self.person = person
        self.diary = diary
        self.operation, self.fresh = person.ended(person.begin_import(raw))

    def get(self, path: str, **query: Any) -> Any:
        """The data of a read that includes the import."""
        answer = self.person.get(path, params=query, headers=self.fresh)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@pytest.fixture(scope="module", params=["pepys", "generated"])
def imported(request: pytest.FixtureRequest, people: People) -> Imported:
    if request.param == "generated":
        made = GeneratedDiary(3_000)
        return Imported(people.new(), made, made.raw)
    if PEPYS is None:
        pytest.skip("the diary is not at hand (../shared/data/pepys-diary.jsonl)")
    return Imported(people.new(), Diary(PEPYS), PEPYS.read_bytes())


def test_every_line_is_in_or_listed(imported: Imported) -> None:
    operation, diary = imported.operation, imported.diary
    assert operation["state"] == "succeeded"
    assert operation["progress"] == 1
    assert operation["result"]["accepted"] == len(diary.entries)
    refused = operation["result"]["refused"]
    assert {
        item["line"]: [(fault["field"], fault["code"]) for fault in item["errors"]]
        for item in refused
    } == diary.refused
    assert len(refused) == len(diary.refused)
    assert all(fault["message"] for item in refused for fault in item["errors"])


def test_all_pages_in_every_order(imported: Imported) -> None:
    by_date = imported.person.whole_list(imported.fresh, sort="date")
    expected = imported.diary.entries
    assert [entry["date"] for entry in by_date] == sorted(expected)
    for entry in by_date:
        given = expected[entry["date"]]
        for name, value in given.items():
            assert entry[name] == value, (entry["date"], name)
        words = len(given["content"].split())
        assert entry["word_count"] == words
        assert entry["reading_time_seconds"] == math.ceil(words * 60 / 200)
        assert entry["mood"] == given.get("mood")
        assert entry["tags"] == given.get("tags", [])
        assert entry["is_private"] is given.get("is_private", False)
        assert entry["state"] == "active"
        assert entry["version"] == 1
        assert entry["user_id"] == imported.person.id
    backwards = imported.person.whole_list(imported.fresh)
    assert backwards == by_date[::-1]
    by_change = imported.person.whole_list(imported.fresh, sort="updated_at")
    times = [entry["updated_at"] for entry in by_change]
    assert times == sorted(times)
    assert sorted(by_change, key=lambda entry: entry["date"]) == by_date
    assert imported.person.whole_list(imported.fresh, sort="-updated_at") == by_change[::-1]


def test_every_month_of_the_calendar(imported: Imported) -> None:
    dates = sorted(imported.diary.entries)
    first, last = datetime.date.fromisoformat(dates[0]), datetime.date.fromisoformat(dates[-1])
    for year in range(first.year, last.year + 1):
        for month in range(1, 13):
            found = imported.get(f"/v1/journal/calendar/{year}/{month}")
            assert found == imported.diary.month(year, month), (year, month)


def test_streak_and_statistics(imported: Imported) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    streak = imported.diary.streak(today)
    assert imported.get("/v1/journal/streak") == streak
    statistics = imported.get("/v1/me")["statistics"]
    assert statistics == {
        **imported.diary.statistics(),
        "current_streak": streak["current"],
        "longest_streak": streak["longest"],
        "joined_days_ago": 0,
    }


def test_tags_with_their_counts(imported: Imported) -> None:
    counts = collections.Counter(
        tag for entry in imported.diary.entries.values() for tag in entry.get("tags", [])
    )
    expected = [
        {"tag": tag, "count": count}
        for tag, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    assert imported.get("/v1/journal/tags", limit=100) == expected
    for prefix in ("", "w", "WA", "caf", "日", "nothing"):
        assert imported.get("/v1/journal/tags/suggest", limit=100, prefix=prefix) == [
            item for item in expected if item["tag"].startswith(prefix.lower())
        ]


SCORES = {"ecstatic": 1.0, "happy": 0.6, "neutral": 0, "anxious": -0.4, "sad": -0.6, "angry": -0.8}


@pytest.mark.parametrize(("bucket", "length"), [("month", 7), ("year", 4)])
def test_series(imported: Imported, bucket: str, length: int) -> None:
    entries = imported.diary.entries
    dates = sorted(entries)
    last = datetime.date.fromisoformat(dates[-1]) + datetime.timedelta(1)
    asked = {"from": dates[0], "to": last.isoformat(), "bucket": bucket, "tz": "Europe/London"}
    words: collections.Counter[str] = collections.Counter()
    moods: dict[str, list[str]] = collections.defaultdict(list)
    for date, entry in entries.items():
        words[date[:length]] += len(entry["content"].split())
        if entry.get("mood"):
            moods[date[:length]].append(entry["mood"])
    [series] = imported.get("/v1/analytics/words", **asked)["series"]
    # Without a gap, from the bucket of the first day to that of the last one.
    assert len(series["points"]) == {
        "month": (last.year - int(dates[0][:4])) * 12 + last.month - int(dates[0][5:7])
        + (last.day > 1),
        "year": int(dates[-1][:4]) - int(dates[0][:4]) + 1,
    }[bucket]  # fmt: skip
    for point in series["points"]:
        at = point["bucket"][:length]
        assert point["words"] == words[at]
        assert point["entries"] == sum(date.startswith(at) for date in dates)
    [series] = imported.get("/v1/analytics/mood", **asked)["series"]
    for point in series["points"]:
        had = moods[point["bucket"][:length]]
        assert point["entries"] == len(had)
        assert point["moods"] == {mood: had.count(mood) for mood in SCORES}
        mean = sum(SCORES[mood] for mood in had) / len(had) if had else None
        assert point["average_score"] == (None if mean is None else pytest.approx(mean))


@pytest.mark.parametrize(
    "query",
    [
        {"mood": "sad"},
        {"tag": "rain"},
        {"tag": ["rain", "café"]},
        {"is_private": "true"},
        {"is_private": "false", "mood": "happy", "tag": "work"},
        {"date_from": "2003-01-01", "date_to": "2003-01-31"},
        {"date_from": "1666-09-02", "date_to": "1666-09-05"},
    ],
)
def test_filters(imported: Imported, query: dict[str, Any]) -> None:
    tags = query.get("tag", [])
    wanted = {tags} if isinstance(tags, str) else set(tags)
    private = query.get("is_private")
    expected = [
        date
        for date, entry in sorted(imported.diary.entries.items())
        if query.get("date_from", "0") <= date <= query.get("date_to", "9")
        and query.get("mood") in (None, entry.get("mood"))
        and wanted <= set(entry.get("tags", []))
        and private in (None, str(entry.get("is_private", False)).lower())
    ]
    found = imported.person.whole_list(imported.fresh, sort="date", limit=37, **query)
    assert [entry["date"] for entry in found] == expected


def test_the_same_again_adds_nothing(imported: Imported) -> None:
    raw = PEPYS.read_bytes() if PEPYS and type(imported.diary) is Diary else imported.diary.raw  # type: ignore[attr-defined]
    operation, fresh = imported.person.ended(imported.person.begin_import(raw))
    assert operation["result"]["accepted"] == 0
    refused = {item["line"]: item["errors"][0]["code"] for item in operation["result"]["refused"]}
    assert len(refused) == len(imported.diary.entries) + len(imported.diary.refused)
    answer = imported.person.get("/v1/me", headers=fresh).json()["data"]
    assert answer["statistics"]["total_entries"] == len(imported.diary.entries)
