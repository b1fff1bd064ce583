"""The checks behind ``mindstream doctor``: each looks at one thing and says what to do.

Owns the order, and which checks make sense after which; it repairs nothing. ``here`` looks at this
machine, ``postgres`` at the databases, ``schema`` at what we made of them, ``engine`` at what lies
in them and waits, ``stores`` at everything beside them. A check that cannot look at its subject
because an earlier one failed is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from bootstrap import services
from bootstrap.examination import here, postgres, schema, stores
from bootstrap.examination.finding import Finding, failed, warning
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
    found = services.running(settings)
    yield here.port(settings, found)
    try:
        settings = services.connected(settings)
    except services.NotRunning:
        yield warning("services", f"nothing runs in {settings.home}", "start `mindstream up`")
        yield here.binaries()
        return
    yield here.processes(found)
    yield from _servers(settings)
    yield from stores.files(settings)
    yield stores.mail(settings)
    if found is not None:
        yield from stores.gateway(found.gateway)


def _servers(settings: Settings) -> Iterator[Finding]:
    ill = set()
    for finding in postgres.databases(settings):
        ill |= {finding.check} if finding.state == "failed" else set()
        yield finding
    yield from stores.redis_findings(settings)
    yield from stores.search(settings)
    if ill & {"write_dsn", "read_dsn", "writable"}:
        return
    for finding in schema.schema(settings):
        ill |= {finding.check} if finding.state == "failed" else set()
        yield finding
    if "migrations" not in ill:
        yield here.master_key(settings)
        from bootstrap.examination import engine  # noqa: PLC0415 - it needs most of the system

        yield from engine.engine(settings)
