from __future__ import annotations

import datetime
from uuid import UUID

import psycopg
import pytest

from bootstrap import database as schema
from commands.journal import DAY, day_key
from tests.support.servers import Database, Servers


def test_every_migration_can_be_undone_and_applied_again(servers: Servers) -> None:
    name = servers.empty_database()
    dsn = servers.postgres.dsn(database=name)

    applied = schema.migrate(dsn)
    assert [migration.version for migration in applied] == [
        migration.version for migration in schema.status(dsn)
    ]
    assert schema.migrate(dsn) == []
    while schema.undo(dsn) is not None:
        pass
    assert not any(migration.applied for migration in schema.status(dsn))
    with psycopg.connect(dsn) as connection:
        left = connection.execute(
            """
            SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
            WHERE nspname = 'public' AND relname NOT LIKE 'schema_migrations%'
            """
        ).fetchall()
    assert left == []
    assert len(schema.migrate(dsn)) == len(applied)
    servers.drop_database(name)


def test_claimed_days_are_found_by_their_new_key_and_by_the_old_one_after_a_way_back(
    servers: Servers,
) -> None:
    name = servers.empty_database()
    dsn = servers.postgres.dsn(database=name)
    user, day = UUID(int=7), datetime.date(476, 9, 4)
    old = f"{user}/{day.isoformat()}"
    others = ("accounts.email", "a-very-long-address/of-somebody@example.org")

    def keys() -> set[tuple[str, str]]:
        with psycopg.connect(dsn) as connection:
            return set(connection.execute("SELECT kind, key FROM claims").fetchall())

    schema.migrate(dsn)
    while (undone := schema.undo(dsn)) is not None and undone.version != "0030":
        pass
    with psycopg.connect(dsn) as connection:
        for kind, key in ((DAY, old), others):
            connection.execute("INSERT INTO claims VALUES (%s, %s, 'one')", (kind, key))
    schema.migrate(dsn)
    assert keys() == {(DAY, day_key(user, day)), others}
    with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(
            "INSERT INTO claims VALUES (%s, %s, 'another')", (DAY, day_key(user, day))
        )
    while (undone := schema.undo(dsn)) is not None and undone.version != "0030":
        pass
    assert keys() == {(DAY, old), others}
    servers.drop_database(name)


def test_a_failing_migration_says_why_and_leaves_nothing(servers: Servers, tmp_path) -> None:
    (tmp_path / "0001_bad.sql").write_text(
        "-- migrate:up\nCREATE TABLE half (a int);\nSELECT nonsense;\n-- migrate:down\n"
    )
    name = servers.empty_database()
    dsn = servers.postgres.dsn(database=name)

    with pytest.raises(schema.MigrationError, match="nonsense"):
        schema.migrate(dsn, tmp_path)

    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
    servers.drop_database(name)


@pytest.mark.parametrize("role", ["write", "read"])
def test_the_roles_of_the_apis_cannot_bypass_row_security(database: Database, role: str) -> None:
    with psycopg.connect(getattr(database, f"{role}_dsn")) as connection:
        found = connection.execute(
            """
            SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles
            WHERE rolname = CURRENT_USER
            """
        ).fetchone()
        assert found == (False, False, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (a int)")


def test_the_writer_may_become_the_projector_and_has_none_of_its_rights_before(
    database: Database,
) -> None:
    with psycopg.connect(database.write_dsn) as connection:
        rights = connection.execute(
            """
            SELECT pg_has_role('mindstream_project', 'USAGE'),
                   pg_has_role('mindstream_project', 'SET')
            """
        ).fetchone()
        assert rights == (False, True)
        connection.execute("SET ROLE mindstream_project")
    with (
        psycopg.connect(database.read_dsn) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SET ROLE mindstream_project")
