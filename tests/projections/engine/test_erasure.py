"""The rows of somebody who is erased go from every generation, and nothing stumbles over it."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from domain.accounts.events import SubjectErased
from domain.event import Event
from projections.engine import erasure, quarantine
from projections.engine.rebuild import Options, rebuild, rollback, verify
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter
from tests.projections.engine.conftest import Diary
from tests.support.diary_of_notes import USER
from tests.support.diary_view import Note, NoteRevised, Notes, NoteWritten

OTHER = UUID(int=8)


def written(user: UUID, count: int = 1) -> list[Event]:
    return [NoteWritten(note_id=uuid7(), user_id=user, body="x") for _ in range(count)]


def revised(event: Event, user: UUID, body: str = "again") -> NoteRevised:
    return NoteRevised(note_id=event.note_id, user_id=user, body=body)  # type: ignore[attr-defined]


def mark(diary: Diary, user: UUID) -> None:
    """Say that the person's key was destroyed, as an erasure does first."""
    with psycopg.connect(diary.database.write_dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO subject_keys (subject_id, erased_at) VALUES (%s, now())", (user,)
        )


@pytest.mark.parametrize("page", [3, 1000])
def test_rows_go_wherever_the_pages_end(diary: Diary, page: int) -> None:
    diary.append(*written(USER, 5), *written(OTHER, 5))
    diary.erase(USER)
    diary.append(*written(OTHER, 5))
    diary.runner(page=page).catch_up()
    assert diary.rows() == diary.model
    assert {row.user_id for row in diary.model.values()} == {OTHER}
    assert verify(diary.database.write_dsn, diary.sources, Notes()).equal


def test_projectors_that_share_a_view_delete_all_of_the_rows(diary: Diary) -> None:
    diary.append(*written(USER, 30), *written(OTHER, 30))
    runners = [diary.runner(), diary.runner()]
    for _ in range(20):
        for runner in runners:
            runner.look()
            runner.step()
    assert len(set(diary.owners().values())) >= 1
    diary.append(*written(USER, 30))
    diary.erase(USER)
    for _ in range(20):
        for runner in runners:
            runner.step()
    assert diary.rows() == diary.model


def test_a_rebuild_a_repair_and_a_rollback_bring_nobody_back(diary: Diary) -> None:
    mine = written(USER, 3)
    diary.append(*mine, *written(OTHER, 3))
    runner = diary.runner()
    runner.catch_up()
    dsn, view = diary.database.write_dsn, Notes()
    rebuild(dsn, diary.sources, view)
    diary.append(revised(mine[0], USER))
    mark(diary, USER)
    diary.erase(USER)
    runner.catch_up()
    with psycopg.connect(dsn, autocommit=True, options="-c role=mindstream_project") as asked:
        [live, kept] = erasure.tables_of(asked, [view])
        assert (live.live, kept.live) == (True, False)
        assert erasure.rows_of(asked, [view], USER) == {live.name: 0, kept.name: 3}
        head = diary.source().head()
        assert erasure.not_passed(asked, [view], head) == []
        assert erasure.purge(asked, [view], USER, head) == {kept.name: 3}
    # The kept generation comes to the revision of a row that it has no more.
    assert rollback(dsn, diary.sources, view).swapped
    runner.catch_up()
    assert diary.rows() == diary.model
    assert rebuild(dsn, diary.sources, view, options=Options()).equal
    assert diary.rows() == diary.model


def test_what_comes_of_erased_people_where_rows_are_gone_is_no_poison(diary: Diary) -> None:
    mine, theirs = written(USER, 2), written(OTHER)
    diary.append(*mine, *theirs)
    runner = diary.runner(page=2)
    runner.catch_up()
    mark(diary, USER)
    with psycopg.connect(
        diary.database.write_dsn, autocommit=True, options="-c role=mindstream_project"
    ) as asked:
        # As if the view were paused: it has not come to the erasure.
        behind = diary.source().head() + 1
        assert erasure.not_passed(asked, [Notes()], behind) == ["engine.notes"]
        asked.execute("UPDATE projection_checkpoints SET paused = true")
        assert erasure.not_passed(asked, [Notes()], behind) == []
        assert erasure.purge(asked, [Notes()], USER, behind) == {"engine_notes": 2}
        diary.append_late(revised(mine[0], USER), revised(mine[0], USER), revised(mine[1], USER))
        diary.append(revised(theirs[0], OTHER))
        diary.erase(USER)
        asked.execute("UPDATE projection_checkpoints SET paused = false")
        runner.look()
        runner.catch_up()
        assert diary.rows() == diary.model
        assert asked.execute("SELECT count(*) FROM projection_quarantine").fetchone() == (0,)


def test_what_waits_in_quarantine_of_erased_people_is_let_go(diary: Diary) -> None:
    mine, theirs = written(USER), written(OTHER)
    diary.append(*mine, *theirs)
    diary.append(revised(mine[0], USER, "poison"), revised(theirs[0], OTHER, "poison"))
    runner = diary.runner()
    runner.catch_up()
    with psycopg.connect(
        diary.database.write_dsn, autocommit=True, options="-c role=mindstream_project"
    ) as asked:
        assert len(quarantine.found(asked)) == 2
        assert erasure.release(asked, asked, USER) == 1
        states = {each.stream_id: each.state for each in quarantine.found(asked)}
    assert sorted(states.values()) in (["parked", "released"], ["released", "retrying"])
    runner.look()
    diary.erase(USER)
    runner.catch_up()
    assert set(diary.rows()) == {theirs[0].note_id}  # type: ignore[attr-defined]


def test_a_view_has_to_say_whose_its_rows_are(diary: Diary) -> None:
    class Nobodys(Notes):
        erases = "owner_id"

    with (
        psycopg.connect(diary.database.write_dsn) as connection,
        pytest.raises(LookupError, match="whose"),
    ):
        ViewWriter(Nobodys(), connection, "engine_notes")


def test_every_view_takes_erasures_unless_it_is_about_nobody() -> None:
    class Public(RowView[Note]):
        name = "engine.public"
        takes = (NoteWritten,)
        erases = None

    assert SubjectErased in Notes.takes
    assert SubjectErased not in Public.takes
