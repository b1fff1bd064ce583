"""Real PostgreSQL and Valkey for tests, started once, and a fresh database for each module.

Owns the servers' lives and the template database. The server's data may be lost in a crash
(``fsync=off``): tests of durability start a server of their own.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
from psycopg import sql

from bootstrap import children, database
from bootstrap.embedded import Postgres, Valkey
from bootstrap.places import Places

TEMPLATE = "mindstream_template"
_numbers = itertools.count(1)


class Database(msgspec.Struct, frozen=True):
    """One migrated database of the test server, as each role reaches it."""

    name: str
    owner_dsn: str
    write_dsn: str
    read_dsn: str
    project_dsn: str


class Servers:
    """The running test servers."""

    def __init__(self, places: Places, postgres: Postgres, valkey: Valkey) -> None:
        self.places = places
        self.postgres = postgres
        self.valkey = valkey
        self._migrated = False

    def empty_database(self) -> str:
        """Make a database without any migration; returns its name."""
        name = f"test_{next(_numbers)}"
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def fresh_database(self) -> Database:
        """Make a migrated, empty database, by copying the files of one (some 40 ms)."""
        if not self._migrated:
            self.postgres.create_database(TEMPLATE)
            database.migrate(self.postgres.dsn(database=TEMPLATE))
            self._migrated = True
        name = f"test_{next(_numbers)}"
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
        return Database(
            name=name,
            owner_dsn=self.postgres.dsn(database=name),
            write_dsn=self.postgres.dsn("mindstream_write", name),
            read_dsn=self.postgres.dsn("mindstream_read", name),
            project_dsn=self.postgres.dsn("mindstream_project", name),
        )

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is still connected."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        dsn = self.postgres.dsn(database="postgres")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running() -> Iterator[Servers]:
    """Start both servers in a temporary home; stop them and remove it in the end."""
    home = Path(tempfile.mkdtemp(prefix="ms-test-"))
    places = Places(home)
    places.prepare()
    postgres = Postgres(places, {"fsync": "off", "full_page_writes": "off"})
    valkey = Valkey(places)
    started: list[tuple[subprocess.Popen[bytes], int]] = []
    try:
        for server in (postgres, valkey):
            server.prepare()
            command = server.command()
            started.append((children.start(command), command.stop_signal))
        for server in (postgres, valkey):
            wait_until(server.answers, what=f"{type(server).__name__} answers")
        yield Servers(places, postgres, valkey)
    finally:
        for process, stop_signal in reversed(started):
            process.send_signal(stop_signal)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        shutil.rmtree(home, ignore_errors=True)


def wait_until(
    condition: Callable[[], object], *, seconds: float = 30.0, what: str = "the condition holds"
) -> None:
    """Look again and again until the condition is true; fail with ``what`` after ``seconds``.

    The longer it takes, the longer it waits between two looks: they cost what others need.
    """
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(pause)
        pause = min(pause * 1.1, 0.2)
