"""What a running ``up`` tells others: where everything listens, and which processes there are.

Owns the file ``HOME/run/services.json`` and the lock beside it, by which one sees whether what the
file says is still true. ``supervisor.py`` writes; every other command reads.
"""

from __future__ import annotations

import fcntl
import os
import time
from datetime import datetime
from typing import IO

import msgspec

from bootstrap.places import Places
from bootstrap.settings import Settings


class Process(msgspec.Struct, frozen=True):
    """One supervised process; ``restarts`` counts since ``up``. Times are aware and in UTC.

    ``died`` and ``died_at`` say how and when one before it ended by itself; what was replaced did
    not. None: that has not happened.
    """

    name: str
    pid: int
    started_at: datetime
    restarts: int
    died: str | None = None
    died_at: datetime | None = None


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses that are also settings, and the processes. None means: there is no such server."""

    gateway: str
    write_dsn: str
    read_dsn: str
    owner_dsn: str | None
    redis_url: str
    search_url: str | None
    processes: tuple[Process, ...]
    timeseries_dsn: str | None = None


class NotRunning(Exception):
    """Nothing runs in this home, and the settings name no servers."""


class AlreadyRunning(Exception):
    """Another ``up`` holds this home."""


def hold(places: Places) -> IO[str]:
    """Take the lock of a home for as long as the returned file stays open.

    Raises ``AlreadyRunning``. The system lets go of it however the holder ends.
    """
    file = places.lock.open("a+", encoding="ascii")
    # A command that only looks holds the lock for a moment.
    for attempt in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05 * (attempt < 19))
        else:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return file
    file.seek(0)
    pid = file.read().strip()
    file.close()
    raise AlreadyRunning(f"Mindstream already runs in {places.home} (process {pid or 'unknown'})")


def publish(places: Places, services: Services) -> None:
    """Write the file, whole or not at all; it holds a password, so only its owner reads it."""
    fresh = places.services.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(services)))
    fresh.replace(places.services)


def left_over(places: Places) -> Services | None:
    """What the file says, whether or not it still holds."""
    try:
        return msgspec.json.decode(places.services.read_bytes(), type=Services)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def running(settings: Settings) -> Services | None:
    """The services of the ``up`` that runs in this home, or None."""
    places = Places(settings.home)
    try:
        with places.lock.open("r", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return left_over(places)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None


def connected(settings: Settings) -> Settings:
    """The settings with every address filled in: from the running ``up`` where they name none.

    Raises ``NotRunning`` with what to do about it.
    """
    if settings.write_dsn is not None and settings.redis_url is not None:
        return msgspec.structs.replace(settings, read_dsn=settings.read_dsn or settings.write_dsn)
    found = running(settings)
    if found is None:
        raise NotRunning(
            f"Nothing runs in {settings.home}: start `mindstream up` there, or set "
            "MINDSTREAM_WRITE_DSN and MINDSTREAM_REDIS_URL"
        )
    own_database = settings.write_dsn is not None
    return msgspec.structs.replace(
        settings,
        write_dsn=settings.write_dsn or found.write_dsn,
        read_dsn=settings.read_dsn or settings.write_dsn or found.read_dsn,
        owner_dsn=settings.owner_dsn or (None if own_database else found.owner_dsn),
        redis_url=settings.redis_url or found.redis_url,
        search_url=settings.search_url or found.search_url,
        timeseries_dsn=settings.timeseries_dsn or (None if own_database else found.timeseries_dsn),
    )
