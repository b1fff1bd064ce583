"""The servers that a run of the benchmarks has to itself: started fresh, thrown away after it.

PostgreSQL runs as the product runs it, durable. Owns their lives, the databases in them, and the
HTTP processes that benchmarks start.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from bootstrap import children, database, settings
from bootstrap.children import Command
from bootstrap.embedded import Postgres, Valkey, free_port
from bootstrap.places import Places
from bootstrap.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
UNLIMITED = 1_000_000_000
"""Requests a minute: the limit is counted for each request, and is not to be what is measured."""
_TEMPLATE = "mindstream_template"


class Unready(Exception):
    """A server or a condition did not come about in time."""


class Database(msgspec.Struct, frozen=True):
    """A database, as each role reaches it."""

    name: str
    owner: str
    write: str
    read: str
    project: str


class Bench:
    """What a benchmark is given: servers, its appetite, and somewhere to say how it goes."""

    def __init__(
        self,
        places: Places,
        postgres: Postgres,
        valkey: Valkey,
        *,
        full: bool,
        tell: Callable[[str], None],
    ) -> None:
        self.places = places
        self.postgres = postgres
        self.valkey = valkey
        self.full = full
        self.tell = tell
        self.skipped: dict[str, str] = {}
        self._migrated = False

    def skip(self, what: str, why: str) -> None:
        """Note that a peer cannot be had here, to be told at the end."""
        self.skipped[what] = why

    def empty(self, name: str) -> Database:
        """A database with nothing in it."""
        return self._create(name, "template1")

    def migrated(self, name: str, *, like: str | None = None) -> Database:
        """A database with the product's schema and no rows, or a copy of ``like``."""
        if not self._migrated:
            self.postgres.create_database(_TEMPLATE)
            database.migrate(self.postgres.dsn(database=_TEMPLATE))
            self._migrated = True
        return self._create(name, like or _TEMPLATE)

    def drop(self, made: Database) -> None:
        """Drop it, whoever is connected."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made.name)))

    def settle(self, made: Database) -> None:
        """Vacuum, analyse and checkpoint, so that a run does not pay for the one before."""
        with psycopg.connect(made.owner, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def settings(self, made: Database, **more: Any) -> Settings:
        """The product's settings on these servers; the rest are its defaults."""
        return settings.load(
            {},
            home=self.places.home / made.name,
            write_dsn=made.write,
            read_dsn=made.read,
            owner_dsn=made.owner,
            redis_url=self.valkey.url,
            rate_limit_per_minute=UNLIMITED,
            demo=False,
            **more,
        )

    def _create(self, name: str, template: str) -> Database:
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        dsn = self.postgres.dsn
        return Database(
            name=name,
            owner=dsn(database=name),
            write=dsn("mindstream_write", name),
            read=dsn("mindstream_read", name),
            project=dsn("mindstream_project", name),
        )

    def _execute(self, statement: sql.Composed) -> None:
        dsn = self.postgres.dsn(database="postgres")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def process(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program beside the benchmark; its output goes to ``log/<name>.log``."""
        log = self.places.log / f"{name}.log"
        child = children.start(Command(argv=tuple(argv), log=log, env=env, cwd=ROOT))
        try:
            yield child
        finally:
            _stop(child)

    @contextmanager
    def http(
        self,
        name: str,
        argv_of: Callable[[int], Sequence[str]],
        *,
        env: Mapping[str, str] | None = None,
        path: str = "/",
    ) -> Iterator[int]:
        """Run an HTTP server on a free port, which is what this yields once ``path`` answers."""
        port = free_port()
        with self.process(name, argv_of(port), env=env) as child:

            def up() -> bool:
                if child.poll() is not None:
                    log = children.tail(self.places.log / f"{name}.log")
                    raise Unready(f"{name} ended with code {child.returncode}:\n{log}")
                return answers(port, path)

            wait_until(up, what=f"{name} answers")
            yield port


@contextmanager
def running(*, full: bool, tell: Callable[[str], None]) -> Iterator[Bench]:
    """Start PostgreSQL and Valkey in a temporary home; end both and remove it afterwards."""
    home = Path(tempfile.mkdtemp(prefix="ms-bench-"))
    places = Places(home)
    places.prepare()
    postgres, valkey = Postgres(places), Valkey(places)
    started: list[tuple[subprocess.Popen[bytes], int]] = []
    try:
        for server in (postgres, valkey):
            server.prepare()
            command = server.command()
            started.append((children.start(command), command.stop_signal))
        for server in (postgres, valkey):
            wait_until(server.answers, what=f"{type(server).__name__} answers")
        yield Bench(places, postgres, valkey, full=full, tell=tell)
    finally:
        for process, stop_signal in reversed(started):
            _stop(process, stop_signal)
        shutil.rmtree(home, ignore_errors=True)
        if places.sockets != places.run:
            shutil.rmtree(places.sockets, ignore_errors=True)


def wait_until(condition: Callable[[], object], *, what: str, seconds: float = 60.0) -> None:
    """Look again and again until the condition is true.

    Raises:
        Unready: it is not, after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Unready(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(0.02)


def answers(port: int, path: str) -> bool:
    """Whether an HTTP server on the port answers, whatever it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _stop(process: subprocess.Popen[bytes], number: int | None = None) -> None:
    if number is None:
        process.terminate()
    else:
        process.send_signal(number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        children.signal_group(process.pid, 9)
        process.wait()
