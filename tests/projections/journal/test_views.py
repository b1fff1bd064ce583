"""The journal's views are what their entries are; their SQL counts as plain code does."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from domain.event import Event, Recorded
from domain.journal.attachment import Attachment
from domain.journal.entry import Changes, Draft, Entry, Infer, stream_of
from domain.journal.events import Mood
from projections.engine.writer import ViewWriter
from projections.journal import tags as tags_view
from projections.journal.daily import Daily, DailyRow
from projections.journal.days import DayRow, Days, month, streak_and_statistics
from projections.journal.entries import Entries, EntryDocument, document_of
from projections.journal.tags import Tag, Tags, TagsRow
from tests.support.servers import Database

ENTRY, USER = uuid7(), uuid7()
NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


def recorded(event: Event, version: int, entry_id: UUID = ENTRY) -> Recorded:
    return Recorded(
        position=version,
        stream_id=stream_of(entry_id),
        stream_version=version,
        tenant_id=USER,
        recorded_at=NOW + datetime.timedelta(hours=version),
        event=event,
    )


_tags = st.lists(st.sampled_from("abc"), max_size=3)
_drafts = st.builds(
    lambda date, mood, tags: Draft(date=date, title="t", content="a b", mood=mood, tags=tags),
    st.dates(),
    st.sampled_from([None, "happy"]),
    _tags,
)
_changes = st.builds(
    lambda fields: Changes(**fields),
    st.fixed_dictionaries(
        {},
        optional={
            "date": st.dates(),
            "content": st.sampled_from(["a", "a b c"]),
            "mood": st.sampled_from([None, "sad"]),
            "tags": _tags,
            "is_private": st.booleans(),
        },
    ),
)


_FILES = [uuid7(), uuid7()]
_others = st.sampled_from(["delete", "restore", "attach", "detach", "picture"])


def file_event(entry: Entry, decision: str, number: int) -> Event | None:
    """One of two files comes, goes, or gets its picture."""
    attachment_id = _FILES[number % 2]
    if decision == "attach":
        file = Attachment(
            attachment_id=attachment_id,
            object_id=uuid7(),
            filename="x.png",
            content_type="image/png",
            size_bytes=number,
            sha256="0",
        )
        return entry.attach(file)
    if decision == "detach":
        return entry.detach(attachment_id)
    return entry.picture(attachment_id, uuid7())


def _read(text: str) -> Mood | None:
    """Infers a mood, of some texts one and of others none."""
    return "happy" if text.endswith("c") else "sad" if text.endswith("b") else None


@given(_drafts, st.lists(st.one_of(_drafts, _changes, _others)), st.sampled_from([None, _read]))
def test_rows_are_folds_of_the_stream(
    first: Draft, decisions: list[Any], infer: Infer | None
) -> None:
    entry: Entry | None = None
    views: list[Any] = [Entries(), Days(), Tags(), Daily()]
    rows: list[Any] = [None, None, None, None]
    version = 0
    for decision in [first, *decisions]:
        event: Event | None = None
        if isinstance(decision, Draft):
            if entry is None or entry.state == "deleted":
                event = Entry.write(ENTRY, USER, decision, infer)
        elif entry is not None and decision == "restore":
            event = entry.restore()
        elif entry is not None and decision in ("attach", "detach", "picture"):
            event = file_event(entry, decision, version)
        elif entry is not None and entry.state == "active":
            event = entry.delete() if decision == "delete" else entry.revise(decision, infer)
        if event is None:
            continue
        version += 1
        happened = recorded(event, version)
        entry = Entry.evolve(entry, happened)
        for number, view in enumerate(views):
            if type(event) not in view.takes:
                continue
            assert view.keys_of(happened) == ((ENTRY,),)
            rows[number] = view.fold((ENTRY,), rows[number], happened)
    assert entry is not None
    listed, day, tagged, daily = rows
    assert msgspec.json.decode(listed.document, type=EntryDocument) == document_of(entry)
    assert listed.document == msgspec.json.encode(document_of(entry))
    for name in ("date", "mood", "is_private", "state", "version", "updated_at"):
        assert getattr(listed, name) == getattr(entry, name)
    assert listed.tags == list(entry.tags)
    active = entry.state == "active"
    assert day == DayRow(ENTRY, USER, entry.date, entry.mood, entry.word_count, active)
    assert tagged == (TagsRow(ENTRY, USER, list(entry.tags), active) if entry.tags else None)
    assert daily == DailyRow(
        *(ENTRY, USER, USER, entry.date, entry.mood, entry.mood_inferred),
        *(list(entry.tags), entry.word_count, entry.is_private, active),
    )


def _plain(dates: list[datetime.date], today: datetime.date) -> tuple[int, int]:
    runs: list[list[datetime.date]] = []
    for date in sorted(dates):
        if runs and (date - runs[-1][-1]).days == 1:
            runs[-1].append(date)
        else:
            runs.append([date])
    alive = [len(run) for run in runs if run[0] <= today and (today - run[-1]).days <= 1]
    return (alive[0] if alive else 0), max(map(len, runs), default=0)


def test_streaks_and_months_count_as_plain_code_does(database: Database) -> None:
    """Late entries, deletions and restorations move them; every set of ten days is tried."""
    start = datetime.date(2026, 2, 25)
    days = [start + datetime.timedelta(n) for n in range(10)]
    people = {number: uuid7() for number in range(0, 1024, 7)}
    with psycopg.connect(database.project_dsn) as connection:
        writer = ViewWriter(Days(), connection, "journal_days")
        events = []
        for number, user_id in people.items():
            for at, date in enumerate(days):
                entry_id = uuid7()
                draft = Draft(date=date, title="t", content="one two three")
                written = Entry.write(entry_id, user_id, draft)
                events.append(recorded(written, 1, entry_id))
                if not number >> at & 1:
                    gone = Entry.after(None, written, 1, NOW).delete()
                    assert gone is not None
                    events.append(recorded(gone, 2, entry_id))
        writer.apply(events)

    async def compare() -> None:
        pipeline = Pipeline(database.read_dsn, role="mindstream_read")
        await pipeline.open()
        reader = PipelineReader([pipeline])
        for number, user_id in people.items():
            dates = [date for at, date in enumerate(days) if number >> at & 1]
            for today in (start, start + datetime.timedelta(9), start + datetime.timedelta(10)):
                streak, totals = await streak_and_statistics(reader, user_id, today)
                assert (streak.current, streak.longest) == _plain(dates, today)
                assert streak.last_entry_date == (dates[-1] if dates else None)
                assert (streak.streak_start_date is None) == (streak.current == 0)
                assert totals.total_entries == len(dates)
                assert totals.total_words == 3 * len(dates)
                assert totals.avg_words_per_entry == (3 if dates else 0)
            february = await month(reader, user_id, 2026, 2)
            assert [day.date for day in february if day.has_entry] == [
                date for date in dates if date.month == 2
            ]
        # Row-level security: another person's rows are not there, whatever the query asks for.
        other = await reader.rows(
            tags_view.Query(
                "all_days", "SELECT count(*) FROM journal_days WHERE user_id <> $1", ("uuid",)
            ),
            people[7],
            user_id=people[7],
        )
        assert other == [(0,)]
        await pipeline.close()

    asyncio.run(compare())


def test_tags_are_counted_over_active_entries(database: Database) -> None:
    user_id = uuid7()
    with psycopg.connect(database.project_dsn) as connection:
        writer = ViewWriter(Tags(), connection, "journal_tags")
        for at, tags in enumerate((["b", "a"], ["a"], ["ä", "Z"], ["gone"], [])):
            entry_id = uuid7()
            draft = Draft(
                date=NOW.date() + datetime.timedelta(at), title="t", content="c", tags=tags
            )
            written = Entry.write(entry_id, user_id, draft)
            entry = Entry.after(None, written, 1, NOW)
            events: list[Event | None] = [written]
            if tags == ["gone"]:
                events.append(entry.delete())
            if tags == ["b", "a"]:
                events.append(entry.revise(Changes(tags=["b", "a", "_"])))
            writer.apply(
                [recorded(event, n, entry_id) for n, event in enumerate(events, 1) if event]
            )

    async def read() -> list[Tag]:
        pipeline = Pipeline(database.read_dsn, role="mindstream_read")
        await pipeline.open()
        found: list[Tag] = []
        after: Tag | None = None
        while True:
            page, after = await tags_view.tags(
                PipelineReader([pipeline]), user_id, after=after, limit=2
            )
            found += page
            if after is None:
                break
        await pipeline.close()
        return found

    expected = [Tag("a", 2), Tag("_", 1), Tag("b", 1), Tag("z", 1), Tag("ä", 1)]
    assert asyncio.run(read()) == expected
