"""The checks behind ``mindstream doctor``: each looks at one thing and says what to do.

Owns the order, and which checks make sense after which; it repairs nothing. ``here`` looks at this
machine, ``postgres`` at the databases, ``schema`` at what we made of them, ``engine`` at what lies
in them and waits, ``stores`` at everything beside them. A check that cannot look at its subject
because an earlier one failed is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg

from bootstrap import services
from bootstrap.examination import here, postgres, schema, stores
from bootstrap.examination.finding import Finding, failed, warning
from bootstrap.places import Places
from bootstrap.settings import Settings, SettingsError, load

__all__ = ["Finding", "examine"]


def examine() -> Iterator[Finding]:
    """Run every check, in the order in which one would look oneself."""
    yield here.python()
    try:
        settings = load()
    except SettingsError as error:
        problems = "; ".join(line.strip() for line in error.problems)
        yield failed("settings", problems, "`mindstream config show` prints what each one takes")
        return
    yield from here.machine(settings)
    try:
        found = services.running(settings)
        yield here.port(settings, found)
        settings = services.connected(settings)
    except PermissionError as error:
        detail = f"{error.filename} may not be read by this user"
        yield failed("services", detail, "run as the user that runs `mindstream up`")
        return
    except services.NotRunning:
        yield warning("services", f"nothing runs in {settings.home}", "start `mindstream up`")
        yield here.binaries()
        return
    yield here.processes(found, Places(settings.home).log, datetime.now(UTC))
    yield from _servers(settings)
    yield from stores.files(settings)
    yield stores.mail(settings)
    if found is not None:
        yield from stores.gateway(found.gateway)


def _told(check: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; that a database breaks off while it is asked is one, too."""
    try:
        yield from findings
    except psycopg.Error as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield failed(check, f"it breaks off: {said}", "look into the log of the database")


def _servers(settings: Settings) -> Iterator[Finding]:
    ill = set()
    for finding in _told("write_dsn", postgres.databases(settings)):
        ill |= {finding.check} if finding.state == "failed" else set()
        yield finding
    yield from stores.redis_findings(settings)
    yield from stores.search(settings)
    if ill & {"write_dsn", "read_dsn", "writable"}:
        return
    for finding in _told("schema", schema.schema(settings)):
        ill |= {finding.check} if finding.state == "failed" else set()
        yield finding
    if "migrations" not in ill:
        yield here.master_key(settings)
        from bootstrap.examination import engine  # noqa: PLC0415 - it needs most of the system

        yield from engine.engine(settings)
