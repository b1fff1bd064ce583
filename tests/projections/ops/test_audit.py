"""The audit log has a row for each event, and tells what it changed."""

from __future__ import annotations

import datetime
from typing import Any

import psycopg
import pytest
from uuid_utils.compat import uuid7

import bootstrap.views
from adapters.event_store.metadata import SourceWithMetadata
from adapters.event_store.store import PostgresEventStore
from adapters.event_store.subject_keys import SubjectKeys
from adapters.postgres.pipeline import Pipeline
from adapters.sealing import Sealer
from bootstrap.engine import DirectEngine
from commands.ports import Append, Context
from domain.event import Event, Metadata, Recorded, type_of
from domain.journal.entry import Draft, Entry, stream_of
from domain.journal.events import EntryDeleted, EntryRestored, EntryRevised
from domain.ops.events import ActionTaken
from projections.engine.rebuild import Differences, Options
from projections.engine.runner import Runner
from projections.ops.audit import HIDDEN, Audit, AuditRow, Told, category_of, changes, cutoff
from tests.support.servers import Database

ENTRY, USER = uuid7(), uuid7()
NOW = datetime.datetime.now(datetime.UTC)
DRAFT = Draft(date=datetime.date(2026, 3, 1), title="t", content="a b", mood="happy")


def recorded(event: Event, position: int = 1, at: datetime.datetime = NOW) -> Recorded:
    return Recorded(
        position=position,
        stream_id=stream_of(ENTRY),
        stream_version=position,
        tenant_id=USER,
        recorded_at=at,
        event=event,
        metadata=Metadata(event_id=uuid7(), correlation_id="req_1234567", actor=f"user:{USER}"),
    )


def folded(event: Event, **about: Any) -> AuditRow | None:
    happened = recorded(event, **about)
    [key] = Audit().keys_of(happened)
    assert Audit().creates(happened)
    return Audit().fold(key, None, happened)


def test_a_row_says_who_did_what_in_which_request() -> None:
    row = folded(Entry.write(ENTRY, USER, DRAFT), position=7)
    assert row is not None
    assert (row.position, row.actor, row.request_id) == (7, f"user:{USER}", "req_1234567")
    assert (row.action, row.target) == ("journal.EntryWritten", stream_of(ENTRY))
    assert row.category == "user_data"


def test_an_operators_action_is_told_by_its_own_name() -> None:
    action = ActionTaken(user_id=USER, action="projection.rebuild", target="journal.entries")
    row = folded(action)
    assert row is not None
    assert (row.action, row.target) == ("projection.rebuild", "journal.entries")
    assert row.category == "system_event"


def test_every_event_has_a_category_and_is_taken() -> None:
    assert set(bootstrap.views.AUDIT.takes) == set(type_of.values())
    assert category_of("accounts.LoggedIn.v1") == "security_event"
    assert category_of("accounts.ProfileRevised.v1") == "user_data"
    assert {category_of(topic) for topic in type_of} <= {
        "user_data", "security_event", "system_event",
    }  # fmt: skip


def test_what_is_older_than_the_retention_is_left_out() -> None:
    event = Entry.write(ENTRY, USER, DRAFT)
    first_kept = cutoff(2557)
    assert folded(event, at=first_kept) is not None
    assert folded(event, at=first_kept - datetime.timedelta(microseconds=1)) is None


def test_an_event_without_metadata_is_a_fault_and_not_a_row() -> None:
    nameless = Recorded(
        position=1,
        stream_id="s",
        stream_version=1,
        tenant_id=USER,
        recorded_at=NOW,
        event=Entry.write(ENTRY, USER, DRAFT),
    )
    with pytest.raises(ValueError, match="without its metadata"):
        Audit().fold((1,), None, nameless)


def told(*events: dict[str, Any], personal: str = "title") -> list[Told]:
    return [
        Told(version, "journal.EntryRevised.v1", fields, frozenset([personal]))
        for version, fields in enumerate(events, 1)
    ]


def test_changes_are_the_fields_that_changed_before_and_after() -> None:
    stream = told(
        {"title": "old", "mood": "sad", "id": 1}, {"title": "new", "id": 1}, {"mood": None}
    )
    assert changes(stream, personal=True) == [
        (None, {"title": "old", "mood": "sad", "id": 1}),
        ({"title": "old"}, {"title": "new"}),
        ({"mood": "sad"}, {"mood": None}),
    ]


def test_changes_hide_what_is_personal_but_say_that_it_changed() -> None:
    stream = told({"title": "old", "mood": "sad"}, {"title": "new", "mood": "happy"})
    assert changes(stream, personal=False) == [
        (None, {"title": HIDDEN, "mood": "sad"}),
        ({"title": HIDDEN, "mood": "sad"}, {"title": HIDDEN, "mood": "happy"}),
    ]


def test_changes_of_an_open_object_are_of_its_keys() -> None:
    stream = told({"switches": {"a": True, "b": True}}, {"switches": {"b": False, "c": True}})
    assert changes(stream, personal=True)[1] == (
        {"switches": {"b": True, "c": None}},
        {"switches": {"b": False, "c": True}},
    )


def test_a_state_that_an_event_stands_for_is_a_change() -> None:
    stream = [
        Told(1, "journal.EntryWritten.v1", {"date": "2026-03-01"}, frozenset()),
        Told(2, "journal.EntryDeleted.v1", {"date": "2026-03-01"}, frozenset()),
    ]
    assert changes(stream, personal=True)[1] == ({"state": "active"}, {"state": "deleted"})


@pytest.mark.anyio
async def test_the_live_log_is_what_a_rebuild_makes(empty_database: Database) -> None:
    database = empty_database
    reads = Pipeline(database.write_dsn, role="mindstream_write")
    writes = Pipeline(database.write_dsn, role="mindstream_write")
    await reads.open()
    await writes.open()
    keys = SubjectKeys(Sealer(bytes(32)))
    store = PostgresEventStore(reads, writes, Sealer(bytes(32)), lambda _: None, keys)
    day = DRAFT.date
    for number in range(20):
        entry_id = uuid7()
        context = Context(
            user_id=USER, tenant_id=USER, actor=f"user:{USER}", now=NOW,
            correlation_id=f"req_{number:08}",
        )  # fmt: skip
        stream = stream_of(entry_id)
        events = (
            Entry.write(entry_id, USER, DRAFT),
            EntryRevised(entry_id=entry_id, user_id=USER, title="another"),
            EntryDeleted(entry_id=entry_id, user_id=USER, date=day),
            EntryRestored(entry_id=entry_id, user_id=USER, date=day),
        )
        await store.append(context, Append(stream, 0, events))
    await reads.close()
    await writes.close()

    source = SourceWithMetadata(database.project_dsn, keys=keys)
    runner = Runner(database.project_dsn, source, [Audit()])
    runner.catch_up()
    rows = "SELECT * FROM ops_audit ORDER BY position"
    with psycopg.connect(database.owner_dsn) as connection:
        live = connection.execute(rows).fetchall()
    assert len(live) == 80
    engine = DirectEngine(database.project_dsn, keys)
    found = engine.verify("ops.audit", lambda _: "go")
    assert (found.equal, found.rows_live) == (True, 80)
    report = engine.rebuild("ops.audit", Options(), uuid7(), lambda _: "go")
    assert (report.equal, report.swapped) == (True, True)
    runner.catch_up()
    runner.close()
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        assert connection.execute(rows).fetchall() == live
        # Emptied and filled since: what it lacks is brought back, and nothing is there to be lost.
        connection.execute("DELETE FROM ops_audit WHERE position <= 70")
        assert engine.rebuild("ops.audit", Options(), uuid7(), lambda _: "go").swapped
        assert connection.execute(rows).fetchall() == live
        # But a row that is missing in the middle, or another, is a difference.
        for damage in (
            "DELETE FROM ops_audit WHERE position = 40",
            "UPDATE ops_audit SET actor = 'user:somebody' WHERE position = 79",
        ):
            connection.execute(damage)
            with pytest.raises(Differences):
                engine.rebuild("ops.audit", Options(), uuid7(), lambda _: "go")
            accept = Options(accept_differences=True)
            engine.rebuild("ops.audit", accept, uuid7(), lambda _: "go")
            assert connection.execute(rows).fetchall() == live


def test_a_sweep_drops_old_rows_of_every_generation(empty_database: Database) -> None:
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE ops_audit")
        connection.execute("SELECT mirror_table('ops_audit', 'ops_audit__g9')")
        connection.execute("ALTER TABLE ops_audit__g9 OWNER TO mindstream_project")
        for table in ("ops_audit", "ops_audit__g9"):
            for position, days in ((1, 400), (2, 10)):
                connection.execute(
                    f"INSERT INTO {table} VALUES (%s, gen_random_uuid(), gen_random_uuid(),"
                    " now() - %s * interval '1 day', 'a', 'b', 'c', 'user_data', 'r')",
                    (position, days),
                )
    with psycopg.connect(empty_database.write_dsn) as connection:
        row = connection.execute("SELECT ops_trim_audit(%s)", (cutoff(100),)).fetchone()
        assert row == (2,)
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        for table in ("ops_audit", "ops_audit__g9"):
            left = connection.execute(f"SELECT position FROM {table}").fetchall()
            assert left == [(2,)]
        connection.execute("DROP TABLE ops_audit__g9")
