"""The engine against a model that is a plain fold: appends, crashes, poison, repairs, rebuilds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from uuid_utils.compat import uuid7

from domain.event import Event, Recorded
from projections.engine import quarantine
from projections.engine.rebuild import (
    NothingKept,
    Options,
    PoisonMet,
    rebuild,
    rollback,
    verify,
)
from projections.engine.runner import Runner
from tests.support.diary_of_notes import USER, Diary
from tests.support.diary_view import DDL, Note, NoteRevised, Notes, NoteTornUp, NoteWritten
from tests.support.servers import Database


class Breakable(Notes):
    """Refuses the word "bad" while it is broken."""

    broken: ClassVar[bool] = False

    def fold(self, key: Any, row: Note | None, recorded: Recorded) -> Note | None:
        if self.broken and getattr(recorded.event, "body", None) == "bad":
            raise ValueError("bad")
        if row is None and not isinstance(recorded.event, NoteWritten):
            return None  # its beginning was discarded
        return super().fold(key, row, recorded)


class EngineMachine(RuleBasedStateMachine):
    """Every rule may follow every other; in the end everything is mended and must agree."""

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[UUID] = []
        self.history: list[tuple[Event, int]] = []

    @initialize()
    def begin(self) -> None:
        Breakable.broken = False
        with psycopg.connect(self.database.owner_dsn, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE tablename LIKE 'engine\\_notes%'"
            ).fetchall()
            for (table,) in tables:
                connection.execute(f"DROP TABLE {table}")
            connection.execute(DDL)
            connection.execute("TRUNCATE events, projection_checkpoints, projection_quarantine")
            connection.execute("TRUNCATE projection_generations CASCADE")
        self.diary = Diary(self.database)
        self.asked: psycopg.Connection[Any] = psycopg.connect(
            self.database.write_dsn, autocommit=True, options="-c role=mindstream_project"
        )
        self.runner = self._fresh()

    @rule(bodies=st.lists(st.sampled_from(["a", "b", "bad"]), min_size=1, max_size=4))
    def write(self, bodies: list[str]) -> None:
        note = uuid7()
        self.notes.append(note)
        events: list[Event] = [NoteWritten(note_id=note, user_id=USER, body=bodies[0])]
        events += [NoteRevised(note_id=note, body=body) for body in bodies[1:]]
        self._append(events)

    @rule(which=st.integers(0, 100), body=st.sampled_from(["c", "bad"]))
    def revise(self, which: int, body: str) -> None:
        if self.notes:
            self._append([NoteRevised(note_id=self.notes[which % len(self.notes)], body=body)])

    @rule(which=st.integers(0, 100))
    def tear_up(self, which: int) -> None:
        if self.notes:
            note = self.notes.pop(which % len(self.notes))
            self._append([NoteTornUp(note_id=note)])

    @rule(broken=st.booleans())
    def break_or_fix(self, broken: bool) -> None:
        Breakable.broken = broken

    @rule(times=st.integers(1, 3))
    def step(self, times: int) -> None:
        for _ in range(times):
            self.runner.step()

    @rule()
    def crash(self) -> None:
        with psycopg.connect(self.database.owner_dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'mindstream-projector%'"
                " AND datname = current_database()"
            )
        self.runner.close()
        self.runner = self._fresh()

    @rule()
    def retry(self) -> None:
        quarantine.retry(self.asked)

    @rule()
    def discard(self) -> None:
        quarantine.discard(self.asked, "a model does so too")

    @rule()
    def rebuild(self) -> None:
        options = Options(accept_differences=True)
        try:
            rebuild(self.database.write_dsn, self.diary.sources, Breakable(), options=options)
        except PoisonMet:
            assert Breakable.broken

    @rule()
    def roll_back(self) -> None:
        try:
            rollback(self.database.write_dsn, self.diary.sources, Breakable())
        except (NothingKept, PoisonMet):
            return

    @invariant()
    def nothing_is_ahead(self) -> None:
        if hasattr(self, "asked"):
            [(position,)] = self.asked.execute(
                "SELECT coalesce(max(position), 0) FROM projection_checkpoints"
            ).fetchall()
            assert position <= len(self.history)

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            Breakable.broken = False
            quarantine.retry(self.asked)
            for _ in range(50):
                self.runner.look()
                if not self.runner.step() and not self._open():
                    break
            assert self.diary.rows() == self._model()
            found = verify(self.database.write_dsn, self.diary.sources, Breakable())
            assert found.equal, found.differences
        finally:
            self.asked.close()
            for opened in self.diary.opened:
                opened.close()
            self.diary.pool.close()

    def _open(self) -> int:
        [(count,)] = self.asked.execute(
            "SELECT count(*) FROM projection_quarantine WHERE NOT settled"
        ).fetchall()
        return int(count)

    def _fresh(self) -> Runner:
        runner = self.diary.runner(Breakable())
        runner.step()
        return runner

    def _append(self, events: list[Event]) -> None:
        self.diary._store(events)
        for event in events:
            self.history.append((event, len(self.history) + 1))

    def _model(self) -> dict[UUID, Note]:
        left_out = quarantine.discarded(self.asked, "engine.notes")
        rows: dict[UUID, Note] = {}
        for event, position in self.history:
            if position in left_out:
                continue
            note: UUID = event.note_id  # type: ignore[attr-defined]
            match event:
                case NoteWritten(body=body):
                    rows[note] = Note(note, USER, body, 0)
                case NoteRevised(body=body) if note in rows:
                    rows[note] = Note(note, USER, body, rows[note].revisions + 1)
                case NoteTornUp():
                    rows.pop(note, None)
        return rows


@pytest.fixture
def machine(empty_database: Database) -> Iterator[type[EngineMachine]]:
    EngineMachine.database = empty_database
    yield EngineMachine
    Breakable.broken = False


@pytest.mark.timeout(300)
def test_the_engine_equals_a_plain_fold(
    machine: type[EngineMachine], request: pytest.FixtureRequest
) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100 if request.config.getoption("--long") else 15,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],  # each example works on a real database
            suppress_health_check=list(HealthCheck),
        ),
    )
