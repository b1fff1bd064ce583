"""The engine on real servers: batches, restarts, faults, takeovers and rebuilds of a small view."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent

from domain.event import Recorded
from projections.engine import rebuild as rebuilding
from projections.engine.runner import Runner
from tests.support.diary_of_notes import Diary
from tests.support.diary_view import DDL, Note, Notes
from tests.support.waiting import eventually

USER = UUID(int=7)


@pytest.mark.parametrize("page", [1, 3, 5_000])
def test_the_view_equals_a_plain_fold_whatever_the_page(diary: Diary, page: int) -> None:
    diary.some(60)
    runner = diary.runner(page=page)
    runner.catch_up()
    assert diary.rows() == diary.model
    diary.some(60)
    runner.catch_up()
    assert diary.rows() == diary.model
    checkpoint = diary.checkpoint()
    assert checkpoint["position"] == 120
    assert checkpoint["status"] == "live"


def test_a_new_runner_goes_on_where_the_last_one_stopped(diary: Diary) -> None:
    folded: list[int] = []

    class Watching(Notes):
        def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
            folded.append(recorded.position)
            return super().fold(key, row, recorded)

    for _ in range(3):
        diary.some(10)
        runner = diary.runner(Watching())
        runner.catch_up()
        runner.close()
    assert diary.rows() == diary.model
    assert sorted(folded) == list(range(1, 31))  # each event once


def test_an_append_wakes_the_projector(diary: Diary, background: Any) -> None:
    background(diary.runner())
    diary.some(20)
    eventually(lambda: diary.rows() == diary.model)
    diary.some(20)
    eventually(lambda: diary.rows() == diary.model)


def test_events_that_nobody_takes_are_passed(diary: Diary) -> None:
    diary.some(5)
    diary.recorder.insert_events([StoredEvent("other-1", 1, "other.Happened.v1", b"{}")] * 1)
    diary.runner().catch_up()
    assert diary.checkpoint()["position"] == 6


def test_a_fault_of_one_view_holds_up_no_other(diary: Diary) -> None:
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS engine_faulty")
        connection.execute(DDL.replace("engine_notes", "engine_faulty"))

    class Faulty(Notes):
        name = "engine.faulty"
        table = "engine_faulty"

        def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
            raise ValueError("always")

    diary.some(30)
    runner = Runner(diary.database.write_dsn, diary.source(), [Faulty(), Notes()])
    diary.opened.append(runner)
    while diary.rows() != diary.model:
        assert runner.step()
    with psycopg.connect(diary.database.owner_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM engine_faulty").fetchone() == (0,)


def test_another_process_takes_over_when_the_owner_dies(diary: Diary, background: Any) -> None:
    diary.some(10)
    first = diary.runner()
    first.catch_up()
    background(diary.runner())
    diary.some(10)
    first.catch_up()
    assert diary.rows() == diary.model  # the first still owns it
    assert first._connection is not None
    pid = first._connection.info.backend_pid
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
    diary.some(10)
    eventually(lambda: diary.rows() == diary.model)


def test_rows_and_checkpoint_survive_the_loss_of_the_connection(
    diary: Diary, background: Any
) -> None:
    background(diary.runner(page=7))
    for _ in range(20):
        diary.some(15)
        with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'mindstream-projector%'"
            )
    eventually(lambda: diary.rows() == diary.model)


def test_a_changed_version_waits_for_a_rebuild(diary: Diary) -> None:
    diary.some(20)
    older = diary.runner()
    older.catch_up()
    older.close()

    class Newer(Notes):
        version = 2

    diary.some(20)
    runner = diary.runner(Newer())
    assert not runner.step()
    assert diary.checkpoint()["status"] == "stopped"
    rebuilding.rebuild(diary.database.write_dsn, diary.sources, Newer())
    assert diary.rows() == diary.model
    diary.some(5)
    another = diary.runner(Newer())
    another.catch_up()
    assert diary.rows() == diary.model


def test_a_view_that_is_swapped_while_its_page_fails_is_looked_at_again(
    diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary.some(10)
    runner = diary.runner()
    runner.catch_up()
    diary.some(10)

    def fail(*_: Any) -> None:
        raise ValueError("the page")

    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute("UPDATE projection_checkpoints SET generation = generation + 1")
    with monkeypatch.context() as patched:
        patched.setattr(runner, "_commit", fail)
        runner.step()  # neither stops the projector nor moves what is not its own any more
    assert diary.checkpoint()["position"] == 10
    eventually(lambda: runner.step() or diary.rows() == diary.model)
