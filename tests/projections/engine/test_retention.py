"""The scheduler's job: what is old goes, and never before it was folded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg

from bootstrap.engine import DirectEngine
from projections.engine import checkpoints
from projections.engine.folding import connect
from projections.journal.mood_events import MoodEvents
from tests.support.diary_of_notes import USER, Diary

NOW = datetime.now(UTC)
STEP = timedelta(days=10)


def test_the_job_finds_what_must_have_been_folded_and_drops_the_rest(diary: Diary) -> None:
    diary.some(100)
    dsn = diary.database.owner_dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        first, last = connection.execute(
            "SELECT min(position), max(position) FROM events"
        ).fetchone()  # type: ignore[misc]
        connection.execute(
            "UPDATE events SET recorded_at = %s::timestamptz + (position - %s) * %s::interval",
            (NOW - 100 * STEP, first, STEP),
        )
        connection.execute(
            "INSERT INTO journal_mood_events SELECT %s::timestamptz + n * %s::interval,"
            " gen_random_uuid(), %s, %s, 'happy', 0.6, '{}', 1, true FROM generate_series(0, 99) n",
            (NOW - 100 * STEP, STEP, USER, USER),
        )
        source = diary.source()
        at = NOW - 30 * STEP
        assert source.position_before(at) == first + 70
        assert source.position_before(NOW + STEP) == last
        assert source.position_before(NOW - 200 * STEP) < first

        engine = DirectEngine(diary.database.write_dsn)
        with connect(dsn, "mindstream_project", "test") as projector:
            checkpoints.ensure(projector, [MoodEvents()])
        assert engine.retain(NOW) == 0  # it has folded nothing yet
        connection.execute("UPDATE projection_checkpoints SET position = %s", (last,))
        assert engine.retain(NOW) == 1
        assert engine.retain(NOW) == 0
        row = connection.execute("SELECT count(*) FROM journal_mood_events").fetchone()
        summed = connection.execute("SELECT count(*) FROM journal_mood_events_rolled").fetchone()
        assert row is not None
        assert summed is not None
        assert 36 <= row[0] <= 38
        assert row[0] + summed[0] >= 100
        left = connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'journal_mood_events'::regclass"
        ).fetchone()
        # A partition for each week that has a row, those of the next month, and the rest.
        assert left is not None
        assert row[0] + 4 <= left[0] <= row[0] + 7
        connection.execute("TRUNCATE journal_mood_events, journal_mood_events_rolled")
