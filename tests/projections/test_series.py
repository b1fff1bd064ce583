"""Series out of the database are what plain code counts: random rows, people, zones and ranges."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from domain.accounts.events import LoggedIn, LoggedOut
from domain.event import Event, Recorded
from domain.journal.entry import Changes, Draft, Entry, stream_of
from projections.accounts import series as activity
from projections.accounts.activity import ACTIVITY_OF, Activities, ActivityCounts, kept_since
from projections.buckets import Buckets, Width, buckets, zone
from projections.engine.writer import ViewWriter
from projections.journal import series as journal
from projections.journal.daily import MOODS, Daily, DailyRow
from projections.journal.series import Group
from tests.support.servers import Database

PEOPLE = [uuid7() for _ in range(3)]
ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe")
WIDTHS: tuple[Width, ...] = ("hour", "day", "week", "month", "year")
NOW = datetime(2026, 12, 15, 9, 30, tzinfo=UTC)
KEPT = kept_since(183, lambda: NOW)
SCORES = {"ecstatic": 1.0, "happy": 0.6, "neutral": 0, "anxious": -0.4, "sad": -0.6, "angry": -0.8}
# What is tried is the same every time.
_random = random.Random(1660)


def recorded(event: Event, version: int, stream: str, at: datetime = NOW) -> Recorded:
    return Recorded(
        position=_random.getrandbits(40),
        stream_id=stream,
        stream_version=version,
        tenant_id=PEOPLE[0],
        recorded_at=at,
        event=event,
    )


def lived() -> tuple[list[Recorded], list[DailyRow]]:
    """Entries around two changes of the clock, some revised, deleted or both, and what is left."""
    events: list[Recorded] = []
    left: list[DailyRow] = []
    for person in PEOPLE:
        for offset in _random.sample(range(400), 150):
            on = date(2018, 1, 1) + timedelta(offset)
            entry_id, version = uuid7(), 1
            words = "word " * _random.randint(1, 9)
            draft = Draft(
                date=on, title="t", content=words, mood=_random.choice([None, *MOODS]),
                tags=_random.sample(["a", "b", "c"], _random.randint(0, 3)),
                is_private=_random.random() < 0.3,
            )  # fmt: skip
            events.append(recorded(Entry.write(entry_id, person, draft), 1, stream_of(entry_id)))
            entry = Entry.evolve(None, events[-1])
            for change in (Changes(mood=_random.choice(MOODS)), Changes(content="one", tags=["d"])):
                if _random.random() < 0.2 and (event := entry.revise(change)) is not None:
                    version += 1
                    events.append(recorded(event, version, stream_of(entry_id)))
                    entry = Entry.evolve(entry, events[-1])
            if _random.random() < 0.2 and (event := entry.delete()) is not None:
                events.append(recorded(event, version + 1, stream_of(entry_id)))
                continue
            left.append(
                DailyRow(
                    *(entry_id, person, person, on, entry.mood, None, list(entry.tags)),
                    *(entry.word_count, entry.is_private, True),
                )
            )
    return events, left


def logins() -> list[Recorded]:
    """Logins to the microsecond, over a year up to now."""
    found = []
    for person in PEOPLE:
        for _ in range(300):
            at = NOW - timedelta(microseconds=_random.randrange(365 * 86_400_000_000))
            kind = _random.choice([LoggedIn, LoggedOut])
            event: Event = kind(login_id=uuid7(), user_id=person)
            found.append(recorded(event, 1, "accounts.login-x", at))
    return found


EVENTS, LEFT = lived()
DONE = logins()


@pytest.fixture(scope="module")
def store(database: Database) -> Iterator[tuple[asyncio.Runner, PipelineReader]]:
    with psycopg.connect(database.project_dsn) as connection:
        ViewWriter(Daily(), connection, "journal_daily").apply(EVENTS)
        ViewWriter(Activities(), connection, "accounts_activity_events").apply(DONE)
        ViewWriter(ActivityCounts(), connection, "accounts_activity_counts").apply(DONE)
        # What has had its time is dropped.
        connection.execute("DELETE FROM accounts_activity_events WHERE time < %s", (KEPT,))
    with asyncio.Runner() as runner:
        pipeline = Pipeline(database.read_dsn, role="mindstream_read")
        runner.run(pipeline.open())
        yield runner, PipelineReader([pipeline])
        runner.run(pipeline.close())


def made(name: str, width: Width, begin: str, end: str) -> Buckets:
    first, last = zone(name).moment(begin), zone(name).moment(end)
    assert first is not None
    assert last is not None
    return buckets(name, width, first, last, 20_000)


def label_of(on: date, width: Width, labels: list[str]) -> str:
    """The bucket that has this day, by what its label says."""
    if width == "week":
        on -= timedelta(days=on.weekday())
    length = {"hour": 10, "day": 10, "week": 10, "month": 7, "year": 4}[width]
    return next(label for label in labels if label[:length] == on.isoformat()[:length])


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(WIDTHS),
    st.dates(date(2017, 12, 1), date(2019, 3, 1)),
    st.integers(1, 450),
    st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True),
    st.booleans(),
    st.sampled_from([None, "mood", "tag"]),
)
def test_entries(
    store: tuple[asyncio.Runner, PipelineReader],
    name: str,
    width: Width,
    begin: date,
    days: int,
    people: list[UUID],
    private: bool,
    group: Group | None,
) -> None:
    end = begin + timedelta(days)
    found = made(name, width, begin.isoformat(), end.isoformat())
    labels = list(found.labels)
    counts: dict[Any, Counter[tuple[str, str | None]]] = {} if group else {None: Counter()}
    words: Counter[tuple[Any, str]] = Counter()
    for row in LEFT:
        if begin <= row.date < end and row.user_id in people and (private or not row.is_private):
            keys = {"tag": row.tags, "mood": [row.mood], None: [None]}[group]
            for key in keys:
                label = label_of(row.date, width, labels)
                counts.setdefault(key, Counter())[label, row.mood] += 1
                words[key, label] += row.words
    runner, reader = store

    async def read(metric: journal.Metric) -> dict[str | None, list[Any]]:
        return dict(
            await journal.series(
                *(reader, people, metric, zone(name), found),
                group=group, private=private, most=1_000_000,
            )
        )  # fmt: skip

    written = runner.run(read("words"))
    assert set(written) == set(counts)
    for key, points in written.items():
        assert [point.bucket for point in points] == labels
        assert [point.words for point in points] == [words[key, label] for label in labels]
    entries = runner.run(read("entries"))
    for key, points in entries.items():
        assert [point.entries for point in points] == [
            sum(n for (at, _), n in counts[key].items() if at == label) for label in labels
        ]
    moods = runner.run(read("mood"))
    assert set(moods) == {
        key for key, seen in counts.items() if group is None or any(mood for _, mood in seen)
    }
    for key, points in moods.items():
        for point in points:
            had = {mood: counts[key][point.bucket, mood] for mood in MOODS}
            assert point.moods == had
            assert point.entries == sum(had.values())
            total = sum(SCORES[mood] * n for mood, n in had.items())
            expected = total / point.entries if point.entries else None
            assert point.average_score == (None if expected is None else pytest.approx(expected))


def _key(local: datetime, width: Width) -> tuple[Any, ...]:
    if width == "hour":
        return local.date(), local.hour, local.utcoffset()
    if width == "week":
        return (local.date() - timedelta(days=local.weekday()),)
    return (local.year, local.month, local.day)[: {"day": 3, "month": 2, "year": 1}[width]]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(WIDTHS),
    st.timedeltas(timedelta(0), timedelta(370)),
    st.timedeltas(timedelta(minutes=1), timedelta(90)),
    st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True),
)
def test_activity(
    store: tuple[asyncio.Runner, PipelineReader],
    name: str,
    width: Width,
    ago: timedelta,
    length: timedelta,
    people: list[UUID],
) -> None:
    begin = NOW - ago
    end = begin + length
    found = made(name, width, begin.isoformat(), end.isoformat())
    # Where single activities are gone a bound is the next quarter's beginning.
    first, last = (at if at >= KEPT else _quarter(at) for at in (begin, end))
    expected: Counter[tuple[Any, str]] = Counter()
    for one in DONE:
        at = one.recorded_at
        counted = at if at >= KEPT else _quarter(at, up=False)
        if first <= counted < last and one.event.user_id in people:  # type: ignore[attr-defined]
            local = at.astimezone(ZoneInfo(name))
            expected[_key(local, width), ACTIVITY_OF[type(one.event)]] += 1
    runner, reader = store
    [(key, points)] = runner.run(activity.series(reader, people, found, lambda: NOW))
    assert key is None
    assert [point.bucket for point in points] == list(found.labels)
    seen: Counter[tuple[Any, str]] = Counter()
    for point in points:
        assert point.events == sum(point.by_type.values())
        for kind, events in point.by_type.items():
            if events:
                seen[_key(datetime.fromisoformat(point.bucket), width), kind] = events
    assert seen == expected


def _quarter(at: datetime, *, up: bool = True) -> datetime:
    begins = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
    return begins + timedelta(minutes=15) if up and begins < at else begins


def test_a_reader_sees_those_whom_it_names(
    store: tuple[asyncio.Runner, PipelineReader],
) -> None:
    """Row-level security: asking for somebody is not enough."""
    runner, reader = store
    query = journal.QUERIES[False, False]
    whole = [list(PEOPLE), date.min, date.max, [0], True]
    for named in (PEOPLE[:1], PEOPLE[:2], [uuid7()], []):
        rows = runner.run(reader.rows_of(query, *whole, user_ids=named))
        mine = sum(row.user_id in named for row in LEFT)
        assert sum(row[1] for row in rows) == mine
