"""This machine and this process: settings, folders, disk, port, time zones and the master key."""

from __future__ import annotations

import importlib.metadata
import os
import resource
import shutil
import socket
import sys
import zoneinfo
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from bootstrap import services
from bootstrap.embedded import POSTGRES_BIN
from bootstrap.examination.finding import Finding, failed, ok, warning
from bootstrap.master_key import NAME, master_keys
from bootstrap.settings import PREFIX, Settings, unknown_variables

GIB = 1 << 30
WANTED_DISK_BYTES = GIB
LEAST_DISK_BYTES = GIB // 8
LEAST_FILES = 4096
LATELY = timedelta(hours=1)
ZONES = ("Europe/Lisbon", "America/Sao_Paulo", "Asia/Kathmandu")
"""Zones with three kinds of rules; whoever has these has them all."""

_GENERATIONS = """
SELECT DISTINCT master_generation FROM subject_keys WHERE master_generation IS NOT NULL LIMIT 100
"""


def python() -> Finding:
    """Which Python this is, and which Mindstream."""
    version = ".".join(map(str, sys.version_info[:3]))
    return ok("python", f"{version}, mindstream {importlib.metadata.version('mindstream')}")


def machine(settings: Settings) -> Iterator[Finding]:
    """What can be seen without any server."""
    yield _settings(settings)
    yield _home(settings)
    yield disk(settings.home)
    yield _open_files()
    yield time_zones()


def _settings(settings: Settings) -> Finding:
    unknown = unknown_variables()
    if unknown:
        return warning(
            "settings",
            f"no such settings: {', '.join(unknown)}",
            "`mindstream config show` lists those there are",
        )
    return ok("settings", f"home {settings.home}")


def _existing(folder: Path) -> Path:
    # Not even to look is allowed to everybody everywhere.
    while not os.access(folder, os.F_OK):
        folder = folder.parent
    return folder


def _home(settings: Settings) -> Finding:
    folder = _existing(settings.home)
    if not folder.is_dir():
        return failed("home", f"{folder} is no folder", "set MINDSTREAM_HOME to one")
    if not os.access(folder, os.W_OK | os.X_OK):
        return failed("home", f"{folder} cannot be written to", "set MINDSTREAM_HOME")
    return ok("home", f"{folder} can be written to")


def disk(home: Path) -> Finding:
    """What is free where embedded state lies."""
    folder = _existing(home)
    free = shutil.disk_usage(folder).free
    detail = f"{free / GIB:.1f} GiB free at {folder}"
    remedy = "make room: a full disk stops PostgreSQL, and with it every write"
    if free < LEAST_DISK_BYTES:
        return failed("disk", detail, remedy)
    return ok("disk", detail) if free >= WANTED_DISK_BYTES else warning("disk", detail, remedy)


def _open_files() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < LEAST_FILES:
        return warning(
            "open files",
            f"a process may have {hard} open; each live stream takes one",
            f"raise the hard limit (ulimit -Hn) to {LEAST_FILES} or more",
        )
    return ok("open files", "no limit" if hard == resource.RLIM_INFINITY else f"up to {hard}")


def time_zones() -> Finding:
    """Whether Python knows time zones: without them nobody can register, and no chart be drawn."""
    missing = []
    for name in ZONES:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
            missing.append(name)
    if missing:
        return failed(
            "time zones",
            f"unknown to Python: {', '.join(missing)}",
            "install the package tzdata, from PyPI or of the system",
        )
    return ok("time zones", "known")


def port(settings: Settings, found: services.Services | None) -> Finding:
    """Whether the gateway has its port, or could."""
    if found is not None:
        return ok("port", f"the gateway listens on {found.gateway}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", settings.port))
        except OSError:
            return failed("port", f"{settings.port} is taken", "set MINDSTREAM_PORT to another one")
    return ok("port", f"{settings.port} is free")


def binaries() -> Finding:
    """Whether the embedded servers can be run."""
    missing = [
        name for name in ("postgres", "initdb") if not os.access(POSTGRES_BIN / name, os.X_OK)
    ]
    if missing:
        said = f"cannot be run: {', '.join(missing)}"
        return failed("binaries", said, "install again: `make clean up`")
    return ok("binaries", "embedded PostgreSQL and Valkey are installed")


def processes(found: services.Services | None, log: Path, now: datetime) -> Finding:
    """Whether processes died under the supervisor lately; ``log`` is the folder of their logs."""
    if found is None:
        return ok("services", "named by the settings")
    dead = [
        process
        for process in found.processes
        if process.died_at is not None and now - process.died_at < LATELY
    ]
    if dead:
        told = (f"{each.name} at {each.died_at:%H:%M:%S} UTC ({each.died})" for each in dead)
        return warning(
            "services",
            f"ended and were started again: {', '.join(told)}",
            f"see what stands before `process_ended` in {log / dead[-1].name}.log",
        )
    return ok("services", f"{len(found.processes)} processes, none has died within an hour")


def master_key(settings: Settings) -> Finding:
    """Whether the master key is there, is nobody else's to read, and opens people's data keys."""
    path = settings.home / NAME
    mended = f"set {PREFIX}MASTER_KEY, or put {NAME} and its numbered generations back from backup"
    if settings.master_key is None and not os.access(path, os.F_OK):
        detail = f"none: neither {PREFIX}MASTER_KEY nor {path}"
        return failed("master key", detail, mended)
    try:
        # From here on no new one is made: there is one.
        keys = master_keys(settings)
        needed = _generations_needed(settings)
    except PermissionError:
        detail = f"{path} may not be read by this user"
        return failed("master key", detail, "run as the user that runs the processes")
    except (OSError, ValueError) as error:
        return failed("master key", f"{path} holds no key: {error}", mended)
    except psycopg.Error as error:
        return warning("master key", f"not compared: {type(error).__name__}", "see write_dsn")
    from adapters.sealing import Sealer  # noqa: PLC0415 - only whoever got this far needs it

    missing = needed - {Sealer(key).generation for key in keys}
    if missing:
        detail = f"people's data keys are sealed by others ({', '.join(sorted(missing))})"
        return failed("master key", detail, mended)
    if settings.master_key is None and path.stat().st_mode & 0o077:
        return warning("master key", f"others may read {path}", f"chmod 600 {path}")
    return ok(
        "master key", f"{len(keys)} generation{'s' if len(keys) > 1 else ''}, opens what is sealed"
    )


def _generations_needed(settings: Settings) -> set[str]:
    with psycopg.connect(settings.write_dsn or "", connect_timeout=5) as connection:
        return {generation for (generation,) in connection.execute(_GENERATIONS)}
