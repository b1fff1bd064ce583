"""What our migrations made of a database, who may do what in it, and what goes on there.

Owns the questions about migrations, roles, row-level security, the form of time series, and about
transactions that hold others up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.rows import scalar_row

from bootstrap import database, timeseries
from bootstrap.examination.finding import Finding, failed, ok, warning
from bootstrap.settings import Settings, masked

IDLE_SECONDS = 60.0
LONG_SECONDS = 600.0
RETAINED_BYTES = 4 << 30

Connection = psycopg.Connection[Any]

_TRANSACTIONS = """
SELECT pid, coalesce(usename, '')::text, coalesce(application_name, ''), state LIKE 'idle%',
       extract(epoch FROM clock_timestamp() - CASE WHEN state LIKE 'idle%' THEN state_change
                                                   ELSE xact_start END)::float8 AS seconds
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND xact_start IS NOT NULL
  AND pid <> pg_backend_pid() AND state IN ('active', 'idle in transaction',
                                            'idle in transaction (aborted)')
ORDER BY seconds DESC
"""
_SLOTS = """
SELECT slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint
FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL
"""
_PREPARED = """
SELECT gid FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < now() - interval '5 minutes'
"""
_UNGUARDED = """
SELECT DISTINCT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  -- Whoever reads the events themselves has to ask for a stream that is theirs.
  AND c.relname <> 'events'
  AND a.attname IN ('user_id', 'tenant_id', 'subject_id') AND NOT a.attisdropped
  AND has_table_privilege('mindstream_read', c.oid, 'SELECT')
  AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
ORDER BY 1
"""
_MEMBER = """
SELECT r.name FROM unnest(ARRAY['mindstream_project', 'mindstream_read']) AS r (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r.name)
   OR NOT pg_has_role(CURRENT_USER, r.name, 'MEMBER')
"""


def schema(settings: Settings) -> Iterator[Finding]:
    """What our migrations have made of it, and what goes on in it; nothing more where they lack."""
    migrations = _migrations(settings)
    yield migrations
    if migrations.state == "failed":
        return
    yield _access(settings)
    yield _series(settings)
    with psycopg.connect(settings.owner_dsn or settings.write_dsn or "", connect_timeout=5) as asks:
        asks.autocommit = True
        yield _transactions(asks)
        yield from _held_back(asks)


def _migrations(settings: Settings) -> Finding:
    if settings.owner_dsn is None:
        detail = "not looked at: MINDSTREAM_OWNER_DSN is not set"
        return warning("migrations", detail, "set it for this command")
    try:
        known = database.status(settings.owner_dsn)
        newer = _newer(settings.owner_dsn, {migration.version for migration in known})
    except psycopg.Error as error:
        return failed("migrations", str(error).splitlines()[0], "is MINDSTREAM_OWNER_DSN right?")
    missing = [migration.version for migration in known if not migration.applied]
    if missing:
        return failed("migrations", f"missing {', '.join(missing)}", "`mindstream migrate`")
    if newer:
        detail = f"the database has {', '.join(newer)}, which this version does not know"
        return failed("migrations", detail, "run the newer version of Mindstream")
    return ok("migrations", f"all {len(known)} applied")


def _newer(dsn: str, known: set[str]) -> list[str]:
    with psycopg.connect(dsn, connect_timeout=5, row_factory=scalar_row) as connection:
        if connection.execute("SELECT to_regclass('schema_migrations')").fetchone() is None:
            return []
        applied = connection.execute("SELECT version FROM schema_migrations ORDER BY version")
        return [version for version in applied if version not in known]


def _access(settings: Settings) -> Finding:
    """Whether row-level security binds the roles that it should, and covers every table."""
    for name in ("write_dsn", "read_dsn"):
        with psycopg.connect(getattr(settings, name) or "", connect_timeout=5) as connection:
            role, free = connection.execute(
                "SELECT CURRENT_USER, rolsuper OR rolbypassrls FROM pg_roles"
                " WHERE rolname = CURRENT_USER"
            ).fetchone() or ("", False)
            if free:
                detail = f"{name} connects as {role}, whom row-level security does not bind"
                remedy = f"connect as mindstream_{name.partition('_')[0]}"
                return failed("access", detail, remedy)
            if name == "write_dsn":
                lacking = [each for (each,) in connection.execute(_MEMBER)]
                unguarded = [each for (each,) in connection.execute(_UNGUARDED)]
                if lacking:
                    detail = f"{role} of write_dsn may not become {' or '.join(lacking)}"
                    remedy = f"connect as mindstream_write, or GRANT {', '.join(lacking)} TO {role}"
                    return failed("access", detail, remedy)
                if unguarded:
                    detail = f"no forced row-level security: {', '.join(unguarded)}"
                    remedy = "ALTER TABLE … ENABLE ROW LEVEL SECURITY, … FORCE ROW LEVEL SECURITY"
                    return failed("access", detail, remedy)
    return ok("access", "row-level security binds both roles, on every table of people")


def _series(settings: Settings) -> Finding:
    dsn = settings.timeseries_dsn or settings.write_dsn or ""
    try:
        form = timeseries.form_of(dsn)
        with psycopg.connect(dsn, connect_timeout=5) as connection:
            row = connection.execute(
                """
                SELECT (SELECT installed_version FROM pg_available_extensions
                        WHERE name = 'timescaledb'),
                       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb'),
                       current_setting('timescaledb.license', true)
                """
            ).fetchone()
    except psycopg.Error as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return failed(
            "time series", f"{masked(dsn)}: {said}", "is MINDSTREAM_TIMESERIES_DSN right?"
        )
    installed, there, licence = row or (None, False, None)
    return series(form, installed=installed is not None, available=there, licence=licence)


def series(
    form: timeseries.Form | None, *, installed: bool, available: bool, licence: str | None
) -> Finding:
    """Whether the tables have the form that the server can have now."""
    again = "`mindstream migrate` with MINDSTREAM_OWNER_DSN gives them the form that it has now"
    if form is None:
        return failed("time series", "not made yet", "`mindstream migrate`")
    if form != "none" and not installed:
        remedy = "install timescaledb and preload it (shared_preload_libraries)"
        return failed("time series", "made for TimescaleDB, which is not there any more", remedy)
    if form == "community" and licence != "timescale":
        detail = f"made for TimescaleDB Community, and timescaledb.license is {licence or 'unset'}"
        return failed("time series", detail, "ALTER SYSTEM SET timescaledb.license = 'timescale'")
    if form == "apache" and licence == "timescale":
        return warning("time series", "the server has the Community licence now", again)
    if form == "none" and installed:
        return warning("time series", "TimescaleDB is installed and not used", again)
    if form == "none" and available:
        detail = f"{timeseries.SAID[form]}; the extension is there and not preloaded"
        remedy = "shared_preload_libraries = 'timescaledb', restart, `mindstream migrate`"
        return warning("time series", detail, remedy)
    return ok("time series", timeseries.SAID[form])


def _transactions(connection: Connection) -> Finding:
    """Who keeps a transaction open, so that others wait and nothing is cleared away."""
    rows = connection.execute(_TRANSACTIONS).fetchall()
    old = [
        f"{'idle' if idle else 'running'} for {seconds:.0f} s: pid {pid} ({who or 'somebody'}"
        f" as {role})"
        for pid, role, who, idle, seconds in rows
        if seconds > (IDLE_SECONDS if idle else LONG_SECONDS)
    ]
    if old:
        pid = rows[0][0]
        remedy = f"end it where it was begun, or SELECT pg_terminate_backend({pid})"
        return warning("transactions", "; ".join(old[:3]), remedy)
    return ok("transactions", "none is old")


def _held_back(connection: Connection) -> Iterator[Finding]:
    """What keeps the server's log from being dropped until the disk is full."""
    slots = [(name, held) for name, held in connection.execute(_SLOTS) if held > RETAINED_BYTES]
    if slots:
        name, held = slots[0]
        detail = f"the slot {name}, which nobody reads, keeps {held >> 30} GiB of WAL"
        remedy = f"SELECT pg_drop_replication_slot('{name}') if its reader is gone for good"
        yield warning("replication slots", detail, remedy)
    prepared = [gid for (gid,) in connection.execute(_PREPARED)]
    if prepared:
        detail = f"prepared transactions that nobody ends: {', '.join(prepared[:3])}"
        yield warning("prepared transactions", detail, f"ROLLBACK PREPARED '{prepared[0]}'")
