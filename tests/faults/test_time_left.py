"""The time left that a steady rebuild tells is right, from its first tenth on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import psycopg
import pytest

from projections.engine.rebuild import Options, Progress, Signal, rebuild
from tests.support.diary_of_notes import Diary
from tests.support.diary_view import DDL, Notes
from tests.support.servers import Database

EVENTS, EVENTS_LONG = 60_000, 400_000

# Written by one statement: how the events came to be is not what is tested.
WRITE = """
INSERT INTO events (position, stream_id, stream_version, topic, tenant_id, event_id, correlation_id,
                    actor, recorded_at, data)
SELECT n, 'engine.note-' || id, 1, 'engine.NoteWritten.v1', id, id, 'test', 'system:test', now(),
       convert_to(json_build_object('note_id', id, 'user_id', id, 'body', n::text)::text, 'UTF8')
FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, %s) AS n) AS numbered
"""


@pytest.fixture
def diary(empty_database: Database) -> Iterator[Diary]:
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        connection.execute(DDL)
    made = Diary(empty_database)
    yield made
    for one in made.opened:
        one.close()
    made.pool.close()


@pytest.mark.faults
def test_the_time_left_of_a_steady_rebuild_is_right(
    diary: Diary, pytestconfig: pytest.Config
) -> None:
    long = bool(pytestconfig.getoption("--long"))
    events = EVENTS_LONG if long else EVENTS
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute(WRITE, (events,))
        connection.execute("VACUUM (ANALYZE) events")
    diary.runner().catch_up()
    dsn, options = diary.database.write_dsn, Options(partitions=1)
    # What comes after the folding is known from the rebuild before.
    assert rebuild(dsn, diary.sources, Notes(), options=options).equal
    told: list[tuple[float, Progress]] = []

    def heed(progress: Progress) -> Signal:
        told.append((time.monotonic(), progress))
        return "go"

    assert rebuild(dsn, diary.sources, Notes(), options=options, heed=heed).equal
    ended = time.monotonic()
    assert {progress.events_total for _, progress in told} == {events}, "totals do not jump"
    fractions = [progress.fraction for _, progress in told]
    assert fractions[-1] > 0.5
    off = [
        abs((progress.eta_seconds or 0.0) - (ended - at)) / (ended - at)
        for at, progress in told
        if 0.1 <= progress.fraction <= 0.8
    ]
    assert off, "there was no time to look"
    if long:  # a short rebuild is over before its speed is known well
        # A machine that has other things to do makes single guesses wrong, but not most of them.
        assert statistics.median(off) <= 0.2, told
