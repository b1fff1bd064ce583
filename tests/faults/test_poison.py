"""One poisoned event among many: everything else is visible at once, and nothing is lost of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from domain.event import Event, Recorded
from projections.engine import quarantine
from projections.engine.rebuild import verify
from tests.support.diary_of_notes import USER, Diary
from tests.support.diary_view import DDL, Note, NoteRevised, Notes, NoteWritten
from tests.support.servers import Database
from tests.support.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


class Broken(Notes):
    """Cannot fold one body until somebody mends it."""

    broken = True

    def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
        if self.broken and getattr(recorded.event, "body", None) == "the poison":
            raise ValueError
        return super().fold(key, row, recorded)


@pytest.fixture
def diary(empty_database: Database) -> Iterator[Diary]:
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS engine_notes")
        connection.execute(DDL)
    made = Diary(empty_database)
    yield made
    for one in made.opened:
        one.close()
    made.pool.close()


def write(diary: Diary, count: int) -> None:
    """So many notes, of one event each."""
    left = count
    while left:
        chunk: list[Event] = [
            NoteWritten(note_id=uuid7(), user_id=USER, body="sound") for _ in range(min(left, 1000))
        ]
        diary.append(*chunk)
        left -= len(chunk)


def test_one_poisoned_event_among_many(diary: Diary, request: pytest.FixtureRequest) -> None:
    many = 100_000 if request.config.getoption("--long") else 10_000
    view = Broken()
    stuck: UUID = uuid7()
    diary.append(NoteWritten(note_id=stuck, user_id=USER, body="first"))
    write(diary, many // 2)
    for body in ("second", "the poison", "fourth"):
        diary.append(NoteRevised(note_id=stuck, body=body))
    write(diary, many // 2)
    runner = diary.runner(view)
    runner.catch_up()

    expected = dict(diary.model)
    before = diary.rows()
    assert before.pop(stuck).body == "second"
    del expected[stuck]
    assert before == expected

    # While it waits, what is written elsewhere is there after one step, and its stream queues.
    diary.append(NoteRevised(note_id=stuck, body="fifth"))
    write(diary, 10)
    runner.step()
    assert len(diary.rows()) == len(before) + 11
    assert diary.rows()[stuck].body == "second"
    with psycopg.connect(
        diary.database.write_dsn, autocommit=True, options="-c role=mindstream_project"
    ) as asked:
        [item] = quarantine.found(asked)
        assert (item.stream_id, item.waiting_events) == (f"engine.note-{stuck}", 2)

        view.broken = False
        assert quarantine.retry(asked, id=item.id) == [item.id]
        runner.look()
        eventually(lambda: runner.step() or diary.rows() == diary.model, within=10)
        assert diary.rows()[stuck] == Note(stuck, USER, "fifth", 4)
        assert [each.state for each in quarantine.found(asked)] == ["released"]
    assert verify(diary.database.write_dsn, diary.sources, view).equal
