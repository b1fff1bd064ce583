"""Time series hold the same and come to the same in every form of them: one suite for all three.

What is written, revised, deleted, aged, dropped, erased and built anew is compared with plain
Python. ``tests/support/forms.py`` has the databases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier, Placeholder

from bootstrap.views import VIEWS
from domain.accounts.events import SubjectErased
from domain.journal.events import EntryDeleted, EntryRevised
from projections.accounts.activity import Activities
from projections.engine import checkpoints, generations, series
from projections.engine.checkpoints import Connection
from projections.engine.folding import connect
from projections.engine.rebuild import Options, rebuild, rollback, verify
from projections.engine.runner import Runner
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter
from projections.journal.mood_events import MoodEvents
from tests.support.forms import FORMS, FormDatabase
from tests.support.moods import PEOPLE, Day, KnownEvents, Moods, Sums, Week

VIEW = MoodEvents()
BOTH: tuple[RowView[Any], ...] = (VIEW, Activities())
NOW = datetime.now(UTC).replace(microsecond=0)
YEAR = timedelta(days=366)
BEGINNING = datetime.min.replace(tzinfo=UTC)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> FormDatabase:
    found: Callable[[], FormDatabase] = request.getfixturevalue(f"{request.param}_form")
    database = found()
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for view in BOTH:
            connection.execute(SQL("TRUNCATE {}").format(Identifier(view.table)))
            forget = "SELECT timeseries_forget(%s, %s)"
            connection.execute(forget, (view.table, list(PEOPLE)))
        connection.execute("DELETE FROM projection_checkpoints")
        connection.execute("TRUNCATE projection_generations CASCADE")
        connection.execute(
            "UPDATE timeseries_horizons"
            " SET summed_before = '-infinity', dropped_before = '-infinity'"
        )
    return database


@contextmanager
def projector(form: FormDatabase) -> Iterator[Connection]:
    with connect(form.dsn, "mindstream_project", "test") as connection:
        connection.execute("SET ROLE mindstream_project")  # not every server heeds the option
        yield connection


class Inserting(ViewWriter):
    """For a server that knows no COPY."""

    def _copy_rows(self, copy_into: Composed, rows: Iterator[Any]) -> None:
        names = SQL(", ").join(map(Identifier, self._columns))
        table = self._table if copy_into is self._copy else f"staging_{self._table}"
        values = SQL(", ").join(Placeholder() * len(self._columns))
        insert = SQL("INSERT INTO {} ({}) VALUES ({})").format(Identifier(table), names, values)
        for row in rows:
            self._connection.execute(insert, msgspec.structs.astuple(row))


def writer_of(
    form: FormDatabase, connection: Connection, view: RowView[Any], table: str
) -> ViewWriter:
    return (Inserting if form.single else ViewWriter)(view, connection, table)


def old_and_new(moods: Moods, count: int) -> None:
    """Events around the time from which on rows are kept, and in the last weeks."""
    moods.some(count // 2, NOW - YEAR - timedelta(days=60), NOW - YEAR + timedelta(days=20))
    moods.some(count // 2, NOW - timedelta(days=20), NOW)


def fold(form: FormDatabase, moods: Moods) -> None:
    """Let the projector come to the end."""
    if form.single:
        # Its only session cannot tell whose turn it is, which is what a runner asks first.
        with projector(form) as connection:
            checkpoints.ensure(connection, BOTH)
            at = checkpoints.read_all(connection)[VIEW.name].position
            with connection.transaction():
                for view in BOTH:
                    mine = [one for one in moods.events[at:] if type(one.event) in view.takes]
                    writer_of(form, connection, view, view.table).apply(mine)
                moved = "UPDATE projection_checkpoints SET position = %s"
                connection.execute(moved, (len(moods.events),))
        return
    runner = Runner(form.dsn, moods.source, BOTH)
    try:
        runner.catch_up()
    finally:
        runner.close()


def retain(form: FormDatabase, moods: Moods, now: datetime) -> bool:
    with projector(form) as connection:
        done = [series.retain(connection, view, now, moods.position_before) for view in BOTH]
    return all(done)


def shown(form: FormDatabase) -> list[Any]:
    """What the people themselves see of their rows."""
    found: list[Any] = []
    with psycopg.connect(form.dsn, autocommit=True) as connection:
        connection.execute("SET ROLE mindstream_read")
        for user in PEOPLE:
            connection.execute("SELECT set_config('mindstream.user_id', %s, false)", (str(user),))
            found += connection.execute(
                "SELECT journal_entry_id, time, mood, mood_score, word_count FROM mood_events"
            ).fetchall()
    return sorted(found)


def sums(form: FormDatabase) -> dict[Day, Sums]:
    """What the people themselves see of their days; each once."""
    with projector(form) as connection:
        series.refresh(connection, VIEW, VIEW.table)
    found: dict[Day, Sums] = {}
    with psycopg.connect(form.dsn, autocommit=True) as connection:
        connection.execute("SET ROLE mindstream_read")
        for user in PEOPLE:
            connection.execute("SELECT set_config('mindstream.user_id', %s, false)", (str(user),))
            for day, owner, *rest in connection.execute(
                "SELECT day, user_id, entry_count, avg_mood_score, most_common_mood, total_words"
                " FROM mood_daily_summary"
            ).fetchall():
                key = (day.astimezone(UTC).date(), owner)
                assert key not in found
                found[key] = tuple(rest)  # type: ignore[assignment]
    return found


def weeks(form: FormDatabase) -> dict[Day, Week]:
    """What the people themselves see of their weeks; each once."""
    with projector(form) as connection:
        series.refresh(connection, BOTH[1], BOTH[1].table)
    found: dict[Day, Week] = {}
    with psycopg.connect(form.dsn, autocommit=True) as connection:
        connection.execute("SET ROLE mindstream_read")
        # Whoever may read for several people names all of them.
        everybody = ",".join(map(str, PEOPLE))
        connection.execute("SELECT set_config('mindstream.user_id', %s, false)", (everybody,))
        for week, owner, *rest in connection.execute(
            "SELECT week, user_id, login_count, entries_created, entries_updated, total_events"
            " FROM user_weekly_activity"
        ).fetchall():
            key = (week.astimezone(UTC).date(), owner)
            assert key not in found
            found[key] = tuple(rest)  # type: ignore[assignment]
    return found


def test_activity_is_counted_by_weeks_for_ever(form: FormDatabase) -> None:
    moods = Moods()
    moods.some(60, NOW - timedelta(days=230), NOW - timedelta(days=170))
    moods.some(20, NOW - timedelta(days=20), NOW)
    fold(form, moods)
    assert weeks(form) == moods.weeks()
    if form.form == "community":
        with projector(form) as connection:
            compress = "SELECT count(compress_chunk(c)) FROM show_chunks(%s, older_than => %s) c"
            old = NOW - timedelta(days=30)
            [count] = connection.execute(compress, (BOTH[1].table, old)).fetchone() or [0]
            assert count > 5

    assert retain(form, moods, NOW)
    assert weeks(form) == moods.weeks()
    with psycopg.connect(form.dsn) as connection:
        counted = connection.execute(
            "SELECT count(*), min(time) FROM accounts_activity_events"
        ).fetchone()
    assert counted is not None
    assert counted[0] < 50
    assert NOW - timedelta(days=199) < counted[1] < NOW - timedelta(days=180)

    moods.some(20, NOW, NOW + timedelta(days=30))
    moods.add(SubjectErased(user_id=PEOPLE[2]), NOW + timedelta(days=31))
    fold(form, moods)
    retain(form, moods, NOW + timedelta(days=31))
    assert weeks(form) == moods.weeks()


def dropped_before(form: FormDatabase) -> tuple[datetime, datetime]:
    with psycopg.connect(form.dsn) as connection:
        row = connection.execute(
            "SELECT summed_before, dropped_before FROM timeseries_horizons"
            " WHERE relation = 'journal_mood_events'::regclass"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def test_what_was_dropped_is_still_summed_up(form: FormDatabase) -> None:
    moods = Moods()
    old_and_new(moods, 160)
    fold(form, moods)
    assert shown(form) == moods.shown(BEGINNING)
    assert sums(form) == moods.sums()

    assert retain(form, moods, NOW)
    summed, dropped = dropped_before(form)
    assert NOW - YEAR - timedelta(days=15) < dropped <= summed <= NOW - YEAR + timedelta(days=1)
    assert shown(form) == moods.shown(dropped)
    assert len(moods.shown(dropped)) < len(moods.shown(BEGINNING))
    assert sums(form) == moods.sums()


def test_what_is_revised_after_it_was_dropped_changes_nothing(form: FormDatabase) -> None:
    moods = Moods()
    old = moods.write(NOW - 2 * YEAR, user=PEOPLE[0], mood="happy")
    old_and_new(moods, 60)
    fold(form, moods)
    retain(form, moods, NOW)
    before = moods.sums()

    for event in (
        EntryRevised(entry_id=old, user_id=PEOPLE[0], mood="sad"),
        EntryDeleted(entry_id=old, user_id=PEOPLE[0], date=NOW.date()),
    ):
        moods.add(event, NOW)
    new = moods.write(NOW, user=PEOPLE[0], mood="angry")
    fold(form, moods)

    summed, dropped = dropped_before(form)
    frozen = {day: one for day, one in before.items() if day[0] < summed.date()}
    alive = {day: one for day, one in moods.sums().items() if day[0] >= summed.date()}
    assert sums(form) == frozen | alive
    assert shown(form) == moods.shown(dropped)
    assert new in {row[0] for row in shown(form)}


def test_nothing_is_dropped_that_was_not_folded(form: FormDatabase) -> None:
    moods = Moods()
    old_and_new(moods, 30)
    fold(form, moods)
    moods.write(NOW - YEAR - timedelta(days=30), mood="sad")
    moods.write(NOW, mood="sad")

    assert not retain(form, moods, NOW)
    fold(form, moods)
    assert shown(form) == moods.shown(BEGINNING)
    assert retain(form, moods, NOW)
    assert sums(form) == moods.sums()


def test_the_erased_are_in_no_sum(form: FormDatabase) -> None:
    moods = Moods()
    old_and_new(moods, 80)
    fold(form, moods)
    retain(form, moods, NOW)
    assert any(user == PEOPLE[1] for _, user in sums(form))

    moods.add(SubjectErased(user_id=PEOPLE[1]), NOW)
    fold(form, moods)

    assert sums(form) == moods.sums()
    assert {user for _, user in moods.sums()} == {PEOPLE[0], PEOPLE[2]}
    with psycopg.connect(form.dsn) as connection:
        for table in ("journal_mood_events_rolled", "journal_mood_events_summary"):
            row = connection.execute(
                SQL("SELECT count(*) FROM {} WHERE user_id = %s").format(Identifier(table)),
                (PEOPLE[1],),
            ).fetchone()
            assert row == (0,), table


def test_a_new_generation_takes_the_place_of_the_old_one_with_all_that_goes_with_it(
    form: FormDatabase,
) -> None:
    moods = Moods()
    old_and_new(moods, 120)
    fold(form, moods)
    retain(form, moods, NOW)
    for entry in list(moods.rows)[:20]:
        row = moods.rows[entry]
        moods.add(EntryRevised(entry_id=entry, user_id=row["user"], mood="ecstatic"), NOW)
    fold(form, moods)
    _, dropped = dropped_before(form)

    with projector(form) as connection:
        for view in BOTH:
            made = generations.begin(connection, view, 2, 1)
            mine = [one for one in moods.events if type(one.event) in view.takes]
            with connection.transaction():
                writer = writer_of(form, connection, view, made.table)
                for start in range(0, len(mine), 50):
                    writer.apply(mine[start : start + 50])
            connection.execute("SELECT index_mirror(%s, %s)", (view.table, made.table))
            series.trim_as_live(connection, view, made.table)
            with connection.transaction():
                live = generations.live(connection, view.name)
                generations.serve(connection, live, view, made, len(moods.events))

    # Built from all events, it sums up what the old one could not take in any more.
    assert shown(form) == moods.shown(dropped)
    assert sums(form) == moods.sums()
    moods.write(NOW, mood="sad")
    fold(form, moods)
    assert shown(form) == moods.shown(dropped)
    assert sums(form) == moods.sums()
    assert retain(form, moods, NOW + timedelta(days=40))
    assert sums(form) == moods.sums()
    with projector(form) as connection:
        [kept] = generations.load(connection, VIEW.name)
        generations.drop(connection, VIEW, kept)
    assert sums(form) == moods.sums()


def test_strangers_see_nothing_of_it(form: FormDatabase) -> None:
    moods = Moods()
    old_and_new(moods, 30)
    fold(form, moods)
    retain(form, moods, NOW)
    with psycopg.connect(form.dsn, autocommit=True) as connection:
        # The owner sees all, as in any table.
        rows = connection.execute("SELECT DISTINCT user_id FROM mood_daily_summary").fetchall()
        assert {user for (user,) in rows} == set(PEOPLE)
        connection.execute("SET ROLE mindstream_read")
        for user in ("", "00000000-0000-0000-0000-0000000000ff"):
            connection.execute("SELECT set_config('mindstream.user_id', %s, false)", (user,))
            for view in ("mood_events", "mood_daily_summary"):
                assert connection.execute(f"SELECT FROM {view}").fetchall() == []
        for table in ("journal_mood_events_rolled", "journal_mood_events_summary"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT FROM {table}")


def test_a_rebuild_and_a_verification_know_what_was_dropped(form: FormDatabase) -> None:
    if form.single:
        pytest.skip("its server takes one connection at a time")
    moods = Moods()
    old_and_new(moods, 120)
    fold(form, moods)
    retain(form, moods, NOW)
    _, dropped = dropped_before(form)

    def sources() -> KnownEvents:
        return moods.source

    assert verify(form.dsn, sources, VIEW).equal
    report = rebuild(form.dsn, sources, VIEW, options=Options(partitions=1))
    assert report.equal
    assert report.swapped
    assert shown(form) == moods.shown(dropped)
    assert sums(form) == moods.sums()

    moods.write(NOW, mood="sad")
    fold(form, moods)
    with projector(form) as connection:
        streams = [one.stream_id for one in moods.events]
        hashes = "SELECT s, abs(hashtextextended(s, 0)) FROM unnest(%s::text[]) s"
        moods.hashes.update(connection.execute(hashes, (streams,)).fetchall())
    assert rollback(form.dsn, sources, VIEW).swapped
    assert shown(form) == moods.shown(dropped)
    assert sums(form) == moods.sums()
    assert verify(form.dsn, sources, VIEW).equal


def test_every_series_is_one_in_chunks_of_its_own(form: FormDatabase) -> None:
    with projector(form) as connection:
        found = connection.execute(
            "SELECT name, timeseries_is_series(name), every, keeps FROM timeseries ORDER BY name"
        ).fetchall()
        assert [(name, is_one) for name, is_one, _, _ in found] == [
            ("accounts_activity_events", True),
            ("journal_insights", True),
            ("journal_mood_events", True),
        ]
        assert {view.table for view in VIEWS if series.is_series(view)} == {
            name for name, *_ in found
        }
        if form.form == "community":
            jobs = connection.execute(
                "SELECT hypertable_name, proc_name FROM timescaledb_information.jobs"
                " WHERE hypertable_name IS NOT NULL ORDER BY 1, 2"
            ).fetchall()
            assert jobs == [
                ("accounts_activity_events", "policy_compression"),
                ("accounts_activity_events", "policy_retention"),
                ("accounts_activity_events_summary", "policy_refresh_continuous_aggregate"),
                ("journal_mood_events", "policy_retention"),
                ("journal_mood_events_summary", "policy_refresh_continuous_aggregate"),
            ]
