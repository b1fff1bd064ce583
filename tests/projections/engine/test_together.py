"""Several views from one reading of the events: each with an end of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters.event_store.source import PostgresSource
from domain.event import Recorded
from projections.engine import building, folding, growing, mending, quarantine
from projections.engine.rebuild import (
    AlreadyRebuilding,
    Cancelled,
    Differences,
    Heed,
    Options,
    PoisonMet,
    Progress,
    Report,
    Signal,
    Wish,
    rebuild,
    rebuild_together,
)
from projections.engine.runner import Runner
from tests.support.diary_of_notes import Diary
from tests.support.diary_view import Note, NoteRevised, Notes
from tests.support.waiting import eventually

WORDS = """
CREATE TABLE engine_words (
    note_id uuid PRIMARY KEY, user_id uuid NOT NULL, body text NOT NULL, revisions integer NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX engine_words_user ON engine_words (user_id, body);
ALTER TABLE engine_words OWNER TO mindstream_project;
"""


class Words(Notes):
    """The same rows in another table, which has an index that only reading needs."""

    name = "engine.words"
    table = "engine_words"


class BadWords(Words):
    """Cannot fold some bodies."""

    def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
        if getattr(recorded.event, "body", "").startswith("bad"):
            raise ValueError("bad")
        return super().fold(key, row, recorded)


class Reading(PostgresSource):
    """Counts the events that it gives."""

    given = 0

    def page(self, *args: Any, **more: Any) -> Any:
        found = super().page(*args, **more)
        Reading.given += len(found)
        return found


@pytest.fixture(autouse=True)
def _words(diary: Diary) -> Iterator[None]:
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        connection.execute(WORDS)
        yield
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE tablename LIKE 'engine\\_words%'"
            " OR tablename LIKE 'engine\\_notes\\_\\_%'"
        ).fetchall()
        for (table,) in rows:
            connection.execute(f"DROP TABLE {table}")


def caught_up(diary: Diary, *views: Notes) -> None:
    runner = Runner(diary.database.write_dsn, diary.source(), views or (Notes(), Words()))
    runner.catch_up()
    runner.close()


def sql(diary: Diary, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(diary.database.owner_dsn, autocommit=True) as connection:
        found = connection.execute(statement)
        return found.fetchall() if found.description else []


def words(diary: Diary) -> dict[UUID, Note]:
    return {
        row[0]: Note(*row)
        for row in sql(diary, "SELECT note_id, user_id, body, revisions FROM engine_words")
    }


class Ends:
    """What became of each wish."""

    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.of: dict[str, Any] = {}

    def wish(self, view: Notes, heed: Heed = lambda _: "go", **options: Any) -> Wish:
        def ended(outcome: Report | BaseException) -> None:
            assert view.name not in self.of, "told twice"
            self.of[view.name] = outcome

        return Wish(view, Options(**options), None, heed, ended)

    def rebuild(self, *wishes: Wish, sources: Callable[[], Any] | None = None) -> None:
        dsn = self.diary.database.write_dsn
        rebuild_together(dsn, lambda view: sources or self.diary.sources, wishes)


@pytest.fixture
def ends(diary: Diary) -> Ends:
    return Ends(diary)


@pytest.mark.parametrize("parts", [1, 2])
def test_two_views_are_grown_from_one_reading(
    diary: Diary, ends: Ends, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "PAGE", 25)
    diary.some(200)
    caught_up(diary)
    Reading.given = 0
    ends.rebuild(
        ends.wish(Notes(), partitions=parts),
        ends.wish(Words(), partitions=parts),
        sources=lambda: Reading(diary.database.write_dsn),
    )
    assert Reading.given == 200
    for name in ("engine.notes", "engine.words"):
        report = ends.of[name]
        assert (report.equal, report.swapped, report.events) == (True, True, 200)
    assert diary.rows() == words(diary) == diary.model


def test_parts_in_processes_grow_both(
    diary: Diary, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "WORTH_PARTS", 10)
    diary.some(300)
    caught_up(diary)
    ends.rebuild(ends.wish(Notes(), partitions=2), ends.wish(Words(), partitions=2))
    assert {each.swapped for each in ends.of.values()} == {True}
    assert diary.rows() == words(diary) == diary.model


def test_one_that_fails_stops_no_other(diary: Diary, ends: Ends) -> None:
    diary.some(60)
    caught_up(diary)
    sql(diary, "UPDATE engine_words SET body = 'x'")
    ends.rebuild(ends.wish(Notes()), ends.wish(Words()))
    assert isinstance(ends.of["engine.words"], Differences)
    assert ends.of["engine.notes"].swapped
    assert sql(diary, "SELECT DISTINCT body FROM engine_words") == [("x",)]


def test_poison_in_one_stops_no_other(diary: Diary, ends: Ends) -> None:
    diary.some(30)
    note = next(iter(diary.model))
    diary.append(NoteRevised(note_id=note, body="bad"))
    caught_up(diary)
    ends.rebuild(ends.wish(Notes()), ends.wish(BadWords()))
    assert [item["position"] for item in ends.of["engine.words"].items] == [31]
    assert ends.of["engine.notes"].swapped


def test_a_view_that_can_fold_nothing_says_so_and_stops_no_other(
    diary: Diary, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "MOST", 3)
    diary.some(60)
    for note in list(diary.model)[:6]:
        diary.append(NoteRevised(note_id=note, body="bad"))
    caught_up(diary)
    ends.rebuild(ends.wish(Notes()), ends.wish(BadWords()))
    assert isinstance(ends.of["engine.words"], PoisonMet)
    assert len(ends.of["engine.words"].items) == 4
    assert ends.of["engine.notes"].swapped
    assert sql(diary, "SELECT count(*) FROM projection_quarantine") == [(0,)], (
        "the shadow's is gone"
    )


def test_one_is_cancelled_and_the_other_goes_on(diary: Diary, ends: Ends) -> None:
    diary.some(60)
    caught_up(diary)
    ends.rebuild(ends.wish(Notes(), lambda _: "cancel"), ends.wish(Words()))
    assert isinstance(ends.of["engine.notes"], Cancelled)
    assert ends.of["engine.words"].swapped
    tables = sql(diary, "SELECT tablename FROM pg_tables WHERE tablename LIKE 'engine\\_notes\\_%'")
    assert tables == []


def test_one_that_is_paused_holds_up_no_other(diary: Diary, ends: Ends) -> None:
    diary.some(60)
    caught_up(diary)
    go_on = threading.Event()

    def paused(progress: Progress) -> Signal:
        return "go" if go_on.is_set() else "pause"

    working = threading.Thread(
        target=ends.rebuild, args=(ends.wish(Notes(), paused), ends.wish(Words()))
    )
    working.start()
    eventually(lambda: "engine.words" in ends.of)
    assert ends.of["engine.words"].swapped
    assert "engine.notes" not in ends.of
    go_on.set()
    working.join(20)
    assert ends.of["engine.notes"].swapped


def test_one_that_is_under_way_elsewhere_is_refused_alone(diary: Diary, ends: Ends) -> None:
    diary.some(20)
    caught_up(diary)
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
    ends.rebuild(ends.wish(Notes()), ends.wish(Words()))
    go_on.set()
    first.join()
    assert isinstance(ends.of["engine.notes"], AlreadyRebuilding)
    assert ends.of["engine.words"].swapped


def test_after_a_crash_they_go_on_and_meet_where_they_stand(
    diary: Diary, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "PAGE", 10)
    monkeypatch.setattr(growing, "HEED_EVERY", 0.0)
    diary.some(100)
    caught_up(diary)

    def crashing(after: int) -> Heed:
        def crash(progress: Progress) -> Signal:
            if progress.events_done >= after:
                raise OSError("the machine is switched off")
            return "go"

        return crash

    ends.rebuild(ends.wish(Notes(), crashing(50)), ends.wish(Words(), crashing(20)))
    assert {type(each) for each in ends.of.values()} == {OSError}
    ends.of.clear()
    Reading.given = 0
    wishes = (ends.wish(Notes()), ends.wish(Words()))
    ends.rebuild(*wishes, sources=lambda: Reading(diary.database.write_dsn))
    assert Reading.given <= 80
    assert [ends.of[name].events for name in sorted(ends.of)] == [100, 100]
    assert diary.rows() == words(diary) == diary.model


def test_the_swapped_table_has_the_live_ones_indexes_and_storage(diary: Diary, ends: Ends) -> None:
    diary.some(40)
    caught_up(diary)
    described = (
        "SELECT reloptions, (SELECT array_agg(split_part(indexdef, ' USING ', 2) ORDER BY indexdef)"
        " FROM pg_indexes WHERE tablename = relname) FROM pg_class WHERE relname = 'engine_words'"
    )
    before = sql(diary, described)
    for _ in range(2):
        rebuild(diary.database.write_dsn, diary.sources, Words())
        assert sql(diary, described) == before
    assert before[0][0] == ["fillfactor=70"]
    assert len(before[0][1]) == 2


def test_what_is_to_wait_in_quarantine_is_forgotten_with_the_shadow(
    diary: Diary, ends: Ends
) -> None:
    diary.some(10)
    diary.append(NoteRevised(note_id=next(iter(diary.model)), body="bad"))
    caught_up(diary)
    with pytest.raises(PoisonMet):
        rebuild(diary.database.write_dsn, diary.sources, BadWords())
    with psycopg.connect(diary.database.owner_dsn) as connection:
        assert quarantine.open_items(connection, "engine.words@g2") == []


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_of_the_last_seconds_without_the_start_and_without_rests() -> None:
    clock = Clock()
    pace = building.Pace(0, clock)
    clock.now += 30  # processes start
    assert pace.at(0) == 0
    pace.at(1_000)
    clock.now += 1
    assert pace.at(2_000) == 1_000
    pace.rest(True)
    clock.now += 500
    pace.rest(False)
    clock.now += 1
    assert pace.at(3_000) == 1_000
    for _ in range(100):  # it has become slower
        clock.now += 1
        speed = pace.at(pace._seen[-1][1] + 100)
    assert speed == 100


def test_progress_counts_what_comes_after_the_folding() -> None:
    half = Progress(500, 1_000, 100.0, 10.0, finishing_seconds=5.0)
    assert half.fraction == pytest.approx(5 / 15)
    folded = Progress(1_000, 1_000, 100.0, 5.0, finishing_seconds=5.0)
    assert folded.fraction == pytest.approx(10 / 15)
    overdue = Progress(1_000, 1_000, 100.0, 0.0, finishing_seconds=5.0, finished_seconds=50.0)
    assert folded.fraction < overdue.fraction < 1
