"""Analysts' own SQL: a login sees its tenants' people who share, no word of theirs, no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from uuid_utils.compat import uuid7

from domain.accounts.events import (
    MemberAdded,
    MemberRemoved,
    SharingRevised,
    TenantReactivated,
    TenantSuspended,
)
from domain.accounts.tenant import Tenant
from domain.event import Event, Recorded
from domain.journal.entry import Draft, Entry, stream_of
from projections.accounts.activity import ActivityCounts
from projections.accounts.sharing import Sharing
from projections.engine.writer import ViewWriter
from projections.journal.daily import Daily
from tests.support.servers import Database

NOON = datetime.fromisoformat("2026-03-01T12:00:00Z")
ANNA, BEN, EVE, OURS, THEIRS = (uuid7() for _ in range(5))


@pytest.fixture(scope="module")
def owner(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def analyst(owner: psycopg.Connection, database: Database) -> Iterator[psycopg.Connection]:
    """A login for our tenant, in which Anna and Ben share; Eve is in theirs."""
    events: list[Recorded] = []

    def happened(event: Event, stream: str, version: int = 1) -> None:
        events.append(
            Recorded(
                position=len(events) + 1, stream_id=stream, stream_version=version,
                tenant_id=OURS, recorded_at=NOON, event=event,
            )
        )  # fmt: skip

    for tenant, person in ((OURS, BEN), (THEIRS, EVE)):
        stream = Tenant.stream(tenant)
        [made] = Tenant.create(tenant_id=tenant, user_id=ANNA, name="Secret name")
        happened(made, stream)
        happened(MemberAdded(tenant_id=tenant, user_id=person, role="member"), stream, 2)
        happened(SharingRevised(tenant_id=tenant, user_id=person, analytics=True), stream, 3)
    for person, private in ((ANNA, False), (BEN, False), (BEN, True), (EVE, False)):
        entry_id = uuid7()
        draft = Draft(
            date=date(2026, 3, 1), title="Hidden", content="Hidden words", mood="sad",
            tags=["hidden"], is_private=private,
        )  # fmt: skip
        happened(Entry.write(entry_id, person, draft), stream_of(entry_id))
    views = (Sharing(), Daily(), ActivityCounts())
    with psycopg.connect(database.project_dsn) as connection:
        for view in views:
            taken = [one for one in events if type(one.event) in view.takes]
            ViewWriter(view, connection, view.table).apply(taken)
    name = f"bi_{uuid7().hex}"
    owner.execute(SQL("CREATE ROLE {} LOGIN IN ROLE mindstream_analyst").format(Identifier(name)))
    owner.execute("INSERT INTO analytics.logins VALUES (%s, %s)", (name, OURS))
    dsn = make_conninfo(database.owner_dsn, user=name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection
    owner.execute(SQL("DROP ROLE {}").format(Identifier(name)))


def test_a_login_sees_those_who_share_in_its_tenants(analyst: psycopg.Connection) -> None:
    def rows(query: str) -> list[tuple[object, ...]]:
        return analyst.execute(query).fetchall()

    assert rows("SELECT * FROM analytics.people") == [(OURS, BEN)]
    assert rows("SELECT * FROM analytics.entries") == [
        (OURS, BEN, date(2026, 3, 1), "sad", -0.6, 2)
    ]
    assert rows("SELECT * FROM analytics.activity") == [(OURS, BEN, NOON, "entry_created", 2)]
    assert rows("SELECT * FROM analytics.days") == [(OURS, date(2026, 3, 1), 1, 2, 1, -0.6)]
    # Whatever it says of itself, it is who connected.
    analyst.execute(f"SELECT set_config('mindstream.user_id', '{ANNA}', false)")
    analyst.execute("SET ROLE mindstream_analyst")
    assert rows("SELECT user_id FROM analytics.people") == [(BEN,)]
    analyst.execute("RESET ROLE")


def test_a_view_shows_what_a_rebuild_put_in_place(
    analyst: psycopg.Connection, database: Database
) -> None:
    with psycopg.connect(database.project_dsn) as projector:
        projector.execute("SELECT mirror_table('journal_daily', 'journal_daily__shadow')")
        projector.execute("ALTER TABLE journal_daily RENAME TO journal_daily__old")
        projector.execute("ALTER TABLE journal_daily__shadow RENAME TO journal_daily")
        projector.commit()
        assert analyst.execute("SELECT * FROM analytics.entries").fetchall() == []
        projector.execute("DROP TABLE journal_daily")
        projector.execute("ALTER TABLE journal_daily__old RENAME TO journal_daily")
        projector.commit()
    assert len(analyst.execute("SELECT * FROM analytics.entries").fetchall()) == 1


def test_it_sees_and_changes_nothing_else(
    analyst: psycopg.Connection, owner: psycopg.Connection
) -> None:
    tables = owner.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_'"
    ).fetchall()
    views = {("analytics", name) for name in ("people", "entries", "activity", "days")}
    assert views < set(tables)
    for schema, name in tables:
        table = Identifier(schema, name)
        if (schema, name) not in views:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(SQL("SELECT FROM {} LIMIT 0").format(table))
        for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            held = analyst.execute(
                "SELECT has_table_privilege(%s, %s)", (f"{schema}.{name}", right)
            ).fetchone()
            assert held == (False,), (name, right)
    for statement in (
        "CREATE TABLE public.mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION analytics.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        f"INSERT INTO analytics.logins VALUES (session_user, '{THEIRS}')",
        "SET ROLE mindstream_read",
        "SET SESSION AUTHORIZATION mindstream_read",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.execute(statement)


def test_no_function_lends_it_more(analyst: psycopg.Connection) -> None:
    """Whatever runs with somebody else's rights is closed to it, but for what the views need."""
    rows = analyst.execute(
        "SELECT oid::regprocedure::text FROM pg_proc"
        " WHERE prosecdef AND has_function_privilege(oid, 'EXECUTE')"
    ).fetchall()
    assert {name for (name,) in rows} == {
        f"analytics.read_{name}()" for name in ("people", "entries", "activity")
    }
    columns = analyst.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'analytics'"
    ).fetchall()
    assert not {name for (name,) in columns} & {"tags", "title", "content", "document", "name"}


def test_ids_are_all_there_is_of_a_person(analyst: psycopg.Connection) -> None:
    for view in ("people", "entries", "activity", "days"):
        for row in analyst.execute(SQL("SELECT * FROM analytics.{}").format(Identifier(view))):
            for value in row:
                assert isinstance(value, UUID) or "hidden" not in str(value).lower()
                assert "Secret" not in str(value)


def test_who_takes_it_back_leaves_or_is_closed_out_is_counted_no_more(
    analyst: psycopg.Connection, database: Database
) -> None:
    def then(event: Event) -> list[tuple[object, ...]]:
        happened = Recorded(
            position=99, stream_id=Tenant.stream(OURS), stream_version=4, tenant_id=OURS,
            recorded_at=NOON, event=event,
        )  # fmt: skip
        with psycopg.connect(database.project_dsn) as connection:
            ViewWriter(Sharing(), connection, "accounts_sharing").apply([happened])
        return analyst.execute("SELECT user_id FROM analytics.people").fetchall()

    for member, sharing in ((ANNA, True), (ANNA, False), (BEN, True)):
        seen = then(SharingRevised(tenant_id=OURS, user_id=member, analytics=sharing))
        assert seen == ([(BEN,), (ANNA,)] if (member, sharing) == (ANNA, True) else [(BEN,)])
    assert then(TenantSuspended(tenant_id=OURS)) == []
    assert then(TenantReactivated(tenant_id=OURS)) == [(BEN,)]
    assert then(MemberRemoved(tenant_id=OURS, user_id=BEN)) == []
