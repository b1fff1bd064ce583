"""The checks behind ``mindstream doctor``: each looks at one thing and says what to do.

Owns the checks; it repairs nothing. A check that cannot look at its subject because an earlier one
failed is left out.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Literal

import msgspec
import psycopg
import redis

from bootstrap import database, services, timeseries
from bootstrap.embedded import POSTGRES_BIN
from bootstrap.settings import Settings, SettingsError, load, masked, unknown_variables

OLDEST_POSTGRES = 150000
LEAST_DISK_BYTES = 1 << 30
CLOCK_SECONDS = 2.0


class Finding(msgspec.Struct, frozen=True):
    """One check's outcome: ``ok``, ``warning`` (it works, but look) or ``failed``."""

    check: str
    state: Literal["ok", "warning", "failed"]
    detail: str


def examine() -> list[Finding]:
    """Run every check, in the order in which one would look oneself."""
    return list(_checks())


def _checks() -> Iterator[Finding]:
    yield _python()
    try:
        settings = load()
    except SettingsError as error:
        yield Finding("settings", "failed", "; ".join(line.strip() for line in error.problems))
        return
    yield _settings(settings)
    yield _home(settings)
    yield _disk(settings)
    found = services.running(settings)
    yield _port(settings, found)
    try:
        settings = services.connected(settings)
    except services.NotRunning:
        yield Finding("services", "warning", "nothing runs here: start `mindstream up`")
        yield _binaries()
        return
    yield _processes(found)
    yield from _database(settings)
    yield _redis(settings)
    yield _search(settings)
    if found is not None:
        yield _ready(found.gateway)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "python", "ok", f"{version}, mindstream {importlib.metadata.version('mindstream')}"
    )


def _settings(settings: Settings) -> Finding:
    unknown = unknown_variables()
    if unknown:
        return Finding("settings", "warning", f"no such settings: {', '.join(unknown)}")
    return Finding("settings", "ok", f"home {settings.home}")


def _home(settings: Settings) -> Finding:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("home", "failed", f"{folder} cannot be written to; set MINDSTREAM_HOME")
    return Finding("home", "ok", f"{folder} can be written to")


def _disk(settings: Settings) -> Finding:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    state: Literal["ok", "warning"] = "ok" if free >= LEAST_DISK_BYTES else "warning"
    return Finding("disk", state, f"{free / (1 << 30):.1f} GiB free")


def _port(settings: Settings, found: services.Services | None) -> Finding:
    if found is not None:
        return Finding("port", "ok", f"the gateway listens on {found.gateway}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", settings.port))
        except OSError:
            return Finding("port", "failed", f"{settings.port} is taken; set MINDSTREAM_PORT")
    return Finding("port", "ok", f"{settings.port} is free")


def _binaries() -> Finding:
    missing = [
        name for name in ("postgres", "initdb") if not os.access(POSTGRES_BIN / name, os.X_OK)
    ]
    if missing:
        return Finding("binaries", "failed", f"cannot be run: {', '.join(missing)}; reinstall")
    return Finding("binaries", "ok", "embedded PostgreSQL and Valkey are installed")


def _processes(found: services.Services | None) -> Finding:
    if found is None:
        return Finding("services", "ok", "named by the settings")
    often = [
        f"{process.name} ({process.restarts})" for process in found.processes if process.restarts
    ]
    if often:
        return Finding("services", "warning", f"restarted since `up`: {', '.join(often)}")
    return Finding("services", "ok", f"{len(found.processes)} processes, none restarted")


def _database(settings: Settings) -> Iterator[Finding]:
    for name in ("write_dsn", "read_dsn"):
        dsn = getattr(settings, name)
        try:
            with psycopg.connect(dsn, connect_timeout=5) as connection:
                asked = time.time()
                row = connection.execute(
                    """
                    SELECT current_setting('server_version'),
                           extract(epoch FROM clock_timestamp())
                    """
                ).fetchone()
                number = connection.info.server_version
        except psycopg.OperationalError as error:
            yield Finding(name, "failed", f"{masked(dsn)}: {error}".splitlines()[0])
            continue
        if row is None or number < OLDEST_POSTGRES:
            yield Finding(name, "failed", f"PostgreSQL {number // 10000}; 15 or newer is needed")
            continue
        yield Finding(name, "ok", f"PostgreSQL {row[0]} answers")
        if name == "write_dsn":
            yield _clock(float(row[1]) - asked)
    yield _migrations(settings)
    yield _series(settings)


def _series(settings: Settings) -> Finding:
    dsn = settings.timeseries_dsn or settings.write_dsn or ""
    try:
        form = timeseries.form_of(dsn)
    except psycopg.OperationalError as error:
        return Finding("time series", "failed", f"{masked(dsn)}: {error}".splitlines()[0])
    if form is None:
        return Finding("time series", "failed", "not made yet: `mindstream migrate`")
    return Finding("time series", "ok", timeseries.SAID[form])


def _clock(ahead: float) -> Finding:
    text = f"the database's clock is {ahead:+.2f} s off this one's"
    return Finding("clock", "ok" if abs(ahead) <= CLOCK_SECONDS else "warning", text)


def _migrations(settings: Settings) -> Finding:
    if settings.owner_dsn is None:
        return Finding("migrations", "warning", "not looked at: MINDSTREAM_OWNER_DSN is not set")
    try:
        known = database.status(settings.owner_dsn)
    except psycopg.OperationalError as error:
        return Finding("migrations", "failed", str(error).splitlines()[0])
    missing = [migration.version for migration in known if not migration.applied]
    if missing:
        return Finding(
            "migrations", "failed", f"missing {', '.join(missing)}: `mindstream migrate`"
        )
    return Finding("migrations", "ok", f"all {len(known)} applied")


def _redis(settings: Settings) -> Finding:
    url = settings.redis_url or ""
    try:
        with redis.Redis.from_url(
            url, socket_timeout=3, socket_connect_timeout=3, decode_responses=True
        ) as client:
            client.ping()
            policy = _eviction(client)
    except redis.RedisError as error:
        return Finding("redis_url", "failed", f"{masked(url)}: {error}")
    if policy is not None and policy.startswith("allkeys"):
        detail = f"maxmemory-policy is {policy}: jobs may be thrown away, and are done late"
        return Finding("redis_url", "warning", detail)
    return Finding("redis_url", "ok", "answers")


def _eviction(client: redis.Redis) -> str | None:
    """What it does when its memory is full; None where it does not tell."""
    with contextlib.suppress(redis.ResponseError):
        return client.config_get("maxmemory-policy").get("maxmemory-policy")
    return None


def _search(settings: Settings) -> Finding:
    url = settings.search_url
    if url is None:
        return Finding("search_url", "ok", "not set: PostgreSQL searches")
    from adapters.search.client import version_of  # noqa: PLC0415 - it takes seconds to import

    version = version_of(url)
    if version is None:
        return Finding("search_url", "failed", f"{masked(url)} does not answer")
    return Finding("search_url", "ok", f"{version} answers")


def _ready(gateway: str) -> Finding:
    try:
        with urllib.request.urlopen(f"{gateway}/health/ready", timeout=10) as answer:  # noqa: S310
            status = answer.status
    except urllib.error.HTTPError as error:
        return Finding("gateway", "failed", f"/health/ready answers {error.code}")
    except OSError as error:
        return Finding("gateway", "failed", f"{gateway} does not answer: {error}")
    return Finding("gateway", "ok", f"/health/ready answers {status}")
