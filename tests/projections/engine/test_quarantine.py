"""A poisoned event: the rest goes on, its stream waits in order, and nothing is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from domain.event import Recorded
from projections.engine import quarantine
from tests.support.diary_of_notes import USER, Diary
from tests.support.diary_view import Note, NoteRevised, Notes, NoteWritten
from tests.support.waiting import eventually


class Fussy(Notes):
    """Refuses a body until it is told not to."""

    refuses: str | None = "bad"

    def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
        if getattr(recorded.event, "body", None) == self.refuses and self.refuses is not None:
            raise ValueError(self.refuses)
        return super().fold(key, row, recorded)


@pytest.fixture
def asked(diary: Diary) -> Iterator[psycopg.Connection[Any]]:
    """What an operator's commands act through."""
    with psycopg.connect(
        diary.database.write_dsn, autocommit=True, options="-c role=mindstream_project"
    ) as connection:
        yield connection


def note(diary: Diary, *bodies: str) -> UUID:
    found = uuid7()
    diary.append(
        NoteWritten(note_id=found, user_id=USER, body=bodies[0]),
        *(NoteRevised(note_id=found, body=body) for body in bodies[1:]),
    )
    return found


def test_the_rest_goes_on_and_the_stream_waits_in_order(
    diary: Diary, asked: psycopg.Connection[Any]
) -> None:
    view = Fussy()
    diary.some(40)
    stuck = note(diary, "one", "bad", "three")
    diary.some(40)
    runner = diary.runner(view)
    runner.catch_up()
    rows, model = diary.rows(), dict(diary.model)
    assert rows.pop(stuck).body == "one"
    del model[stuck]
    assert rows == model
    [item] = quarantine.found(asked)
    assert item.stream_id == f"engine.note-{stuck}"
    assert item.position == 42
    assert (item.state, item.attempts, item.waiting_events) == ("retrying", 1, 1)
    assert "ValueError" in item.error
    assert "bad" not in item.error
    diary.append(NoteRevised(note_id=stuck, body="four"))
    runner.catch_up()
    assert diary.rows()[stuck].body == "one"
    [item] = quarantine.found(asked)
    assert item.waiting_events == 2
    assert diary.checkpoint()["status"] == "live"

    view.refuses = None
    assert quarantine.retry(asked, id=item.id) == [item.id]
    eventually(lambda: runner.step() or diary.rows() == diary.model)
    assert diary.rows()[stuck] == Note(stuck, USER, "four", 3)
    [item] = quarantine.found(asked)
    assert item.state == "released"
    assert item.first_failed_at <= item.last_failed_at, "the retry itself is no failure"


def test_a_fault_that_passes_is_mended_without_anybody(
    diary: Diary, asked: psycopg.Connection[Any]
) -> None:
    view = Fussy()
    note(diary, "one", "bad")
    runner = diary.runner(view)
    runner.catch_up()
    view.refuses = None
    eventually(lambda: runner.step() or diary.rows() == diary.model)


def test_what_keeps_failing_is_parked_and_left_alone(
    diary: Diary, asked: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "PATIENCE", 0.2)
    monkeypatch.setattr(quarantine, "FIRST_PAUSE", 0.05)
    note(diary, "bad", "two")
    runner = diary.runner(Fussy())
    runner.catch_up()

    def parked() -> bool:
        runner.step()
        return [each.state for each in quarantine.found(asked, state="parked")] == ["parked"]

    eventually(parked)
    [item] = quarantine.found(asked)
    assert item.attempts >= 2
    assert item.waiting_events == 1
    assert diary.rows() == {}


def test_a_discarded_event_is_left_out_and_its_stream_goes_on(
    diary: Diary, asked: psycopg.Connection[Any]
) -> None:
    stuck = note(diary, "one", "bad", "three")
    runner = diary.runner(Fussy())
    runner.catch_up()
    [item] = quarantine.found(asked)
    assert quarantine.discard(asked, "a test", stream_id=item.stream_id) == [item.id]

    def through() -> bool:
        runner.step()
        return diary.rows()[stuck].body == "three"

    eventually(through)
    assert diary.rows()[stuck].revisions == 1
    [item] = quarantine.found(asked)
    assert (item.state, item.reason) == ("discarded", "a test")


def test_a_second_poisoned_event_of_a_stream_is_found_behind_the_first(
    diary: Diary, asked: psycopg.Connection[Any]
) -> None:
    stuck = note(diary, "one", "bad", "three", "bad", "five")
    runner = diary.runner(Fussy())
    runner.catch_up()
    [first] = quarantine.found(asked)
    quarantine.discard(asked, "the first", id=first.id)

    def second() -> bool:
        runner.step()
        return len(quarantine.found(asked)) == 2

    eventually(second)
    assert diary.rows()[stuck].body == "three"
    open_items = quarantine.found(asked, state="retrying")
    assert [each.position for each in open_items] == [4]


def test_quarantine_outlives_the_projector(diary: Diary, asked: psycopg.Connection[Any]) -> None:
    stuck = note(diary, "one", "bad")
    first = diary.runner(Fussy())
    first.catch_up()
    first.close()
    diary.append(NoteRevised(note_id=stuck, body="three"))
    second = diary.runner(Fussy())
    second.catch_up()
    assert diary.rows()[stuck].body == "one"
    assert quarantine.found(asked)[0].waiting_events == 1


def test_a_view_that_cannot_fold_anything_stalls_instead(diary: Diary) -> None:
    for _ in range(60):
        note(diary, "bad")
    runner = diary.runner(Fussy())
    runner.step()
    checkpoint = diary.checkpoint()
    assert checkpoint["position"] == 0
    assert checkpoint["status"] == "stalled"
    assert "TooManyPoisoned" in checkpoint["error"]


def test_a_paused_projection_is_left_alone(diary: Diary, asked: psycopg.Connection[Any]) -> None:
    diary.some(5)
    runner = diary.runner()
    runner.catch_up()
    asked.execute("UPDATE projection_checkpoints SET paused = true")
    runner.look()
    diary.some(5)
    assert not runner.step()
    assert diary.rows() != diary.model
    asked.execute("UPDATE projection_checkpoints SET paused = false")
    runner.look()
    runner.catch_up()
    assert diary.rows() == diary.model
