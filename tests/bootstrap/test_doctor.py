"""Each fault that ``mindstream doctor`` knows is made here, and has to be found and explained."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import psycopg
import pytest
import redis

from adapters.sealing import Sealer
from bootstrap import examination
from bootstrap.examination import engine, here, postgres, schema, stores
from bootstrap.examination.finding import Finding
from bootstrap.master_key import master_keys
from bootstrap.services import Process, Services
from bootstrap.settings import Settings
from domain.reaction import ReactionStatus
from tests.support.servers import Database, Servers
from tests.support.standby import standby_of


def found(findings: Iterator[Finding], check: str) -> Finding:
    by_name = {each.check: each for each in findings}
    assert check in by_name, sorted(by_name)
    return by_name[check]


def states(findings: Iterator[Finding]) -> set[str]:
    return {each.check for each in findings if each.state != "ok"}


def with_(settings: Settings, **changed: Any) -> Settings:
    return msgspec.structs.replace(settings, **changed)


@contextmanager
def owning(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        yield connection


def nowhere() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- This machine


def test_what_died_lately_is_told_and_what_was_replaced_is_not() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def told(died: timedelta | None) -> Finding:
        how = (None, None) if died is None else ("SIGKILL", now - died)
        process = Process("projector", 7, now, 2, *how)
        each = (process, Process("worker", 8, now, 1))
        running = Services(
            gateway="", write_dsn="", read_dsn="", owner_dsn=None, redis_url="", search_url=None,
            processes=each,
        )  # fmt: skip
        return here.processes(running, Path("/home/log"), now)

    assert told(None).state == told(timedelta(hours=2)).state == "ok"
    fault = told(timedelta(minutes=2))
    assert fault.state == "warning"
    assert "projector at 11:58:00 UTC (SIGKILL)" in fault.detail
    assert "worker" not in fault.detail
    assert "/home/log/projector.log" in (fault.remedy or "")


def test_a_disk_that_fills_is_a_warning_and_a_full_one_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, state in ((here.GIB * 5, "ok"), (here.GIB // 2, "warning"), (1 << 20, "failed")):
        monkeypatch.setattr(
            here.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free)
        )
        assert here.disk(tmp_path / "not" / "made").state == state


def test_missing_time_zones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert here.time_zones().state == "ok"
    monkeypatch.setattr(here, "ZONES", ("Europe/Lisbon", "Atlantis/Poseidonis"))

    missing = here.time_zones()

    assert (missing.state, missing.detail) == ("failed", "unknown to Python: Atlantis/Poseidonis")


def test_few_open_files_are_too_few(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here.resource, "getrlimit", lambda _: (256, 1024))

    assert found(here.machine(settings), "open files").state == "warning"


def test_a_home_that_is_a_file_is_no_home(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert found(here.machine(with_(settings, home=tmp_path / "file")), "home").state == "failed"


# --- The master key


def test_a_missing_a_foreign_and_an_open_master_key(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    mine = with_(settings, home=tmp_path)
    assert "none" in here.master_key(mine).detail
    assert not (tmp_path / "master.key").exists()
    keys = master_keys(mine)
    assert here.master_key(mine).state == "ok"

    (tmp_path / "master.key").chmod(0o644)
    assert "chmod 600" in (here.master_key(mine).remedy or "")

    with owning(database) as connection:
        for generation in (Sealer(*keys).generation, "0badc0de"):
            connection.execute(
                "INSERT INTO subject_keys (subject_id, wrapped, master_generation)"
                " VALUES (%s, '', %s)",
                (uuid4(), generation),
            )
        wrong = here.master_key(mine)
        connection.execute("DELETE FROM subject_keys")
    assert wrong.state == "failed"
    assert "(0badc0de)" in wrong.detail

    (tmp_path / "master.key").write_text("no key")
    assert here.master_key(mine).state == "failed"


# --- Everything


def test_a_home_of_somebody_else_is_told_and_no_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def closed(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/home/other/run/up.lock")

    monkeypatch.setenv("MINDSTREAM_HOME", str(tmp_path))
    monkeypatch.setattr(examination.services, "running", closed)

    last = list(examination.examine())[-1]

    assert (last.check, last.state) == ("services", "failed")
    assert "/home/other/run/up.lock" in last.detail


def test_a_database_that_breaks_off_is_a_finding() -> None:
    def breaking() -> Iterator[Finding]:
        yield postgres.clock(0.0)
        raise psycopg.errors.AdminShutdown("terminating connection")

    found_ = list(examination._told("schema", breaking()))

    assert [(each.check, each.state) for each in found_] == [("clock", "ok"), ("schema", "failed")]


# --- Databases


def test_a_good_database_is_found_so(settings: Settings) -> None:
    # The tests' server is made to be quick, and may lose what it has.
    assert states(postgres.databases(settings)) == {"durability"}
    assert states(schema.schema(settings)) == set()


def test_a_database_that_cannot_be_reached_is_told_without_its_password(settings: Settings) -> None:
    away = f"postgresql://somebody:hush@127.0.0.1:{nowhere()}/none"

    said = found(postgres.databases(with_(settings, write_dsn=away)), "write_dsn")

    assert said.state == "failed"
    assert "hush" not in said.detail


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('FATAL:  password authentication failed for user "x"', "wrong password"),
        ('FATAL:  role "mindstream_write" does not exist', "mindstream migrate"),
        ("FATAL:  sorry, too many clients already", "max_connections"),
        ("FATAL:  the database system is starting up", "recovers"),
    ],
)
def test_what_the_server_says_is_explained(said: str, words: str) -> None:
    assert words in postgres._remedy_of(said)


def test_a_database_that_takes_no_writes(settings: Settings) -> None:
    readonly = f"{settings.write_dsn}&options={quote('-c default_transaction_read_only=on')}"

    assert (
        found(postgres.databases(with_(settings, write_dsn=readonly)), "writable").state == "failed"
    )


def test_reading_from_another_database_than_is_written_to(
    settings: Settings, servers: Servers
) -> None:
    other = servers.fresh_database()
    try:
        mixed = with_(settings, read_dsn=other.read_dsn)
        assert found(postgres.databases(mixed), "one database").state == "failed"
        assert found(postgres.databases(settings), "one database").state == "ok"
    finally:
        servers.drop_database(other.name)


def test_reading_from_a_standby(settings: Settings, database: Database, servers: Servers) -> None:
    with standby_of(servers) as standby:
        apart = with_(settings, read_dsn=standby.of(database).read_dsn)
        one = found(postgres.databases(apart), "one database")
        assert (one.state, "standby" in one.detail) == ("ok", True)
        assert found(postgres.databases(apart), "standby queries").state == "warning"
        assert found(schema.schema(apart), "access").state == "ok"
        swapped = with_(apart, write_dsn=standby.of(database).read_dsn)
        assert "standby" in found(postgres.databases(swapped), "writable").detail
    assert postgres.standby(4096, 60.0).state == "warning"
    assert postgres.standby(4096, 0.1).state == "ok"
    assert postgres.standby(0, 3600.0).state == "ok"  # nothing has happened since


def test_a_small_limit_of_connections(settings: Settings, database: Database) -> None:
    with owning(database) as connection:
        connection.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 20")
        try:
            few = found(postgres.databases(settings), "connections")
        finally:
            connection.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
    assert few.state == "warning"
    assert postgres.connections(90, 100, 60).state == "warning"
    assert postgres.connections(20, 100, 60).state == "ok"


def test_an_application_that_binds_no_row_level_security(
    settings: Settings, database: Database
) -> None:
    too_strong = with_(settings, read_dsn=database.owner_dsn)
    too_weak = with_(settings, write_dsn=database.read_dsn)
    assert "does not bind" in found(schema.schema(too_strong), "access").detail
    assert "may not become" in found(schema.schema(too_weak), "access").detail

    with owning(database) as connection:
        connection.execute("ALTER TABLE journal_entries NO FORCE ROW LEVEL SECURITY")
        try:
            open_ = found(schema.schema(settings), "access")
        finally:
            connection.execute("ALTER TABLE journal_entries FORCE ROW LEVEL SECURITY")
    assert open_.detail == "no forced row-level security: journal_entries"


def test_migrations_that_lack_and_migrations_from_the_future(
    settings: Settings, database: Database
) -> None:
    newest = "(SELECT max(version) FROM schema_migrations)"
    with owning(database) as connection:
        [(version,)] = connection.execute(
            f"DELETE FROM schema_migrations WHERE version = {newest} RETURNING version"
        ).fetchall()
        behind = list(schema.schema(settings))
        connection.execute("INSERT INTO schema_migrations VALUES (%s), ('9999')", (version,))
        ahead = list(schema.schema(settings))
        connection.execute("DELETE FROM schema_migrations WHERE version = '9999'")

    # Nothing more is looked at of a schema that is not ours.
    assert [(each.check, each.state) for each in behind] == [("migrations", "failed")]
    assert version in behind[0].detail
    assert "newer version" in (ahead[0].remedy or "")


def test_an_idle_transaction_and_one_that_runs_too_long(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database.write_dsn, application_name="careless") as careless:
        careless.execute("SELECT 1")
        assert found(schema.schema(settings), "transactions").state == "ok"
        monkeypatch.setattr(schema, "IDLE_SECONDS", -1.0)
        idle = found(schema.schema(settings), "transactions")
        assert idle.state == "warning"
        assert f"pid {careless.info.backend_pid} (careless as mindstream_write)" in idle.detail


def test_a_slot_that_nobody_reads_keeps_the_log(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "RETAINED_BYTES", -1)
    with owning(database) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
        try:
            slot = found(schema.schema(settings), "replication slots")
        finally:
            connection.execute("SELECT pg_drop_replication_slot('forgotten')")
    assert slot.state == "warning"
    assert "pg_drop_replication_slot('forgotten')" in (slot.remedy or "")


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (postgres.clock(0.4), "ok"),
        (postgres.clock(-3.0), "warning"),
        (postgres.durability(False, True, "on"), "failed"),
        (postgres.durability(True, True, "off"), "warning"),
        (postgres.durability(True, True, "remote_apply"), "ok"),
        (postgres.memory(16 << 20), "warning"),
        (postgres.memory(1 << 30), "ok"),
        (postgres.vacuum(False, 5), "warning"),
        (postgres.vacuum(True, 1_900_000_000), "warning"),
        (postgres.vacuum(True, 200_000_000), "ok"),
    ],
)
def test_how_a_server_is_set_up(finding: Finding, state: str) -> None:
    assert finding.state == state
    assert (finding.remedy is None) == (state == "ok")


@pytest.mark.parametrize(
    ("form", "installed", "available", "licence", "state"),
    [
        ("none", False, False, None, "ok"),
        ("apache", True, True, "apache", "ok"),
        ("community", True, True, "timescale", "ok"),
        (None, False, False, None, "failed"),
        ("community", True, True, "apache", "failed"),  # the wrong licence
        ("community", False, True, None, "failed"),  # the extension is gone
        ("apache", True, True, "timescale", "warning"),
        ("none", True, True, "apache", "warning"),
        ("none", False, True, None, "warning"),  # there, and not preloaded
    ],
)
def test_the_form_of_time_series(
    form: Any, installed: bool, available: bool, licence: str | None, state: str
) -> None:
    said = schema.series(form, installed=installed, available=available, licence=licence)

    assert said.state == state


def test_a_pooler_that_shares_sessions_is_seen(settings: Settings, servers: Servers) -> None:
    """A pooler gives each client a key of its own, which is no pid of the server's."""
    path = f"{servers.places.postgres_sockets}/.s.PGSQL.5432"

    class Pooler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                threading.Thread(target=self._back, args=(server,), daemon=True).start()
                while data := self.request.recv(65536):
                    server.sendall(data)
                server.shutdown(socket.SHUT_RDWR)

        def _back(self, server: socket.socket) -> None:
            while data := server.recv(65536):
                key = data.find(b"K\x00\x00\x00\x0c")
                if key >= 0:
                    data = data[: key + 5] + b"\x00\x00\x00\x07" + data[key + 9 :]
                self.request.sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Pooler) as pooler:
        threading.Thread(target=pooler.serve_forever, daemon=True).start()
        name = (settings.write_dsn or "").partition("?")[0].rpartition("/")[2]
        port = pooler.server_address[1]
        pooled = f"postgresql://mindstream_write@127.0.0.1:{port}/{name}?sslmode=disable"
        findings = list(postgres.databases(with_(settings, write_dsn=pooled)))
        pooler.shutdown()

    assert found(iter(findings), "write_dsn pooler").state == "warning"
    assert "read_dsn pooler" not in {each.check for each in findings}


# --- Stores


def test_redis_that_is_away_wants_a_password_or_throws_jobs_away(settings: Settings) -> None:
    away = with_(settings, redis_url=f"redis://127.0.0.1:{nowhere()}/0")
    url = settings.redis_url or ""
    stranger = with_(settings, redis_url=f"redis://{url.rpartition('@')[2]}")
    assert found(stores.redis_findings(away), "redis_url").state == "failed"
    assert "password" in found(stores.redis_findings(stranger), "redis_url").detail
    with redis.Redis.from_url(url, decode_responses=True) as client:
        before = client.config_get("maxmemory-policy")["maxmemory-policy"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            evicts = found(stores.redis_findings(settings), "redis memory")
        finally:
            client.config_set("maxmemory-policy", before)
    assert evicts.state == "warning"
    assert "jobs may be thrown away" in evicts.detail
    assert states(stores.redis_findings(settings)) == set()
    assert stores.eviction("noeviction", 95, 100).state == "warning"


def test_search_that_is_away_and_an_index_that_takes_nothing(settings: Settings) -> None:
    away = with_(settings, search_url=f"http://127.0.0.1:{nowhere()}")
    assert found(stores.search(away), "search_url").state == "failed"
    assert stores.cluster("green", []).state == "ok"
    assert stores.cluster("yellow", ["mindstream-journal_search"]).state == "failed"
    assert "rebuild" in (stores.cluster("red", []).remedy or "")


def test_files_that_cannot_be_kept(settings: Settings, tmp_path: Path) -> None:
    assert found(stores.files(settings), "files").state == "ok"
    (tmp_path / "objects").touch()
    assert found(stores.files(with_(settings, home=tmp_path)), "files").state == "failed"


def test_a_bucket_that_does_not_answer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    bucket = with_(
        settings,
        s3_bucket="attachments",
        s3_endpoint_url=f"http://127.0.0.1:{nowhere()}",
        s3_access_key_id="key",
        s3_secret_access_key="secret",
    )

    said = found(stores.files(bucket), "files")

    assert said.state == "failed"
    assert "PutObject" in (said.remedy or "")


def test_mail_that_nobody_takes_and_a_sender_that_is_spam(settings: Settings) -> None:
    away = with_(settings, smtp_url=f"smtp://user:hush@127.0.0.1:{nowhere()}")
    said = stores.mail(away)
    assert said.state == "failed"
    assert "hush" not in said.detail + (said.remedy or "")

    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Sink

    server = Controller(Sink(), hostname="127.0.0.1", port=nowhere())
    server.start()
    try:
        there = with_(settings, smtp_url=f"smtp://127.0.0.1:{server.port}")
        assert "spam" in (stores.mail(there).remedy or "")
        assert stores.mail(with_(there, mail_from="us@example.org")).state == "ok"
    finally:
        server.stop()


def test_a_gateway_that_is_away(settings: Settings) -> None:
    said = found(stores.gateway(f"http://127.0.0.1:{nowhere()}"), "gateway")

    assert said.state == "failed"


# --- What lies and waits


@pytest.fixture
def began(settings: Settings, empty_database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Two projections as a projector left them that works still."""
    with owning(empty_database) as connection:
        connection.execute(
            """
            INSERT INTO projection_checkpoints (name, partition, version, status, owner)
            VALUES ('journal.entries', 0, 1, 'live', 'here'), ('ops.audit', 0, 1, 'live', 'here')
            """
        )
        yield connection
        for table in ("projection_checkpoints", "operations", "projection_quarantine"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM projection_generations")


def test_that_no_projector_works_is_the_first_to_be_said(
    settings: Settings, began: psycopg.Connection[Any]
) -> None:
    began.execute("UPDATE projection_checkpoints SET heartbeat_at = now() - interval '1 hour'")
    assert "no projector works" in found(engine.engine(settings), "projections").detail
    began.execute("DELETE FROM projection_checkpoints")
    assert "ever" in found(engine.engine(settings), "projections").detail


def test_projections_that_stand_still_wait_or_ended(
    settings: Settings, began: psycopg.Connection[Any]
) -> None:
    began.execute("UPDATE projection_checkpoints SET paused = true WHERE name = 'ops.audit'")

    findings = list(engine.engine(settings))

    assert found(iter(findings), "projection ops.audit").state == "warning"
    # The views that nobody ever began.
    assert found(iter(findings), "projection journal.search").state == "failed"
    assert "projection journal.entries" not in {each.check for each in findings}


def test_a_stalled_projection_is_told_with_its_reason_or_who_blocks_it() -> None:
    stalled = SimpleNamespace(
        name="journal.entries",
        status="stalled",
        gap_events=7,
        blocked_by=None,
        error="OperationalError",
        gap_seconds=120.0,
        events_per_second=0.0,
    )
    said = engine.projection(stalled)  # type: ignore[arg-type]
    assert said is not None
    assert said.detail == "stalled, 7 events behind: OperationalError"
    stalled.blocked_by = [{"pid": 4711, "query": None, "since": None}]
    said = engine.projection(stalled)  # type: ignore[arg-type]
    assert said is not None
    assert "pg_terminate_backend(4711)" in (said.remedy or "")
    stalled.status = "catching_up"
    said = engine.projection(stalled)  # type: ignore[arg-type]
    assert said is not None
    assert said.state == "warning"


def test_a_reaction_that_stands_still() -> None:
    live = ReactionStatus(
        name="accounts.mail",
        status="live",
        position=5,
        head=5,
        gap_events=0,
        gap_seconds=0.0,
        began_at=0,
        owner="here",
        quarantined_streams=0,
        error=None,
    )
    for status, state in (("stopped", "failed"), ("stalled", "failed"), ("paused", "warning")):
        said = engine.reacting([live, msgspec.structs.replace(live, status=status)])
        assert found(said, "reaction accounts.mail").state == state
    assert found(engine.reacting([live]), "reactions").state == "ok"


def test_what_lies_in_quarantine_and_generations_that_nobody_needs(
    settings: Settings, began: psycopg.Connection[Any]
) -> None:
    began.execute(
        """
        INSERT INTO projection_quarantine (id, projection, stream_id, position, topic, error, state)
        VALUES (gen_random_uuid(), 'journal.entries', 'entry-1', 3, 'journal.EntryWritten.v1',
                'ValueError', 'parked')
        """
    )
    began.execute(
        """
        INSERT INTO projection_generations
            (name, generation, version, state, table_name, changed_at)
        VALUES ('journal.entries', 1, 1, 'kept', 'journal_entries', now() - interval '8 days'),
               ('ops.audit', 2, 1, 'building', 'ops_audit__g2', now() - interval '8 days')
        """
    )

    findings = list(engine.engine(settings))

    poisoned = found(iter(findings), "quarantine")
    assert "1 stream of journal.entries" in poisoned.detail
    assert "quarantine list --projection journal.entries" in (poisoned.remedy or "")
    old = [each.detail for each in findings if each.check == "generations"]
    assert "journal.entries generation 1" in old[0]
    assert "generation 2 of ops.audit grows" in old[1]


def test_operations_that_nobody_takes_and_those_that_last(
    settings: Settings, began: psycopg.Connection[Any]
) -> None:
    began.execute(
        """
        INSERT INTO operations (id, kind, user_id, tenant_id, correlation_id, state, created_at)
        VALUES (gen_random_uuid(), 'accounts.export', gen_random_uuid(), gen_random_uuid(), 'c',
                'pending', now() - interval '5 minutes')
        """
    )
    assert "wait for a worker" in found(engine.engine(settings), "operations").detail

    assert "failed operations" not in {each.check for each in engine.engine(settings)}
    began.execute(
        """
        INSERT INTO operations (id, kind, user_id, tenant_id, correlation_id, state, error,
                                created_at)
        SELECT gen_random_uuid(), 'projection.rebuild', gen_random_uuid(), gen_random_uuid(), 'c',
               'failed', json_build_object('code', code, 'message', 'it says why'), now()
        FROM unnest(ARRAY['POISON_MET', 'DIFFERENCES']) AS code
        """
    )
    failed = found(engine.engine(settings), "failed operations")
    assert failed.detail.startswith("1 failed"), "who asked for the other one has its answer"
    assert "(POISON_MET): it says why" in failed.detail

    long = engine.Waiting("id", "projection.rebuild", "ops.audit", "running", 7200.0, False)
    assert "2.0 h" in found(engine.operations([long]), "operations").detail
    orphan = msgspec.structs.replace(long, seconds=90.0, stranded=True)
    assert "worker is gone" in found(engine.operations([orphan]), "operations").detail
    assert found(engine.operations([]), "operations").state == "ok"
