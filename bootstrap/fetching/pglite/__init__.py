"""TimescaleDB Community, of the npm packages beside this file: PostgreSQL in WebAssembly.

It takes one connection at a time, keeps nothing and runs no background worker: it proves the SQL of
that form, and is no server for anything else. ``serve.mjs`` runs it; the packages are installed by
the lock beside it, into the user's cache.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import psycopg

from bootstrap.children import Command
from bootstrap.embedded import free_port
from bootstrap.fetching import NotToBeHad, fetched, run
from bootstrap.settings import inherited

WHAT = "TimescaleDB Community"
HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", "serve.mjs")
OLDEST = 20
"""The oldest node that it runs on."""


class Pglite:
    """One server: its port and command."""

    def __init__(self, log: Path) -> None:
        self._folder = root()
        self._log = log
        self.port = free_port()

    @property
    def dsn(self) -> str:
        """The address of its only database, for its superuser."""
        return f"postgresql://postgres:postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def command(self) -> Command:
        """The server itself, in the foreground."""
        return Command(
            argv=("node", str(self._folder / "serve.mjs"), str(self.port)),
            log=self._log,
            env={**inherited("PATH", "HOME"), "TZ": "UTC"},
            cwd=self._folder,
        )

    def answers(self) -> bool:
        """Whether the server takes a connection."""
        try:
            with psycopg.connect(self.dsn, connect_timeout=5) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def root() -> Path:
    """The folder with the packages, fetched if need be.

    Raises:
        NotToBeHad: they cannot be had here.
    """
    if shutil.which("node") is None:
        raise NotToBeHad(f"{WHAT} needs node, which is not on the path")
    version = run(WHAT, ["node", "--version"], HERE).strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST:
        raise NotToBeHad(f"{WHAT} needs node {OLDEST}, and this is {version}")
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    return fetched(f"pglite-{digest[:12]}", _install)


def _install(made: Path) -> None:
    for name in FILES:
        shutil.copy(HERE / name, made)
    run(WHAT, ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], made)
