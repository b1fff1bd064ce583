"""TimescaleDB under the Apache licence: Debian's packages, unpacked into a root of their own.

The packages are of a newer Debian than the machine's may be, so they run with their own C library,
by ``chroot``: that takes root. Nothing is installed. Each server has its data folder in that root,
named by its user, and listens on a socket in it that only root and the server can reach. What lies
there are read models, which can be made anew.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg

from bootstrap.children import Command
from bootstrap.fetching import NotToBeHad, fetched, run

WHAT = "TimescaleDB"
SUITE = "trixie"
VERSION = "17"
PACKAGES = (
    f"postgresql-{VERSION}-timescaledb",
    f"postgresql-{VERSION}-pgvector",
    f"postgresql-{VERSION}",
    "dash",
    "libc-bin",
)
OPTIONS = {
    "listen_addresses": "",
    "shared_preload_libraries": "timescaledb",
    "dynamic_shared_memory_type": "mmap",
    "timescaledb.telemetry_level": "off",
    "timezone": "UTC",
    "jit": "off",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_BIN = f"/usr/lib/postgresql/{VERSION}/bin"
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")


class TimescaleDB:
    """One server: its data, address and command. ``name`` is that of its data folder."""

    def __init__(self, name: str, log: Path, options: dict[str, str] | None = None) -> None:
        self._root = root()
        self._data = Path("data") / name
        self._log = log
        self._options = OPTIONS | (options or {})
        self._account = pwd.getpwnam("nobody")

    @property
    def dsn(self) -> str:
        """The address of its superuser's database."""
        return (
            f"postgresql://postgres@/postgres?host={quote(str(self._root / self._data), safe='')}"
        )

    def prepare(self) -> None:
        """Make the data folder unless it is there.

        Raises:
            NotToBeHad: initdb fails.
        """
        folder = self._root / self._data
        if (folder / "PG_VERSION").exists():
            return
        folder.mkdir(mode=0o700)
        os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        arguments = (
            f"{_BIN}/initdb -D /{self._data} -U postgres --auth=trust --no-sync -E UTF8"
            " --locale=C.UTF-8 --no-instructions"
        ).split()
        done = subprocess.run(
            self._inside(*arguments),
            capture_output=True,
            text=True,
            check=False,
            env=_ENVIRONMENT,
            cwd="/",
        )
        if done.returncode:
            raise NotToBeHad(f"{WHAT} cannot be set up: {done.stderr.strip()[-200:]}")

    def command(self) -> Command:
        """The server itself, in the foreground."""
        settings = [f"--{name}={value}" for name, value in self._options.items()]
        return Command(
            argv=tuple(
                self._inside(
                    f"{_BIN}/postgres", "-D", f"/{self._data}", "-k", f"/{self._data}", *settings
                )
            ),
            log=self._log,
            env=_ENVIRONMENT,
            cwd=Path("/"),
            stop_signal=signal.SIGINT,
        )

    def answers(self) -> bool:
        """Whether the server takes connections."""
        try:
            with psycopg.connect(self.dsn, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def remove(self) -> None:
        """Delete the data of a server that was stopped."""
        shutil.rmtree(self._root / self._data, ignore_errors=True)

    def _inside(self, *arguments: str) -> list[str]:
        account = f"--userspec={self._account.pw_uid}:{self._account.pw_gid}"
        return ["chroot", account, str(self._root), *arguments]


def data_name(home: Path) -> str:
    """The name of a home's data folder."""
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:16]


def root() -> Path:
    """The folder with the packages, fetched if need be.

    Raises:
        NotToBeHad: they cannot be had here.
    """
    if os.geteuid() != 0:
        raise NotToBeHad(f"{WHAT} of Debian runs in a root of its own, which only root can enter")
    if not _SOURCES.exists():
        raise NotToBeHad(f"{WHAT} cannot be fetched: this is no Debian with {_SOURCES}")
    return fetched(f"timescaledb-{SUITE}", _unpack)


def _unpack(made: Path) -> None:
    work = made.parent
    for folder in ("lists/partial", "apt/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    suites = re.sub(
        r"^Suites: .*$",
        lambda line: re.sub(r"\S+-updates", "", line[0]).replace("bookworm", SUITE),
        _SOURCES.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    (work / "debian.sources").write_text(suites, encoding="utf-8")
    options = {
        "Dir::Etc::sourcelist": work / "debian.sources",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": work / "lists",
        # Nothing is taken for installed: every dependency is fetched, the C library included.
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "apt",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq"]
    for name, value in options.items():
        apt += ["-o", f"{name}={value}"]
    run(WHAT, [*apt, "update"], work)
    download = ["-y", "--no-install-recommends", "--download-only", "install"]
    run(WHAT, [*apt, *download, *PACKAGES], work)
    for package in sorted((work / "apt" / "archives").glob("*.deb")):
        run(WHAT, ["dpkg-deb", "-x", str(package), str(made)], work)
    _furnish(made)


def _furnish(made: Path) -> None:
    """What a root needs beside the packages: links, accounts, a few devices and folders."""
    for name in ("bin", "lib", "lib64", "sbin"):
        if not (made / name).exists():
            (made / name).symlink_to(f"usr/{name}")
    shell = made / "usr" / "bin" / "sh"
    if not shell.exists():
        shell.symlink_to("dash")
    account = pwd.getpwnam("nobody")
    (made / "etc").mkdir(exist_ok=True)
    line = f"postgres:x:{account.pw_uid}:{account.pw_gid}::/:/bin/sh\n"
    (made / "etc" / "passwd").write_text(line, encoding="ascii")
    (made / "etc" / "group").write_text(f"postgres:x:{account.pw_gid}:\n", encoding="ascii")
    (made / "dev").mkdir(exist_ok=True)
    for name, minor in (("null", 3), ("urandom", 9)):
        try:
            os.mknod(made / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        except PermissionError as error:
            raise NotToBeHad(f"{WHAT} cannot be set up: no right to make devices here") from error
        (made / "dev" / name).chmod(0o666)
    for name in ("dev/shm", "tmp", "data"):
        (made / name).mkdir(exist_ok=True)
        (made / name).chmod(0o1777)
    made.chmod(0o755)
