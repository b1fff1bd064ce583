from __future__ import annotations

import psycopg
import pytest

from bootstrap import database as schema
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
