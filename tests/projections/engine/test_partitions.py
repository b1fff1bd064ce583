"""Several projectors on one view: they share its partitions, hand them over and take them over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from projections.engine import rebuild as rebuilding
from projections.engine.leases import Leases, Slot
from projections.engine.runner import Runner
from projections.engine.view import PARTITIONS
from tests.support.diary_of_notes import Diary
from tests.support.diary_view import Notes
from tests.support.waiting import eventually

SLOTS = [Slot("engine.notes", index, PARTITIONS) for index in range(PARTITIONS)]


def named(diary: Diary, owner: str, **options: Any) -> Runner:
    """A runner that says that it is this process."""
    runner = diary.runner(**options)
    runner._owner = owner
    return runner


def test_a_runner_that_is_alone_holds_every_partition(diary: Diary) -> None:
    diary.some(40)
    named(diary, "one").catch_up()
    assert diary.owners() == dict.fromkeys(range(PARTITIONS), "one")
    assert diary.rows() == diary.model


def test_runners_share_the_partitions_and_agree_with_the_fold(
    diary: Diary, background: Callable[[Runner], Any]
) -> None:
    diary.some(50)
    background(named(diary, "one", page=7))
    background(named(diary, "two", page=7))
    eventually(lambda: sorted(diary.owners().values()) == ["one", "one", "two", "two"])
    diary.some(100)
    eventually(lambda: diary.rows() == diary.model)


def test_a_partition_moves_on_alone(diary: Diary) -> None:
    """A page of some streams moves only their partitions."""
    diary.some(40)
    first, second = named(diary, "one"), named(diary, "two")
    first.catch_up()
    second.step()  # offers itself
    first.look()
    first.step()  # gives what is the other's turn
    diary.some(40)
    while first.step():
        pass
    with psycopg.connect(diary.database.owner_dsn) as connection:
        reached = dict(
            connection.execute("SELECT partition, position FROM projection_checkpoints").fetchall()
        )
    assert sorted(reached.values()) == [40, 40, 80, 80]
    second.look()
    second.catch_up()
    assert diary.rows() == diary.model
    assert diary.checkpoint()["position"] == 80


def test_what_a_dead_runner_held_is_taken_over(
    diary: Diary, background: Callable[[Runner], Any]
) -> None:
    diary.some(20)
    doomed = named(diary, "doomed")
    background(named(diary, "survivor"))
    while sorted(diary.owners().values()) != ["doomed", "doomed", "survivor", "survivor"]:
        doomed.step()
    assert doomed._connection is not None
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(%s)", (doomed._connection.info.backend_pid,)
        )
    diary.some(40)
    eventually(lambda: set(diary.owners().values()) == {"survivor"}, within=5)
    eventually(lambda: diary.rows() == diary.model)


def test_more_runners_than_partitions_hold_no_partition_twice(
    diary: Diary, background: Callable[[Runner], Any]
) -> None:
    for number in range(PARTITIONS + 2):
        background(named(diary, f"runner {number}"))
    eventually(lambda: len(set(diary.owners().values())) == PARTITIONS)
    diary.some(100)
    eventually(lambda: diary.rows() == diary.model)


def test_a_free_partition_that_nobody_takes_is_adopted(
    diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another session says that it could, and then does nothing: it hangs, perhaps."""
    monkeypatch.setattr("projections.engine.holdings.ORPHANED", 0.0)
    with psycopg.connect(diary.database.write_dsn, autocommit=True) as hanging:
        Leases(hanging).offer(SLOTS)
        diary.some(20)
        runner = named(diary, "one")
        eventually(lambda: runner.step() or diary.rows() == diary.model)
        assert diary.owners() == dict.fromkeys(range(PARTITIONS), "one")


def test_every_partition_is_one_sessions_turn(diary: Diary) -> None:
    sessions = [
        psycopg.connect(diary.database.write_dsn, autocommit=True) for _ in range(PARTITIONS + 1)
    ]
    try:
        for count in range(1, len(sessions) + 1):
            leases = [Leases(session) for session in sessions[:count]]
            for each in leases:
                each.offer(SLOTS)
            turns = [slot for each in leases for slot in each.look().mine]
            assert sorted(turns) == SLOTS
            for each in leases:
                each.offer([])
    finally:
        for session in sessions:
            session.close()


def test_a_verification_compares_partitions_that_are_apart(diary: Diary) -> None:
    """Nobody moves for it: neither the live rows nor their checkpoints."""
    diary.some(40)
    first, second = named(diary, "one"), named(diary, "two")
    first.catch_up()
    second.step()
    first.look()
    first.step()
    diary.some(40)
    while first.step():
        pass

    def places() -> list[tuple[int, int]]:
        with psycopg.connect(diary.database.owner_dsn) as connection:
            return connection.execute(
                "SELECT partition, position FROM projection_checkpoints ORDER BY partition"
            ).fetchall()

    before = places()
    assert len({position for _, position in before}) == 2
    verified = rebuilding.verify(diary.database.write_dsn, diary.sources, Notes())
    assert verified.equal
    assert (verified.position, places()) == (40, before)
    report = rebuilding.rebuild(diary.database.write_dsn, diary.sources, Notes())
    assert report.equal
    assert report.swapped
    assert {position for _, position in places()} == {80}
    assert diary.rows() == diary.model
    # The kept generation goes on from where each of its partitions was.
    diary.some(20)
    rebuilding.rollback(diary.database.write_dsn, diary.sources, Notes())
    assert diary.rows() == diary.model


def test_a_view_with_another_number_of_partitions_waits_for_a_rebuild(diary: Diary) -> None:
    diary.some(20)
    runner = diary.runner()
    runner.catch_up()
    runner.close()

    class Whole(Notes):
        partitioned = False

    diary.some(20)
    assert not diary.runner(Whole()).step()
    assert diary.checkpoint()["status"] == "stopped"
    rebuilding.rebuild(diary.database.write_dsn, diary.sources, Whole())
    assert diary.rows() == diary.model
    assert diary.checkpoint()["partition"] == 0
    diary.some(5)
    diary.runner(Whole()).catch_up()
    assert diary.rows() == diary.model
