"""A store goes through an archive into a fresh store and is the same; claims included."""

from __future__ import annotations

import datetime
import random
import stat
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

import commands.journal_import  # noqa: F401  registers its handler
from adapters.archive import store as archive
from adapters.archive.keys import OtherMasterKey
from adapters.archive.lines import Damaged
from adapters.event_store.source import PostgresSource
from adapters.event_store.store import PostgresEventStore
from adapters.event_store.subject_keys import SubjectKeys
from adapters.postgres.pipeline import Pipeline
from adapters.sealing import Sealer
from commands.accounts import RegisterPerson, RevisePerson
from commands.bus import Bus
from commands.journal import DeleteEntry, RestoreEntry, ReviseEntry, WriteEntry
from commands.ports import Context
from domain.accounts.profile import Changes as ProfileChanges
from domain.errors import DomainError
from domain.journal.entry import Changes, Draft
from projections.engine.runner import Runner
from projections.journal.days import Days
from projections.journal.entries import Entries
from tests.support.servers import Database, Servers

EVENTS = "SELECT * FROM events ORDER BY position"
CLAIMS = "SELECT kind, key, holder FROM claims ORDER BY kind, key"
KEYS = "SELECT * FROM subject_keys ORDER BY subject_id"
FIRST = datetime.date(2026, 1, 1)


def keys_of(master_key: bytes = bytes(32)) -> SubjectKeys:
    return SubjectKeys(Sealer(master_key))


def rows(database: Database, query: str) -> list[Any]:
    with psycopg.connect(database.owner_dsn) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
async def filled(database: Database, anyio_backend: str) -> Database:
    """Thousands of events by the real handlers: people, names, days that are taken and freed."""
    draw = random.Random(7)  # the same history every time
    reads = Pipeline(database.write_dsn, role="mindstream_write")
    writes = Pipeline(database.write_dsn, role="mindstream_write")
    await reads.open()
    await writes.open()
    bus = Bus(PostgresEventStore(reads, writes, Sealer(bytes(32)), lambda _: None))
    for person in range(6):
        user_id = uuid7()

        async def do(command: Any, user_id: Any = user_id) -> Any:
            context = Context(
                user_id=user_id, tenant_id=user_id, actor=f"user:{user_id}",
                now=datetime.datetime.now(datetime.UTC), correlation_id=f"req_{draw.random()}",
            )  # fmt: skip
            try:
                return (await bus.dispatch(command, context)).result
            except DomainError:
                return None

        email = f"Person{person}@Example.org"
        await do(RegisterPerson(email=email, display_name="P", username=f"p{person}", terms=None))
        for name in (f"q{person}", f"p{(person + 1) % 6}", f"Q{person}", None):
            if draw.random() < 0.7:
                await do(RevisePerson(None, ProfileChanges(username=name)))
        entries: list[Any] = []
        for _ in range(500):
            date = FIRST + datetime.timedelta(draw.randrange(30))
            what = draw.random()
            if what < 0.4 or not entries:
                command: Any = WriteEntry(uuid7(), Draft(date=date, title="t", content="c é"))
            elif what < 0.6:
                command = ReviseEntry(
                    draw.choice(entries), None, Changes(date=date, title=str(what))
                )
            elif what < 0.85:
                command = DeleteEntry(draw.choice(entries), None)
            else:
                command = RestoreEntry(draw.choice(entries))
            entry = await do(command)
            if entry is not None and entry.entry_id not in entries:
                entries.append(entry.entry_id)
    await reads.close()
    await writes.close()
    return database


@pytest.fixture
def fresh(servers: Servers) -> Any:
    made = servers.fresh_database()
    yield made
    servers.drop_database(made.name)


@pytest.mark.anyio
@pytest.mark.parametrize("zstd", [False, True])
async def test_a_store_goes_round(
    filled: Database, fresh: Database, tmp_path: Path, zstd: bool
) -> None:
    path = tmp_path / "events.jsonl"
    told: list[tuple[int, int]] = []
    keys = tmp_path / "keys.jsonl"
    done = archive.export(
        filled.write_dsn,
        path,
        keys=keys,
        zstd=zstd,
        tell=lambda done, of: told.append((done, of)),
    )
    assert done.keys == 6
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    before = rows(filled, EVENTS)
    assert done.events == len(before) > 1000
    assert told[-1] == (done.events, done.events)

    with psycopg.connect(fresh.project_dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO reactions (name, position, began_at) VALUES ('a', 0, 0)")

    restored = archive.restore(fresh.write_dsn, path, keys_of(), keys=keys)

    # What was brought in is not news: no reaction does anything because of it.
    assert rows(fresh, "SELECT position FROM reactions") == [(done.events,)]
    assert (restored.keys, restored.closed) == (6, 0)
    assert rows(fresh, KEYS) == rows(filled, KEYS)
    assert (restored.events, restored.checksum) == (done.events, done.checksum)
    assert restored.unreadable == 0
    assert rows(fresh, EVENTS) == before
    claims = rows(filled, CLAIMS)
    assert rows(fresh, CLAIMS) == claims
    assert {kind for kind, _, _ in claims} == {"accounts.email", "accounts.username", "journal.day"}

    views = [Entries(), Days()]
    contents = []
    for database in (filled, fresh):
        source = PostgresSource(database.project_dsn, keys=keys_of())
        runner = Runner(database.project_dsn, source, views)
        runner.catch_up()
        runner.close()
        contents.append([rows(database, f"SELECT * FROM {v.table} ORDER BY 1") for v in views])
    assert contents[0] == contents[1]


@pytest.mark.anyio
async def test_nothing_is_written_unless_all_is_whole(
    filled: Database, fresh: Database, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    archive.export(filled.write_dsn, path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    lines = whole.splitlines(keepends=True)
    for damaged in (
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"".join(lines[:500] + lines[501:]),
        whole[:middle],
        b"".join(lines[:-1]),
    ):
        path.write_bytes(damaged)
        with pytest.raises(Damaged):
            archive.restore(fresh.write_dsn, path)
        assert rows(fresh, EVENTS) == rows(fresh, CLAIMS) == []


@pytest.mark.anyio
async def test_a_store_with_events_is_left_alone(filled: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    archive.export(filled.write_dsn, path)
    before = rows(filled, EVENTS)
    with pytest.raises(archive.NotEmpty):
        archive.restore(filled.write_dsn, path)
    assert rows(filled, EVENTS) == before


@pytest.mark.anyio
async def test_a_broken_event_is_carried_along(
    filled: Database, fresh: Database, tmp_path: Path
) -> None:
    """Somebody's poison is the history, too; only what it claimed cannot be told."""
    path, again = tmp_path / "events.jsonl", tmp_path / "again.jsonl"
    archive.export(filled.write_dsn, path)
    archive.restore(fresh.write_dsn, path)
    with psycopg.connect(fresh.owner_dsn, autocommit=True) as connection:
        connection.execute("UPDATE events SET data = '\\x6e6f0aff' WHERE position = 100")
        stream = rows(fresh, "SELECT stream_id FROM events WHERE position = 100")[0][0]
    archive.export(fresh.write_dsn, again)
    before = rows(fresh, EVENTS)
    with psycopg.connect(fresh.owner_dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE events, claims, subject_keys")
    restored = archive.restore(fresh.write_dsn, again)
    assert restored.unreadable == 1
    assert rows(fresh, EVENTS) == before
    assert stream not in {holder for _, _, holder in rows(fresh, CLAIMS)}


@pytest.mark.anyio
async def test_without_its_keys_an_archive_stays_closed(
    filled: Database, fresh: Database, tmp_path: Path
) -> None:
    """Nobody can be given another key for what is sealed, and nobody's address is known."""
    path = tmp_path / "events.jsonl"
    archive.export(filled.write_dsn, path)
    assert b"Example.org" not in path.read_bytes()
    restored = archive.restore(fresh.write_dsn, path)
    assert (restored.keys, restored.closed, restored.unreadable) == (0, 6, 0)
    assert rows(fresh, EVENTS) == rows(filled, EVENTS)
    assert rows(fresh, CLAIMS) == []
    assert rows(fresh, "SELECT count(*) FROM subject_keys WHERE erased_at IS NULL") == [(0,)]
    runner = Runner(
        fresh.project_dsn, PostgresSource(fresh.project_dsn, keys=keys_of()), [Entries()]
    )
    runner.catch_up()
    runner.close()
    assert rows(fresh, "SELECT count(*) FROM projection_quarantine") == [(0,)]
    assert rows(fresh, "SELECT DISTINCT document::json->>'title' FROM journal_entries") == [("",)]


@pytest.mark.anyio
async def test_who_was_erased_stays_erased(
    filled: Database, fresh: Database, tmp_path: Path
) -> None:
    path, keys, again = tmp_path / "e", tmp_path / "k", tmp_path / "k2"
    archive.export(filled.write_dsn, path, keys=keys)
    archive.restore(fresh.write_dsn, path, keys_of(), keys=keys)
    with psycopg.connect(fresh.owner_dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE subject_keys SET wrapped = NULL, master_generation = NULL, erased_at = now()"
            " WHERE subject_id = (SELECT min(subject_id::text)::uuid FROM subject_keys)"
        )
    archive.export(fresh.write_dsn, path, keys=again)
    kept = rows(fresh, KEYS)
    with psycopg.connect(fresh.owner_dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE events, claims, subject_keys")
    restored = archive.restore(fresh.write_dsn, path, keys_of(), keys=again)
    assert (restored.keys, restored.closed) == (5, 1)
    assert rows(fresh, KEYS) == kept
    erased = next(row[0] for row in kept if row[1] is None)
    left = rows(fresh, CLAIMS)
    assert len([row for row in left if row[0] == "accounts.email"]) == 5
    assert left == [
        row
        for row in rows(filled, CLAIMS)
        if str(erased) not in row[1] and str(erased) not in row[2]
    ]


@pytest.mark.anyio
async def test_keys_of_another_master_key_or_a_changed_key_file_are_refused(
    filled: Database, fresh: Database, tmp_path: Path
) -> None:
    path, keys = tmp_path / "events.jsonl", tmp_path / "keys.jsonl"
    archive.export(filled.write_dsn, path, keys=keys)
    with pytest.raises(OtherMasterKey):
        archive.restore(fresh.write_dsn, path, keys_of(b"x" * 32), keys=keys)
    whole = keys.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (
        whole[:-10],
        b"".join(lines[1:]),
        b"".join(lines[:-1]),
        whole + lines[0],
        whole.replace(b'"wrapped":"', b'"wrapped":"A', 1),
        b"",
    ):
        keys.write_bytes(damaged)
        with pytest.raises(Damaged):
            archive.restore(fresh.write_dsn, path, keys_of(), keys=keys)
    assert rows(fresh, EVENTS) == rows(fresh, KEYS) == []


def test_every_kind_of_claim_can_be_made_anew() -> None:
    """Whatever a handler claims is among what ``commands.claims`` knows."""
    import ast

    import commands.claims

    known = {"DAY", "EMAIL", "USERNAME"}
    folder = Path(commands.claims.__file__).parent
    kinds = set()
    for module in folder.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Claim":
                kinds.add(ast.unparse(node.args[0]))
    assert kinds == known
    assert msgspec.structs.fields(commands.claims.Turn)
