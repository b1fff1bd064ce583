"""A standby of the test server: what is read there comes by streaming replication.

Owns its life and what tests do to it: hold back its replay, and cut off the primary for those who
write, while the replication goes on.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg

from bootstrap import children
from bootstrap.embedded import OWNER, POSTGRES_BIN, Postgres
from bootstrap.places import Places, grant_search
from tests.support.servers import Database, Servers, wait_until

CONFLICT_DELAY = "100ms"
"""How long a query there may hold up the replay."""


class Standby:
    """A running standby."""

    def __init__(self, primary: Postgres, postgres: Postgres) -> None:
        self._primary = primary
        self._postgres = postgres
        self._rules = primary.places.postgres_data / "pg_hba.conf"

    def of(self, database: Database) -> Database:
        """The same database, read here."""
        wait_until(lambda: self._has(database.name), what="the standby has the database")
        return msgspec.structs.replace(
            database, read_dsn=self._postgres.dsn("mindstream_read", database.name)
        )

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """It receives everything and shows nothing of it."""
        self._execute("SELECT pg_wal_replay_pause()")
        wait_until(
            lambda: self._execute("SELECT pg_get_wal_replay_pause_state()") == "paused",
            what="the replay stands still",
        )
        try:
            yield
        finally:
            self._execute("SELECT pg_wal_replay_resume()")

    @contextmanager
    def primary_away(self, database: Database) -> Iterator[None]:
        """The primary refuses everybody who wants this database."""
        rules = self._rules.read_text(encoding="ascii")
        self._rules.write_text(f"local {database.name} all reject\n{rules}", encoding="ascii")
        try:
            self._reload(database.name)
            yield
        finally:
            self._rules.write_text(rules, encoding="ascii")
            self._reload(database.name)

    def promoted(self, database: Database) -> Database:
        """It is a primary from now on; the database, as it is written to here."""
        assert self._execute("SELECT pg_promote()")
        roles = ("write", "read", "project")
        return Database(
            database.name,
            self._postgres.dsn(database=database.name),
            *(self._postgres.dsn(f"mindstream_{role}", database.name) for role in roles),
        )

    def _reload(self, name: str) -> None:
        with psycopg.connect(self._primary.dsn(database="postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
            rules = "SELECT count(*) > 0 FROM pg_hba_file_rules WHERE %s = ANY (database)"
            refuses = connection.execute(rules, (name,)).fetchone() == (True,)
            wait_until(lambda: self._refuses(name) == refuses, what="the primary heeds its rules")
            if refuses:
                end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(end, (name,))

    def _refuses(self, name: str) -> bool:
        try:
            psycopg.connect(self._primary.dsn(database=name)).close()
        except psycopg.OperationalError:
            return True
        return False

    def _has(self, name: str) -> bool:
        try:
            psycopg.connect(self._postgres.dsn(database=name)).close()
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> object:
        dsn = self._postgres.dsn(database="postgres")
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
        return None if row is None else row[0]


@contextmanager
def standby_of(servers: Servers) -> Iterator[Standby]:
    """Copy the test server and follow it; the copy is removed in the end."""
    home = Path(tempfile.mkdtemp(prefix="ms-standby-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        primary = servers.postgres
        _let_replicate(primary)
        places = Places(home)
        places.prepare()
        options = {
            "fsync": "off",
            "hot_standby_feedback": "off",
            "max_standby_streaming_delay": CONFLICT_DELAY,
        }
        postgres = Postgres(places, {**primary.options, **options})
        _copy(primary, postgres)
        postgres.prepare()
        process = children.start(postgres.command())
        wait_until(postgres.answers, what="the standby answers")
        yield Standby(primary, postgres)
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(20)
        shutil.rmtree(home, ignore_errors=True)


def _let_replicate(primary: Postgres) -> None:
    rules = primary.places.postgres_data / "pg_hba.conf"
    text = rules.read_text(encoding="ascii")
    if "replication" not in text:
        rules.write_text(f"{text}local replication all trust\n", encoding="ascii")
        with psycopg.connect(primary.dsn(database="postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")


def _copy(primary: Postgres, standby: Postgres) -> None:
    """The folders first, as ``prepare`` makes them: it finds data then, and makes none."""
    data, account = standby.places.postgres_data, standby.account
    data.mkdir(parents=True, mode=0o700)
    if account is not None:
        grant_search(data, account.pw_uid, account.pw_gid)
        for each in (data.parent, data):
            shutil.chown(each, account.pw_uid, account.pw_gid)
    subprocess.run(
        [
            str(POSTGRES_BIN / "pg_basebackup"),
            f"--pgdata={data}",
            f"--host={primary.places.postgres_sockets}",
            f"--username={OWNER}",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
            "--no-sync",
        ],
        cwd="/",
        env={"LC_ALL": "C", "TZ": "UTC"},
        user=None if account is None else account.pw_uid,
        group=None if account is None else account.pw_gid,
        extra_groups=None if account is None else (),
        capture_output=True,
        check=True,
    )
