"""Repairing the rows of a range of time, in place."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from domain.event import Recorded
from projections.engine import repair
from projections.engine.rebuild import (
    Cancelled,
    Options,
    PoisonMet,
    Progress,
    RangeNotSupported,
    Report,
    UnknownKey,
    plan,
    rebuild,
)
from projections.engine.repair import key_of
from tests.support.diary_of_notes import Diary
from tests.support.diary_view import Note, NoteRevised, Notes


class Streamed(Notes):
    """Says which stream a note's events are in."""

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        return f"engine.note-{key[0]}"


class Choosy(Streamed):
    """Cannot fold one body."""

    def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
        if getattr(recorded.event, "body", None) == "bad":
            raise ValueError("bad")
        return super().fold(key, row, recorded)


def spoil(diary: Diary) -> None:
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute("UPDATE engine_notes SET body = 'spoiled'")


def at_times(diary: Diary) -> datetime:
    """Have each position recorded in a minute of its own; when position 0 would be."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE events SET recorded_at = %s + position * interval '1 minute'", (start,)
        )
    return start


def touched(diary: Diary, first: int, last: int) -> set[UUID]:
    """The notes with an event at one of these positions."""
    with psycopg.connect(diary.database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT stream_id FROM events WHERE position BETWEEN %s AND %s", (first, last)
        )
        return {UUID(row[0].removeprefix("engine.note-")) for row in rows}


def repaired(diary: Diary, view: Notes | None = None, **options: Any) -> Report:
    return rebuild(
        diary.database.write_dsn,
        diary.sources,
        view or Streamed(),
        options=Options(**options),
    )


def planned_for(diary: Diary, view: Notes, **options: Any) -> dict[str, int]:
    with closing(diary.sources()) as source:
        return plan(source, view, Options(**options))


@pytest.mark.parametrize(("first", "last"), [(40, 60), (None, 60), (40, None)])
def test_the_rows_of_the_range_are_folded_anew_and_no_others(
    diary: Diary, first: int | None, last: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "STREAMS_AT_ONCE", 7)
    diary.some(100)
    diary.runner(Streamed()).catch_up()
    start = at_times(diary)
    spoil(diary)
    options = {
        "from_": None if first is None else start + timedelta(minutes=first),
        "to": None if last is None else start + timedelta(minutes=last),
    }
    planned = planned_for(diary, Streamed(), **options)
    report = repaired(diary, **options)
    assert sum(planned.values()) == report.events
    mended = touched(diary, first or 0, 100 if last is None else last - 1)
    rows = diary.rows()
    for note in diary.model:
        expected = diary.model[note].body if note in mended else "spoiled"
        assert rows[note].body == expected
    assert (report.swapped, report.generation, report.equal) == (False, 1, None)
    assert report.rows == len(mended & set(diary.model))
    assert diary.checkpoint()["rebuild"] is None


def test_a_lost_row_comes_back_and_one_that_should_not_be_goes(diary: Diary) -> None:
    diary.some(100)
    diary.runner(Streamed()).catch_up()
    [gone] = [note for note in diary.versions if note not in diary.model][:1]
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM engine_notes")
        connection.execute(
            "INSERT INTO engine_notes VALUES (%s, %s, 'a ghost', 0)", (gone, UUID(int=7))
        )
    repaired(diary, from_=datetime(2000, 1, 1, tzinfo=UTC))
    assert diary.rows() == diary.model


def test_the_plan_of_a_key_counts_its_stream_where_that_is_known(diary: Diary) -> None:
    diary.some(100)
    diary.runner(Streamed()).catch_up()
    key = str(next(iter(diary.model)))
    planned = planned_for(diary, Streamed(), key=key)
    assert sum(planned.values()) == repaired(diary, key=key).events < 100
    assert planned_for(diary, Notes(), key=key) == planned_for(diary, Notes())
    with pytest.raises(UnknownKey):
        planned_for(diary, Notes(), key="nonsense")


def test_an_empty_range_does_nothing(diary: Diary) -> None:
    diary.some(10)
    diary.runner(Streamed()).catch_up()
    report = repaired(diary, to=datetime(2000, 1, 1, tzinfo=UTC))
    assert (report.rows, report.events, report.position) == (0, 0, 10)


def test_while_writes_go_on_nothing_is_folded_twice(
    diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "STREAMS_AT_ONCE", 3)
    monkeypatch.setattr(repair, "HEED_EVERY", 0.0)
    diary.some(100)
    runner = diary.runner(Streamed())
    runner.catch_up()
    told: list[int] = []

    def heed(progress: Progress) -> Any:
        told.append(progress.events_done)
        diary.some(4)
        if len(told) % 2:
            runner.catch_up()
        return "go"

    rebuild(
        diary.database.write_dsn,
        diary.sources,
        Streamed(),
        options=Options(from_=datetime(2000, 1, 1, tzinfo=UTC)),
        heed=heed,
    )
    assert len(told) > 5
    runner.catch_up()
    assert diary.rows() == diary.model


def test_what_waits_in_quarantine_goes_on_waiting(diary: Diary) -> None:
    diary.some(20)
    note = next(iter(diary.model))
    before = diary.model[note]
    diary.append(NoteRevised(note_id=note, body="bad"), NoteRevised(note_id=note, body="after"))
    diary.runner(Choosy()).catch_up()
    spoil(diary)
    repaired(diary, Choosy(), from_=datetime(2000, 1, 1, tzinfo=UTC))
    assert diary.rows()[note] == before
    spoil(diary)
    repaired(diary, Choosy(), key=str(note))
    assert diary.rows()[note] == before


def test_a_row_that_cannot_be_folded_stays_and_the_others_are_mended(diary: Diary) -> None:
    diary.some(20)
    note = next(iter(diary.model))
    diary.append(NoteRevised(note_id=note, body="bad"))
    diary.runner(Streamed()).catch_up()
    spoil(diary)
    for options in ({"from_": datetime(2000, 1, 1, tzinfo=UTC)}, {"key": str(note)}):
        with pytest.raises(PoisonMet) as met:
            repaired(diary, Choosy(), **options)
        assert [item["position"] for item in met.value.items] == [21]
    rows = diary.rows()
    assert rows.pop(note).body == "spoiled"
    expected = {other: row for other, row in diary.model.items() if other != note}
    assert rows == expected


def test_cancelled_it_keeps_what_was_mended(diary: Diary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "STREAMS_AT_ONCE", 3)
    monkeypatch.setattr(repair, "HEED_EVERY", 0.0)
    diary.some(100)
    diary.runner(Streamed()).catch_up()
    spoil(diary)
    signals = iter(["go", "pause", "go", "cancel"])
    with pytest.raises(Cancelled):
        rebuild(
            diary.database.write_dsn,
            diary.sources,
            Streamed(),
            options=Options(from_=datetime(2000, 1, 1, tzinfo=UTC)),
            heed=lambda _: next(signals),
        )
    mended = [row for row in diary.rows().values() if row.body != "spoiled"]
    assert 0 < len(mended) <= 6
    assert diary.checkpoint()["rebuild"] is None


def test_only_a_view_whose_keys_tell_their_stream_can_do_it(diary: Diary) -> None:
    assert (Notes().ranged, Streamed().ranged) == (False, True)
    with pytest.raises(RangeNotSupported):
        repaired(diary, Notes(), from_=datetime(2000, 1, 1, tzinfo=UTC))


def test_a_key_is_as_many_parts_as_the_primary_key_has() -> None:
    note = UUID(int=5)
    assert key_of(Notes(), str(note)) == (note,)
    for text in ("", "x", f"{note}/1"):
        with pytest.raises(UnknownKey):
            key_of(Notes(), text)


def test_two_readers_hold_up_nobody(diary: Diary) -> None:
    diary.some(50)
    diary.runner(Streamed()).catch_up()
    done = threading.Event()
    counts: set[int] = set()

    def read() -> None:
        with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
            while not done.is_set():
                row = connection.execute("SELECT count(*) FROM engine_notes").fetchone()
                assert row is not None
                counts.add(row[0])

    reader = threading.Thread(target=read)
    reader.start()
    repaired(diary, from_=datetime(2000, 1, 1, tzinfo=UTC))
    done.set()
    reader.join()
    assert counts == {len(diary.model)}
