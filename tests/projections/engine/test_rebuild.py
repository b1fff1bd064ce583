"""Rebuild, verify and roll back on real servers: the same rows, no empty page, nothing lost."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from domain.event import Recorded
from projections.engine import folding, growing, quarantine
from projections.engine.rebuild import (
    AlreadyRebuilding,
    Cancelled,
    Differences,
    NothingKept,
    Options,
    PoisonMet,
    Progress,
    RangeNotSupported,
    Signal,
    UnknownKey,
    rebuild,
    rollback,
    verify,
)
from tests.support.diary_of_notes import Diary
from tests.support.diary_view import Note, NoteRevised, Notes
from tests.support.waiting import eventually


class Failing(Notes):
    """Cannot fold one body."""

    def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
        if getattr(recorded.event, "body", None) == "bad":
            raise ValueError("bad")
        return super().fold(key, row, recorded)


class Newer(Notes):
    """Another meaning of the rows."""

    version = 2

    def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
        found = super().fold(key, row, recorded)
        return None if found is None else Note(found.note_id, found.user_id, "*", found.revisions)


@pytest.fixture(autouse=True)
def _no_tables_left(diary: Diary) -> None:
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        for table in tables(diary) - {"engine_notes"}:
            connection.execute(f"DROP TABLE {table}")


def tables(diary: Diary) -> set[str]:
    with psycopg.connect(diary.database.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE tablename LIKE 'engine\\_notes%'"
        )
        return {row[0] for row in rows}


def spoil(diary: Diary, statement: str) -> None:
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute(statement)


@pytest.mark.parametrize("parts", [1, 3])
def test_the_same_rows_while_writes_go_on(diary: Diary, parts: int) -> None:
    diary.some(200)
    runner = diary.runner()
    runner.catch_up()
    seen: list[int] = []

    def heed(progress: Progress) -> Signal:
        seen.append(len(diary.rows()))
        diary.some(5)
        runner.catch_up()
        return "go"

    report = rebuild(
        diary.database.write_dsn,
        diary.sources,
        Notes(),
        options=Options(partitions=parts),
        heed=heed,
    )
    assert all(seen)
    assert (report.swapped, report.equal, report.generation) == (True, True, 2)
    assert report.checksum_live == report.checksum_shadow
    runner.catch_up()  # fenced once, then on the new generation
    assert diary.rows() == diary.model
    diary.some(20)
    runner.catch_up()
    assert diary.rows() == diary.model
    checkpoint = diary.checkpoint()
    assert (checkpoint["generation"], checkpoint["rebuild"]) == (2, None)
    assert tables(diary) == {"engine_notes", "engine_notes__g1"}


def test_rows_that_differ_are_not_swapped_unless_that_is_meant(diary: Diary) -> None:
    diary.some(50)
    diary.runner().catch_up()
    lost, spoiled = list(diary.model)[:2]
    spoil(diary, f"DELETE FROM engine_notes WHERE note_id = '{lost}'")
    spoil(diary, f"UPDATE engine_notes SET body = 'x' WHERE note_id = '{spoiled}'")
    with pytest.raises(Differences) as found:
        rebuild(diary.database.write_dsn, diary.sources, Notes())
    by_key = {each.key: each for each in found.value.differences}
    assert set(by_key) == {str(lost), str(spoiled)}
    assert by_key[str(lost)].live is None
    assert by_key[str(spoiled)].live != by_key[str(spoiled)].expected
    assert not found.value.report.swapped
    assert diary.rows() != diary.model
    assert tables(diary) == {"engine_notes"}
    report = rebuild(
        diary.database.write_dsn,
        diary.sources,
        Notes(),
        options=Options(accept_differences=True),
    )
    assert (report.swapped, report.equal) == (True, False)
    assert diary.rows() == diary.model


def test_an_emptied_table_is_filled_without_being_asked_twice(diary: Diary) -> None:
    diary.some(50)
    diary.runner().catch_up()
    spoil(diary, "DELETE FROM engine_notes")
    report = rebuild(diary.database.write_dsn, diary.sources, Notes())
    assert (report.swapped, report.equal) == (True, False)
    assert diary.rows() == diary.model


def test_verify_reports_and_touches_nothing(diary: Diary) -> None:
    diary.some(80)
    diary.runner().catch_up()
    assert verify(diary.database.write_dsn, diary.sources, Notes()).equal
    [first, *_] = diary.model
    spoil(diary, f"DELETE FROM engine_notes WHERE note_id = '{first}'")
    before = diary.rows()
    found = verify(diary.database.write_dsn, diary.sources, Notes())
    assert not found.equal
    assert found.rows_live == found.rows_expected - 1
    assert [(each.key, each.live) for each in found.differences] == [(str(first), None)]
    assert diary.rows() == before
    assert tables(diary) == {"engine_notes"}


def test_one_key_is_repaired_in_place(diary: Diary) -> None:
    diary.some(80)
    diary.runner().catch_up()
    first, second, *_ = diary.model
    spoil(diary, f"UPDATE engine_notes SET body = 'x' WHERE note_id IN ('{first}', '{second}')")
    report = rebuild(
        diary.database.write_dsn, diary.sources, Notes(), options=Options(key=str(first))
    )
    assert (report.swapped, report.generation, report.rows) == (False, 1, 1)
    rows = diary.rows()
    assert rows[first] == diary.model[first]
    assert rows[second].body == "x"
    with pytest.raises(UnknownKey):
        rebuild(diary.database.write_dsn, diary.sources, Notes(), options=Options(key="x"))
    gone = uuid4()
    nothing = rebuild(
        diary.database.write_dsn, diary.sources, Notes(), options=Options(key=str(gone))
    )
    assert (nothing.rows, nothing.events) == (0, 0)


def test_rollback_goes_back_with_every_write_since_and_forward_again(diary: Diary) -> None:
    diary.some(60)
    runner = diary.runner()
    runner.catch_up()
    with pytest.raises(NothingKept):
        rollback(diary.database.write_dsn, diary.sources, Notes())
    rebuild(diary.database.write_dsn, diary.sources, Notes())
    runner.catch_up()
    diary.some(60)
    runner.catch_up()
    back = rollback(diary.database.write_dsn, diary.sources, Notes())
    assert back.generation == 1
    diary.some(10)
    runner.catch_up()
    assert diary.rows() == diary.model
    forward = rollback(diary.database.write_dsn, diary.sources, Notes())
    assert forward.generation == 2
    runner.catch_up()
    assert diary.rows() == diary.model
    assert rebuild(diary.database.write_dsn, diary.sources, Notes()).generation == 3
    assert tables(diary) == {"engine_notes", "engine_notes__g2"}


def test_a_new_version_swaps_and_says_that_it_differs(diary: Diary) -> None:
    diary.some(30)
    older = diary.runner()
    older.catch_up()
    older.close()
    report = rebuild(diary.database.write_dsn, diary.sources, Newer())
    assert (report.swapped, report.equal) == (True, False)
    assert {row.body for row in diary.rows().values()} == {"*"}
    assert diary.checkpoint()["version"] == 2
    with pytest.raises(NothingKept):  # the old version's code is gone
        rollback(diary.database.write_dsn, diary.sources, Newer())


def test_poison_fails_a_rebuild_and_swaps_nothing(diary: Diary) -> None:
    diary.some(30)
    diary.runner().catch_up()
    note = next(iter(diary.model))
    diary.append(NoteRevised(note_id=note, body="bad"))
    before = diary.rows()
    runner = diary.runner(Failing())
    for held in diary.opened[:-1]:
        held.close()
    runner.catch_up()  # the live rows are at the poisoned event too: it waits there as well
    with pytest.raises(PoisonMet) as met:
        rebuild(diary.database.write_dsn, diary.sources, Failing())
    assert [item["position"] for item in met.value.items] == [31]
    assert diary.rows() == before
    assert tables(diary) == {"engine_notes"}


def met(diary: Diary) -> list[tuple[str, int, str, bool]]:
    with psycopg.connect(diary.database.owner_dsn) as connection:
        return connection.execute(
            "SELECT projection, position, state, settled FROM projection_quarantine"
        ).fetchall()


def test_accepted_poison_waits_in_quarantine_and_the_stream_behind_it(diary: Diary) -> None:
    diary.some(30)
    note, other, *_ = diary.model
    diary.append(NoteRevised(note_id=note, body="bad"), NoteRevised(note_id=note, body="more"))
    live = diary.runner()
    live.catch_up()  # it was folded once, and cannot be any more
    live.close()

    report = rebuild(
        diary.database.write_dsn,
        diary.sources,
        Failing(),
        options=Options(accept_differences=True),
    )

    assert (report.swapped, report.equal) == (True, False)
    assert met(diary) == [("engine.notes", 31, "parked", False)]
    runner = diary.runner(Failing())
    diary.append(NoteRevised(note_id=note, body="last"), NoteRevised(note_id=other, body="on"))
    runner.catch_up()
    assert diary.rows()[other].body == "on"
    assert diary.rows()[note].body not in ("bad", "more", "last")
    runner.close()

    mended = diary.runner()
    with psycopg.connect(diary.database.project_dsn, autocommit=True) as connection:
        assert quarantine.retry(connection, projection="engine.notes")
    eventually(lambda: mended.step() or diary.rows() == diary.model)
    assert met(diary) == [("engine.notes", 31, "released", True)]


def test_nobody_goes_back_to_rows_that_lack_events(diary: Diary) -> None:
    diary.some(30)
    note = next(iter(diary.model))
    diary.append(NoteRevised(note_id=note, body="bad"))
    diary.runner().catch_up()
    before = diary.rows()
    for held in diary.opened:
        held.close()
    accepting = Options(accept_differences=True)
    rebuild(diary.database.write_dsn, diary.sources, Failing(), options=accepting)
    assert diary.rows() != before

    rollback(diary.database.write_dsn, diary.sources, Notes())

    assert diary.rows() == before == diary.model
    assert met(diary) == [("engine.notes", 31, "released", True)]
    with pytest.raises(NothingKept):
        rollback(diary.database.write_dsn, diary.sources, Notes())
    assert tables(diary) == {"engine_notes"}


def test_discarded_events_stay_left_out(diary: Diary) -> None:
    diary.some(30)
    note = next(iter(diary.model))
    diary.append(NoteRevised(note_id=note, body="bad"), NoteRevised(note_id=note, body="after"))
    runner = diary.runner(Failing())
    runner.catch_up()
    with psycopg.connect(
        diary.database.write_dsn, autocommit=True, options="-c role=mindstream_project"
    ) as connection:
        quarantine.discard(connection, "a test")
    eventually(lambda: runner.step() or diary.rows()[note].body == "after")
    before = diary.rows()
    assert verify(diary.database.write_dsn, diary.sources, Failing()).equal
    report = rebuild(diary.database.write_dsn, diary.sources, Failing())
    assert (report.swapped, report.equal) == (True, True)
    assert diary.rows() == before


def test_a_rebuild_releases_what_waited_in_quarantine(diary: Diary) -> None:
    diary.some(20)
    note = next(iter(diary.model))
    diary.append(NoteRevised(note_id=note, body="bad"))
    diary.model[note] = Note(note, diary.model[note].user_id, "bad", diary.model[note].revisions)
    runner = diary.runner(Failing())
    runner.catch_up()
    runner.close()
    rebuild(
        diary.database.write_dsn,
        diary.sources,
        Notes(),
        options=Options(accept_differences=True),
    )
    fixed = diary.runner()
    fixed.catch_up()
    assert diary.rows() == diary.model
    with psycopg.connect(diary.database.owner_dsn) as connection:
        states = connection.execute("SELECT state, settled FROM projection_quarantine").fetchall()
    assert states == [("released", True)]


def test_cancelled_it_leaves_nothing_behind(diary: Diary) -> None:
    diary.some(20)
    diary.runner().catch_up()
    with pytest.raises(Cancelled):
        rebuild(diary.database.write_dsn, diary.sources, Notes(), heed=lambda _: "cancel")
    assert tables(diary) == {"engine_notes"}
    assert diary.checkpoint()["rebuild"] is None


def test_paused_it_waits_and_goes_on(diary: Diary) -> None:
    diary.some(20)
    diary.runner().catch_up()
    asked: list[str] = []

    def heed(progress: Progress) -> Signal:
        asked.append(progress.state)
        return "pause" if len(asked) < 4 else "go"

    assert rebuild(diary.database.write_dsn, diary.sources, Notes(), heed=heed).swapped
    assert asked[:4] == ["running", "paused", "paused", "paused"]


def test_after_a_crash_it_goes_on_where_it_stopped(
    diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "PAGE", 10)
    monkeypatch.setattr(growing, "HEED_EVERY", 0.0)
    diary.some(100)
    diary.runner().catch_up()

    class Crash(BaseException):
        pass

    def crash(progress: Progress) -> Signal:
        if progress.events_done >= 50:
            raise Crash
        return "go"

    with pytest.raises(Crash):
        rebuild(diary.database.write_dsn, diary.sources, Notes(), heed=crash)
    assert "engine_notes__g2" in tables(diary)
    done: list[int] = []

    def watch(progress: Progress) -> Signal:
        done.append(progress.events_done)
        return "go"

    report = rebuild(diary.database.write_dsn, diary.sources, Notes(), heed=watch)
    assert done[0] >= 50
    assert (report.generation, report.events, report.equal) == (2, 100, True)
    assert diary.rows() == diary.model


def test_two_at_once_are_refused_and_ranges_too(diary: Diary) -> None:
    diary.some(20)
    diary.runner().catch_up()
    started, go_on = threading.Event(), threading.Event()

    def heed(progress: Progress) -> Signal:
        started.set()
        go_on.wait(10)
        return "go"

    first = threading.Thread(
        target=rebuild,
        args=(diary.database.write_dsn, diary.sources, Notes()),
        kwargs={"heed": heed},
    )
    first.start()
    assert started.wait(10)
    with pytest.raises(AlreadyRebuilding):
        verify(diary.database.write_dsn, diary.sources, Notes())
    go_on.set()
    first.join()
    checkpoint = diary.checkpoint()
    with pytest.raises(RangeNotSupported):
        rebuild(
            diary.database.write_dsn,
            diary.sources,
            Notes(),
            options=Options(from_=checkpoint["advanced_at"]),
        )


def test_readers_never_see_an_empty_table(diary: Diary) -> None:
    diary.some(100)
    runner = diary.runner()
    runner.catch_up()
    done = threading.Event()
    counts: list[int] = []

    def read() -> None:
        with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
            while not done.is_set():
                row = connection.execute("SELECT count(*) FROM engine_notes").fetchone()
                assert row is not None
                counts.append(row[0])

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(3):
        rebuild(diary.database.write_dsn, diary.sources, Notes())
    done.set()
    reader.join()
    assert set(counts) == {len(diary.model)}
