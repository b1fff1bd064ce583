"""The databases: whether they answer, are the right ones, and are set up to keep what they hold.

Owns the questions to PostgreSQL's own catalogues. Each is asked on one connection by the address of
the setting, so that what is seen is what the processes see; what only an owner may see is asked by
``owner_dsn``, and left out without one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import psycopg
from psycopg.rows import class_row

from bootstrap.examination.finding import Finding, failed, ok, warning
from bootstrap.settings import Settings, masked

OLDEST = 150000
CLOCK_SECONDS = 2.0
REPLAY_SECONDS = 5.0
LEAST_BUFFERS = 128 << 20
OLD_XID = 1_000_000_000
CONNECTIONS = {"write_api_workers": 6, "read_api_workers": 16, "projectors": 18, "workers": 14}
"""What each process has open when it is busy, by the setting that says how many there are."""
SPARE_CONNECTIONS = 15
"""The scheduler's, operators' and whoever looks with psql."""


class _Server(msgspec.Struct):
    """What one row tells of a server, and of how we are known to it."""

    version: str
    now: float
    pid: int
    system: int
    name: str
    in_recovery: bool
    read_only: bool
    log_position: int
    replay_seconds: float | None
    hot_standby_feedback: bool
    encoding: str
    role: str
    role_limit: int
    database_limit: int
    max_connections: int
    kept_back: int
    used: int
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    shared_buffers: int
    autovacuum: bool
    xid_age: int
    zones: int


_SERVER = """
SELECT current_setting('server_version') AS version,
       extract(epoch FROM clock_timestamp())::float8 AS now,
       pg_backend_pid() AS pid,
       (SELECT system_identifier FROM pg_control_system()) AS system,
       current_database()::text AS name,
       pg_is_in_recovery() AS in_recovery,
       current_setting('transaction_read_only')::bool AS read_only,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
             ELSE pg_current_wal_flush_lsn() END - '0/0')::int8 AS log_position,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
           AS replay_seconds,
       current_setting('hot_standby_feedback')::bool AS hot_standby_feedback,
       pg_encoding_to_char(d.encoding)::text AS encoding,
       CURRENT_USER::text AS role,
       r.rolconnlimit AS role_limit,
       d.datconnlimit AS database_limit,
       current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) AS kept_back,
       (SELECT sum(numbackends) FROM pg_stat_database)::int AS used,
       current_setting('fsync')::bool AS fsync,
       current_setting('full_page_writes')::bool AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       pg_size_bytes(current_setting('shared_buffers')) AS shared_buffers,
       current_setting('autovacuum')::bool AS autovacuum,
       age(d.datfrozenxid) AS xid_age,
       (SELECT count(*) FROM pg_timezone_names WHERE name = 'Europe/Lisbon')::int AS zones
FROM pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = CURRENT_USER
"""


def databases(settings: Settings) -> Iterator[Finding]:
    """Whether the databases answer, are the same one, and do as they should."""
    found: dict[str, _Server] = {}
    for name in ("write_dsn", "read_dsn"):
        server, findings = _looked(name, getattr(settings, name) or "")
        if server is not None:
            found[name] = server
        yield from findings
    writing = found.get("write_dsn")
    if writing is None:
        return
    yield from _writing(settings, writing)
    if (reading := found.get("read_dsn")) is not None:
        yield from _together(writing, reading)


def _looked(name: str, dsn: str) -> tuple[_Server | None, list[Finding]]:
    try:
        with psycopg.connect(dsn, connect_timeout=5, row_factory=class_row(_Server)) as connection:
            asked = time.time()
            server = connection.execute(_SERVER).fetchone()
            took = time.time() - asked
            number = connection.info.server_version
            pooled = server is not None and connection.info.backend_pid != server.pid
    except psycopg.Error as error:
        said = (
            f"{masked(dsn)}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        )
        return None, [failed(name, said, _remedy_of(str(error)))]
    if server is None or number < OLDEST:
        remedy = "15 or newer is needed: upgrade the server, or name another one"
        return None, [failed(name, f"PostgreSQL {number // 10000}", remedy)]
    findings = [ok(name, f"PostgreSQL {server.version} answers as {server.role}")]
    if pooled:
        detail = "a connection pooler stands between; it must give each client a session of its own"
        remedy = "pool_mode = session, or connect past it: locks, LISTEN and prepared statements"
        findings.append(warning(f"{name} pooler", detail, f"{remedy} are per session"))
    if name == "write_dsn":
        findings.append(clock(server.now - asked - took / 2))
    return server, findings


def _remedy_of(said: str) -> str:
    for words, remedy in (
        ("password authentication failed", "wrong password or user in the address"),
        ("does not exist", "create it: `mindstream migrate` makes roles, CREATE DATABASE the rest"),
        ("too many", "raise max_connections, or run fewer processes"),
        ("no pg_hba.conf entry", "let this machine in: pg_hba.conf of the server"),
        ("starting up", "wait: the server recovers from a crash"),
    ):
        if words in said:
            return remedy
    return "is the server up, and the address right? `mindstream services` prints it"


def clock(ahead: float) -> Finding:
    """How far the database's clock is off: tokens, leases and gaps are reckoned with both."""
    text = f"the database's clock is {ahead:+.2f} s off this one's"
    if abs(ahead) <= CLOCK_SECONDS:
        return ok("clock", text)
    return warning("clock", text, "run NTP (chrony, systemd-timesyncd) on both machines")


def _writing(settings: Settings, server: _Server) -> Iterator[Finding]:
    if server.in_recovery or server.read_only:
        why = "a standby" if server.in_recovery else "read-only (default_transaction_read_only)"
        remedy = "name the primary in MINDSTREAM_WRITE_DSN, or promote this one"
        yield failed("writable", f"write_dsn leads to a server that is {why}", remedy)
    else:
        yield ok("writable", "the server takes writes")
    if server.encoding != "UTF8":
        remedy = "make the database anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        yield failed("encoding", f"the database is in {server.encoding}", remedy)
    yield durability(server.fsync, server.full_page_writes, server.synchronous_commit)
    yield memory(server.shared_buffers)
    yield _connections(settings, server)
    yield vacuum(server.autovacuum, server.xid_age)
    if not server.zones:
        remedy = "install the time zone data of the database's machine (package tzdata)"
        yield failed("database time zones", "the server knows none", remedy)


def durability(fsync: bool, full_page_writes: bool, synchronous_commit: str) -> Finding:
    """Whether what was acknowledged outlives a power cut."""
    off = [
        name for name, on in (("fsync", fsync), ("full_page_writes", full_page_writes)) if not on
    ]
    if off:
        detail = f"{' and '.join(off)} off: a power cut may destroy the database"
        return failed("durability", detail, f"ALTER SYSTEM SET {off[0]} = on, and reload")
    if synchronous_commit in ("off", "local"):
        detail = f"synchronous_commit is {synchronous_commit}: acknowledged writes may be lost"
        remedy = "ALTER SYSTEM SET synchronous_commit = on, and reload"
        return warning("durability", detail, remedy)
    return ok("durability", "commits wait for the disk")


def memory(shared_buffers: int) -> Finding:
    """Whether the server may keep anything in memory."""
    detail = f"shared_buffers is {shared_buffers >> 20} MB"
    if shared_buffers < LEAST_BUFFERS:
        remedy = "a sixteenth to a quarter of the machine's memory; then restart the server"
        return warning("shared_buffers", detail, remedy)
    return ok("shared_buffers", detail)


def needed_connections(settings: Settings) -> int:
    """What all processes that the settings ask for have open at their busiest."""
    each: list[int] = [getattr(settings, name) * count for name, count in CONNECTIONS.items()]
    return sum(each) + SPARE_CONNECTIONS


def _connections(settings: Settings, server: _Server) -> Finding:
    most = server.max_connections - server.kept_back
    for limit in (server.role_limit, server.database_limit):
        most = min(most, limit) if limit >= 0 else most
    return connections(server.used, most, needed_connections(settings))


def connections(used: int, most: int, needed: int) -> Finding:
    """Whether there are enough for all processes, and whether they are used up."""
    detail = f"{used} of {most} in use"
    if used >= 0.8 * most:
        remedy = "raise max_connections (or the role's CONNECTION LIMIT), or run fewer processes"
        return warning("connections", detail, remedy)
    if most < needed:
        remedy = f"max_connections of {needed} or more, or fewer processes"
        return warning("connections", f"{detail}; these settings may need {needed}", remedy)
    return ok("connections", detail)


def vacuum(autovacuum: bool, xid_age: int) -> Finding:
    """Whether dead rows are cleared away, and numbers of transactions do not run out."""
    if not autovacuum:
        remedy = "ALTER SYSTEM SET autovacuum = on, and reload"
        return warning("vacuum", "autovacuum is off: tables grow without end", remedy)
    if xid_age > OLD_XID:
        detail = f"the oldest transaction id is {xid_age:,} old; at 2.1 billion writes stop"
        remedy = "find what holds vacuum back (long transactions, slots), then VACUUM FREEZE"
        return warning("vacuum", detail, remedy)
    return ok("vacuum", "autovacuum is on")


def _together(writing: _Server, reading: _Server) -> Iterator[Finding]:
    if (writing.system, writing.name) != (reading.system, reading.name):
        detail = "read_dsn and write_dsn lead to different databases: reads never see a write"
        remedy = "name one database in both, or a streaming replica of it in MINDSTREAM_READ_DSN"
        yield failed("one database", detail, remedy)
        return
    if not reading.in_recovery:
        yield ok("one database", "read_dsn and write_dsn lead to the same one")
        return
    # Asked of the primary first: what it had written by then is what the standby lacks.
    lacks = max(0, writing.log_position - reading.log_position)
    yield standby(lacks, reading.replay_seconds or 0.0)
    if not reading.hot_standby_feedback:
        detail = "the standby in read_dsn does not tell its primary which rows are still read there"
        remedy = "hot_standby_feedback = on: long queries are cancelled when those are cleared away"
        yield warning("standby queries", detail, remedy)
    else:
        yield ok("standby queries", "hot_standby_feedback is on")


def standby(lacks: int, seconds: float) -> Finding:
    """How far a standby is: ``lacks`` bytes of log, its last transaction ``seconds`` old.

    The seconds mean something only where it lacks anything: nothing may have happened since.
    """
    detail = f"read_dsn leads to a standby of write_dsn, {lacks:,} bytes behind"
    if lacks and seconds > REPLAY_SECONDS:
        remedy = "look at pg_stat_replication on the primary; fresh reads wait for the standby"
        return warning("one database", f"{detail}, up to {seconds:.0f} s", remedy)
    return ok("one database", detail)
