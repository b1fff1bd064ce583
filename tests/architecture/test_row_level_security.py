"""Every read model is closed by the database itself, whatever a query forgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from bootstrap.views import VIEWS
from tests.support.servers import Database

TABLES = sorted(view.table for view in VIEWS)
OPERATORS = {"ops_audit"}
"""What only operators see: the APIs say that one asks when they have checked the permission."""
EVERYBODYS = {"flags_definitions"}
"""What whoever is known sees."""
API_ROLES = ("mindstream_read", "mindstream_write")


@pytest.fixture(scope="module")
def owner(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        yield connection


def test_every_view_is_named_by_its_context() -> None:
    for view in VIEWS:
        assert view.table == view.name.replace(".", "_"), view.name


@pytest.mark.parametrize("table", TABLES)
def test_a_read_model_is_closed_and_says_whose_a_row_is(
    owner: psycopg.Connection, table: str
) -> None:
    row = owner.execute(
        "SELECT relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner)"
        " FROM pg_class WHERE oid = %s::regclass",
        (table,),
    ).fetchone()
    assert row == (True, True, "mindstream_project")
    columns = {
        name
        for (name,) in owner.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
            (table,),
        )
    }
    assert columns & {"user_id", "tenant_id"}
    policies = owner.execute(
        "SELECT cmd, qual FROM pg_policies WHERE tablename = %s", (table,)
    ).fetchall()
    assert policies
    for _, condition in policies:
        by = "mindstream.operator" if table in OPERATORS else "mindstream.user_id"
        assert by in condition, condition
    rights = {
        (role, right)
        for role in API_ROLES
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
        for (held,) in owner.execute("SELECT has_table_privilege(%s, %s, %s)", (role, table, right))
        if held
    }
    assert {right for _, right in rights} == {"SELECT"}
    assert table in OPERATORS or rights == {("mindstream_read", "SELECT")}


@pytest.mark.parametrize("table", TABLES)
def test_nobody_sees_anything_and_strangers_see_nothing_of_others(
    owner: psycopg.Connection, database: Database, table: str
) -> None:
    """A row is made of whatever its columns take, for a person and a tenant of its own."""
    columns = owner.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        (table,),
    ).fetchall()
    mine = uuid4()
    values = {name: _value(name, kind, str(mine)) for name, kind in columns}
    with psycopg.connect(database.project_dsn, autocommit=True) as projector:
        projector.execute(
            sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(sql.Placeholder() * len(values)),
            ),
            list(values.values()),
        )
    count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    with psycopg.connect(database.read_dsn) as reader:
        assert reader.execute(count).fetchone() == (0,)
        stranger, owner_sees = int(table in EVERYBODYS), int(table not in OPERATORS)
        for user, seen in ((uuid4(), stranger), (mine, owner_sees)):
            reader.execute("SELECT set_config('mindstream.user_id', %s, true)", (str(user),))
            assert reader.execute(count).fetchone() == (seen,), user
        if table in OPERATORS:
            reader.execute("SELECT set_config('mindstream.operator', 'on', true)")
            assert reader.execute(count).fetchone() == (1,)


def _value(name: str, kind: str, mine: str) -> object:
    if name == "members":
        return [mine]
    if kind == "uuid":
        return mine
    if kind.endswith("[]"):
        return []
    return {
        "boolean": True, "integer": 1, "bigint": 1, "double precision": 1.0, "date": "2026-01-01",
        "timestamp with time zone": "2026-01-01T00:00:00Z",
    }.get(kind, "x")  # fmt: skip


def test_the_roles_of_the_apis_cannot_get_around_it(owner: psycopg.Connection) -> None:
    rows = owner.execute(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles"
        " WHERE rolname = ANY (%s)",
        (list(API_ROLES),),
    ).fetchall()
    assert sorted(rows) == [(role, False, False, False) for role in API_ROLES]
    # What the writer may become, it must ask to be: a statement of its own has none of the rights.
    inherits = owner.execute(
        "SELECT pg_has_role('mindstream_write', 'mindstream_project', 'USAGE'),"
        " pg_has_role('mindstream_read', 'mindstream_project', 'MEMBER')"
    ).fetchone()
    assert inherits == (False, False)


def test_no_table_of_a_person_lies_open(owner: psycopg.Connection) -> None:
    """Credentials as well: what has a person's or a tenant's id is closed, but for the events."""
    rows = owner.execute(
        """
        SELECT DISTINCT c.relname FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('user_id', 'tenant_id')
        WHERE c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
        """
    ).fetchall()
    assert {name for (name,) in rows} <= {"events"}


@pytest.mark.parametrize("table", TABLES)
def test_a_new_generation_is_closed_as_the_old_one_is(
    owner: psycopg.Connection, database: Database, table: str
) -> None:
    shadow = f"{table}__shadow"
    with psycopg.connect(database.project_dsn, autocommit=True) as projector:
        projector.execute("SELECT mirror_table(%s::regclass, %s)", (table, shadow))
        old, new = (_policies(owner, name) for name in (table, shadow))
        projector.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(shadow)))
    assert old == new
    assert old[0] == (True, True)


def _policies(owner: psycopg.Connection, table: str) -> tuple[Any, Any]:
    switches = owner.execute(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s::regclass",
        (table,),
    ).fetchone()
    policies = owner.execute(
        "SELECT policyname, roles, cmd, qual FROM pg_policies WHERE tablename = %s"
        " ORDER BY policyname",
        (table,),
    ).fetchall()
    return switches, policies
