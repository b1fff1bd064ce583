"""Where things lie under ``MINDSTREAM_HOME``, and with which permissions.

Owns the names of files, folders and sockets, and nothing that is in them. Unix socket paths have
to be short (about 100 bytes): below a home with a long path the sockets go to a folder of the same
owner in the system's temporary folder instead.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from bootstrap.settings import Settings

SOCKET_PATH_BYTES = 100
"""Longest socket path that is used; Linux takes 107 bytes, macOS 103."""

_LONGEST_SOCKET_NAME = "metrics-write-api-64.sock"


class Places:
    """The folders of one home; ``prepare`` makes them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run = home / "run"
        self.log = home / "log"
        self.mail = home / "mail"
        self.objects = home / "objects"
        self.postgres = home / "pg"
        self.postgres_data = self.postgres / "data"
        self.valkey = home / "valkey"
        self.lock = self.run / "up.lock"
        self.services = self.run / "services.json"
        self.sockets = self._sockets()
        self.control = self.sockets / "control.sock"
        self.postgres_sockets = self.sockets / "pg"

    def _sockets(self) -> Path:
        longest = self.run / _LONGEST_SOCKET_NAME
        if len(os.fsencode(longest)) <= SOCKET_PATH_BYTES:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        name = f"mindstream-{os.getuid()}-{digest}"
        for parent in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - ours alone, 0700
            if len(os.fsencode(parent / name / _LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES:
                return parent / name
        return self.run

    def prepare(self) -> None:
        """Make what is missing, for this user only.

        Raises ``PermissionError`` if a folder in the shared temporary folder belongs to another.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.run, self.log, self.sockets):
            folder.mkdir(mode=0o700, exist_ok=True)
        found = self.sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{self.sockets} belongs to somebody else")

    def api_socket(self, name: str) -> Path:
        """The socket of an API process, such as ``write-api`` or ``read-api-2``."""
        return self.sockets / f"{name}.sock"

    def metrics_socket(self, name: str) -> Path:
        """The socket on which a process gives its metrics."""
        return self.sockets / f"metrics-{name}.sock"

    def ready(self, name: str) -> Path:
        """Where a process says that it can be used: a file that holds its pid."""
        return self.run / f"{name}.ready"

    def say_ready(self, name: str) -> None:
        """Say so for this process."""
        self.ready(name).write_text(str(os.getpid()), encoding="ascii")

    def is_ready(self, name: str, pid: int) -> bool:
        """Whether that process has said so."""
        try:
            return self.ready(name).read_text(encoding="ascii") == str(pid)
        except FileNotFoundError:
            return False

    def dsn(self, role: str, database: str = "mindstream") -> str:
        """The address of the embedded PostgreSQL for a role."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.postgres_sockets))}"


def addresses(role: str, settings: Settings, places: Places) -> list[str]:
    """Where the processes of an API listen: ``unix:PATH`` or ``HOST:PORT`` each."""
    given, count = {
        "write-api": (settings.write_api_address, settings.write_api_workers),
        "read-api": (settings.read_api_address, settings.read_api_workers),
    }[role]
    if given is not None:
        return [given]
    return [f"unix:{places.api_socket(name)}" for name in numbered(role, count)]


def numbered(role: str, count: int) -> list[str]:
    """The names of a role's processes: a number is added where there are several."""
    return [role] if count == 1 else [f"{role}-{number}" for number in range(1, count + 1)]


def grant_search(path: Path, uid: int, gid: int) -> None:
    """Let a user pass through every folder above ``path``: search permission, no more.

    Only root calls this, for the account that PostgreSQL runs under.
    """
    for folder in path.parents:
        found = folder.stat()
        if found.st_uid == uid:
            needed = stat.S_IXUSR
        elif found.st_gid == gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            folder.chmod(stat.S_IMODE(found.st_mode) | needed)
