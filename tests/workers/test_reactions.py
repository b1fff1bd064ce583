"""Reactions: once for each event, in order, from the head on, whatever dies or fails meanwhile."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.oversight import PostgresOversight
from adapters.postgres.pipeline import Pipeline
from adapters.reactions import PASSING_OVER, PostgresLedger
from domain.event import Recorded
from domain.reaction import ReactionStatus
from projections.engine import quarantine
from projections.engine.rebuild import Options, rebuild
from projections.oversight import ItemFilter
from tests.support.diary_of_notes import USER, Diary
from tests.support.diary_view import DDL, NoteRevised, Notes, NoteWritten
from tests.support.reacting import Letters, running
from tests.support.servers import Database
from tests.support.waiting import eventually_async
from workers.reactions import Unavailable

pytestmark = pytest.mark.anyio


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


@pytest.fixture
def letters(tmp_path: Path) -> Letters:
    return Letters(tmp_path)


@pytest.fixture
def asked(diary: Diary) -> Iterator[psycopg.Connection[Any]]:
    """What operators' commands act through."""
    with psycopg.connect(
        diary.database.write_dsn, autocommit=True, options="-c role=mindstream_project"
    ) as connection:
        yield connection


@pytest.fixture
async def oversight(diary: Diary) -> AsyncIterator[PostgresOversight]:
    pipeline = Pipeline(diary.database.write_dsn, role="mindstream_write")
    await pipeline.open()
    yield PostgresOversight(pipeline, ())
    await pipeline.close()


async def begun(diary: Diary, *letters: Letters) -> None:
    """What a set-up does, before anybody is let in."""
    ledger = PostgresLedger(diary.database.write_dsn)
    await ledger.begin({each.name: each.from_beginning for each in letters})
    await ledger.close()


def note(diary: Diary, *bodies: str) -> UUID:
    found = uuid7()
    diary.append(
        NoteWritten(note_id=found, user_id=USER, body=bodies[0]),
        *(NoteRevised(note_id=found, body=body) for body in bodies[1:]),
    )
    return found


def become(condition: Callable[[], bool]) -> Any:
    async def holds() -> bool:
        return condition()

    return eventually_async(holds)


def position(asked: psycopg.Connection[Any]) -> int:
    row = asked.execute("SELECT position FROM reactions").fetchone()
    assert row is not None
    return int(row[0])


async def test_a_new_reaction_begins_at_the_head_and_does_each_event_once(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    note(diary, "history")
    await begun(diary, letters)
    note(diary, "a", "b", "c")
    async with running(diary.database.write_dsn, letters, page=2):
        await become(lambda: letters.written == ["a", "b", "c"])
        note(diary, "d")
        await become(lambda: position(asked) == 5)
    assert letters.written == ["a", "b", "c", "d"]
    found = asked.execute("SELECT position, effect->>'did' FROM reaction_effects ORDER BY position")
    assert found.fetchall() == [(at, "letter") for at in (2, 3, 4, 5)]


async def test_a_reaction_that_says_so_begins_at_the_beginning(
    diary: Diary, letters: Letters
) -> None:
    class ForAll(Letters):
        from_beginning = True

    note(diary, "history")
    everything = ForAll(letters.folder)
    async with running(diary.database.write_dsn, everything):
        await become(lambda: everything.written == ["history"])


async def test_an_idle_worker_acts_within_a_second(
    diary: Diary, letters: Letters, slack: float
) -> None:
    async with running(diary.database.write_dsn, letters):
        await begun(diary, letters)
        with psycopg.connect(diary.database.write_dsn, autocommit=True) as told:
            for number in range(3):
                began = time.monotonic()
                note(diary, str(number))
                told.execute("SELECT pg_notify('mindstream_appended', '1')")
                await become(lambda: len(letters.written) == number + 1)  # noqa: B023
                assert time.monotonic() - began < slack


async def test_a_crash_between_effect_and_position_repeats_that_one_under_its_key(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    class Crashing(PostgresLedger):
        crashed = False

        async def record(self, name: str, key: UUID, at: int, *rest: Any, **more: Any) -> bool:
            if at == 2 and not self.crashed:
                self.crashed = True
                await self.close()  # the effect is there, and nobody knows
            return await super().record(name, key, at, *rest, **more)

    await begun(diary, letters)
    note(diary, "a", "b", "c")
    dsn = diary.database.write_dsn
    async with running(dsn, letters, ledger=Crashing(dsn)):
        await become(lambda: position(asked) == 3)
    assert letters.written == ["a", "b", "b", "c"]
    assert len(list(letters.folder.iterdir())) == 3  # one key each: the repeat met the first


async def test_a_reaction_that_gives_up_by_itself_is_taken_for_a_failing_one(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    def cancel(recorded: Recorded) -> None:
        if recorded.event.body == "bad":  # type: ignore[attr-defined]
            raise asyncio.CancelledError

    letters.before = cancel
    await begun(diary, letters)
    note(diary, "bad")
    note(diary, "good")
    async with running(diary.database.write_dsn, letters):
        await become(lambda: letters.written == ["good"])
        await become(lambda: position(asked) == 2)


async def test_what_is_known_to_be_done_is_not_done_again_when_the_position_is_lost(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    await begun(diary, letters)
    note(diary, "a", "b")
    async with running(diary.database.write_dsn, letters):
        await become(lambda: position(asked) == 2)
    asked.execute("UPDATE reactions SET position = 0")
    note(diary, "c")
    async with running(diary.database.write_dsn, letters):
        await become(lambda: position(asked) == 3)
    assert letters.written == ["a", "b", "c"]


async def test_a_rebuild_of_everything_reacts_to_nothing(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    diary.some(50)
    await begun(diary, letters)
    runner = diary.runner()
    async with running(diary.database.write_dsn, letters):
        note(diary, "news")
        await become(lambda: position(asked) == 51)
        before = asked.execute("SELECT * FROM reactions").fetchall()[0][:4]
        runner.catch_up()
        report = await asyncio.to_thread(
            lambda: rebuild(diary.database.write_dsn, diary.sources, Notes(), options=Options())
        )
        assert (report.rows, report.swapped) == (len(diary.model), True)
        note(diary, "later")
        await become(lambda: position(asked) == 52)
    assert before[:3] == ("tests.letters", 51, 50)
    assert letters.written == ["news", "later"]


async def test_a_poisoned_event_is_parked_and_its_stream_waits_in_order(
    diary: Diary,
    letters: Letters,
    asked: psycopg.Connection[Any],
    oversight: PostgresOversight,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quarantine, "PATIENCE", 1.0)
    refused = {"bad"}

    def refuse(recorded: Recorded) -> None:
        if recorded.event.body in refused:  # type: ignore[attr-defined]
            raise ValueError("a text that nobody else may see")

    letters.before = refuse
    await begun(diary, letters)
    stuck = note(diary, "one", "bad", "three")
    note(diary, "other")

    def state() -> str:
        row = asked.execute("SELECT state FROM projection_quarantine").fetchone()
        return "none" if row is None else str(row[0])

    async with running(diary.database.write_dsn, letters):
        await become(lambda: state() == "parked")
        assert letters.written == ["one", "other"]
        [status] = await oversight.reactions()
        assert (status.status, status.gap_events, status.quarantined_streams) == ("live", 0, 1)
        [item] = await oversight.quarantine(ItemFilter(), limit=10)
        assert (item.projection, item.stream_id) == ("tests.letters", f"engine.note-{stuck}")
        assert (item.position, item.waiting_events) == (2, 1)
        assert item.error == "ValueError"

        refused.clear()
        quarantine.retry(asked, projection="tests.letters")
        await become(lambda: state() == "released")
        assert letters.written == ["one", "bad", "three", "other"]
        note(diary, "and-on")
        await become(lambda: "and-on" in letters.written)


async def test_a_discarded_event_is_left_out_and_its_stream_goes_on(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    def refuse(recorded: Recorded) -> None:
        if recorded.event.body == "bad":  # type: ignore[attr-defined]
            raise ValueError

    letters.before = refuse
    await begun(diary, letters)
    note(diary, "one", "bad", "three")
    async with running(diary.database.write_dsn, letters):
        await become(lambda: position(asked) == 3)
        assert letters.written == ["one"]
        quarantine.discard(asked, "nobody wants it", projection="tests.letters")
        await become(lambda: letters.written == ["one", "three"])


async def test_while_what_it_needs_is_away_it_waits_and_says_so(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any], oversight: PostgresOversight
) -> None:
    away = True

    def refuse(recorded: Recorded) -> None:
        if away:
            raise Unavailable

    letters.before = refuse
    await begun(diary, letters)
    note(diary, "a", "b")

    async def stalled() -> bool:
        return [each.status for each in await oversight.reactions()] == ["stalled"]

    async with running(diary.database.write_dsn, letters):
        await eventually_async(stalled)
        [status] = await oversight.reactions()
        assert (status.gap_events, status.error) == (2, "Unavailable after position 0")
        assert asked.execute("SELECT count(*) FROM projection_quarantine").fetchone() == (0,)
        away = False
        await become(lambda: letters.written == ["a", "b"])

        async def live() -> bool:
            return [each.status for each in await oversight.reactions()] == ["live"]

        await eventually_async(live)


async def test_a_paused_reaction_does_nothing_until_it_is_resumed(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any], oversight: PostgresOversight
) -> None:
    await begun(diary, letters)
    asked.execute("UPDATE reactions SET paused = true")
    async with running(diary.database.write_dsn, letters):
        note(diary, "a")

        async def met() -> bool:
            [status] = await oversight.reactions()
            return status.owner is not None and status.status == "paused"

        await eventually_async(met)
        assert letters.written == []
        asked.execute("UPDATE reactions SET paused = false")
        await become(lambda: letters.written == ["a"])


async def test_events_that_are_too_old_are_passed_over(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    class Soon(Letters):
        stale_after = timedelta(days=1)

    await begun(diary, letters)
    old = note(diary, "old")
    with psycopg.connect(diary.database.owner_dsn) as owner:
        yesterday = datetime.now(UTC) - timedelta(days=2)
        owner.execute("UPDATE events SET recorded_at = %s", (yesterday,))
    diary.append(NoteRevised(note_id=old, body="new"))
    async with running(diary.database.write_dsn, Soon(letters.folder)):
        await become(lambda: position(asked) == 2)
    assert letters.written == ["new"]


async def test_what_is_imported_beside_a_running_worker_is_passed_over(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    note(diary, "before")
    await begun(diary, letters)
    async with running(diary.database.write_dsn, letters):
        await become(lambda: asked.execute("SELECT owner FROM reactions").fetchone() != (None,))
        with psycopg.connect(diary.database.owner_dsn) as owner:  # one transaction
            owner.execute(
                """
                INSERT INTO events
                SELECT 1 + n, stream_id || n, 1, topic, tenant_id, gen_random_uuid(),
                       correlation_id, causation_id, actor, trace_id, recorded_at, data
                FROM events, generate_series(1, 30) AS n
                """
            )
            owner.execute(PASSING_OVER)
            owner.execute("SELECT pg_notify('mindstream_appended', '31')")
        await become(lambda: position(asked) == 31)
        note(diary, "news")
        await become(lambda: position(asked) == 32)
    assert letters.written == ["news"]


async def test_a_lost_connection_costs_nothing(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any]
) -> None:
    await begun(diary, letters)
    async with running(diary.database.write_dsn, letters):
        note(diary, "a")
        await become(lambda: position(asked) == 1)
        with psycopg.connect(diary.database.owner_dsn, autocommit=True) as owner:
            ended = owner.execute(
                """
                SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name LIKE 'mindstream-%'
                """
            ).fetchone()
            assert ended is not None
            assert ended[0] >= 2
        note(diary, "b")
        await become(lambda: letters.written == ["a", "b"])


async def test_a_killed_worker_is_followed_by_another_within_five_seconds(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any], slack: float
) -> None:
    await begun(diary, letters)
    command = [sys.executable, "-m", "tests.support.reacting"]
    both = [
        subprocess.Popen([*command, diary.database.write_dsn, str(letters.folder)])  # noqa: ASYNC220
        for _ in range(2)
    ]
    try:
        note(diary, "first")
        await become(lambda: position(asked) == 1)

        def owner() -> int:
            row = asked.execute("SELECT owner FROM reactions").fetchone()
            assert row is not None
            return int(row[0].rpartition(":")[2])

        killed = owner()
        for number in range(200):
            note(diary, str(number))
        await become(lambda: len(letters.written) > 20)
        [process] = [process for process in both if process.pid == killed]
        process.send_signal(signal.SIGKILL)
        began = time.monotonic()
        await become(lambda: owner() != killed)
        assert time.monotonic() - began < 5 * slack
        await become(lambda: position(asked) == 201)
        files = list(letters.folder.iterdir())
        assert len(files) == 201  # one for each event, whatever was tried twice
        assert sum(len(path.read_text().split()) > 1 for path in files) <= 1
    finally:
        for process in both:
            process.kill()
            process.wait()


async def test_a_dead_worker_is_not_reported_as_live(
    diary: Diary, letters: Letters, asked: psycopg.Connection[Any], oversight: PostgresOversight
) -> None:
    await begun(diary, letters)
    async with running(diary.database.write_dsn, letters):
        note(diary, "a")
        await become(lambda: position(asked) == 1)
    asked.execute("UPDATE reactions SET heartbeat_at = now() - interval '1 minute'")
    assert [each.status for each in await oversight.reactions()] == ["stopped"]
    note(diary, "b")
    with psycopg.connect(diary.database.owner_dsn) as owner:
        owner.execute("UPDATE events SET recorded_at = now() - interval '1 minute'")
    asked.execute("UPDATE reactions SET advanced_at = now() - interval '1 minute'")
    [status] = await oversight.reactions()
    assert isinstance(status, ReactionStatus)
    assert (status.status, status.gap_events) == ("stalled", 1)
    assert status.gap_seconds > 50
