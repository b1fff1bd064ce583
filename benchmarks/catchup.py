"""Catching up with 200,000 events: the engine on the entry list against the library's runner.

Both fold the same entries into a table with one row each. The engine commits without waiting for
the disk by default, since what it loses it folds again; here it waits, as the library does.
"""

from __future__ import annotations

import itertools
import time
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent
from uuid_utils.compat import uuid7

from adapters.event_store.mapper import Ciphers, encode, seal
from adapters.event_store.recorder import PostgresRecorder, open_pool
from adapters.event_store.source import PostgresSource
from benchmarks import material
from benchmarks.measure import interleave, medians
from benchmarks.peers import library
from benchmarks.report import Row, at_least
from benchmarks.servers import Bench, Database, Unready, wait_until
from bootstrap.wiring.keys import subject_keys_of
from domain.journal.entry import Entry, stream_of
from projections.engine.checkpoints import Connection
from projections.engine.runner import Runner
from projections.journal.entries import Entries

EVENTS = 200_000
PEER_EVENTS = 10_000
"""The library folds the first so many of the same events; its speed does not change with more."""
USERS = 200
BATCH = 1_000
PEER_BATCH = 100
"""Events in one insertion by the library, which hangs on a parameter of near a megabyte."""
ROUNDS = 5


class Durable(Runner):
    """The engine's runner, made to wait for the disk at each commit."""

    def _connect(self) -> Connection:
        connection = super()._connect()
        connection.execute("SET synchronous_commit = on")
        return connection


def run(bench: Bench) -> list[Row]:
    """Compare; one row."""
    ours = bench.migrated("catchup_ours")
    theirs = bench.empty("catchup_library")
    users = material.people(USERS)
    bench.tell(f"writing {EVENTS:,} events")
    fill(bench, ours, users, EVENTS)
    _fill_library(theirs, users)
    bench.settle(ours)
    bench.settle(theirs)

    def engine() -> float:
        return catch_up(bench, ours)

    def runner() -> float:
        return _run_library(bench, theirs)

    figures = interleave({"ours": engine, "theirs": runner}, rounds=ROUNDS, tell=bench.tell)
    bench.drop(ours)
    bench.drop(theirs)
    return [
        at_least(
            50,
            "catchup",
            f"Catch-up of the entry list from {EVENTS // 1000}k events, one process",
            "/s",
            figures,
            medians(figures),
            "ProjectionRunner",
            note=f"both wait for the disk at each commit; the library folds the first "
            f"{PEER_EVENTS:,} of the same events",
        )
    ]


def fill(
    bench: Bench, database: Database, users: list[UUID], count: int, *, sealing: bool = True
) -> None:
    """Append so many entries, in large commits and without claims, which no view reads."""
    keys = subject_keys_of(bench.settings(database))
    pool = open_pool(database.write, role="mindstream_write", size=1)
    with pool:
        with pool.connection() as connection:
            keys.load_by(connection, [user.bytes for user in users], make=True)
        recorder = PostgresRecorder(pool)
        pages = itertools.islice(material.pages(users), count)
        ciphers = keys.ciphers if sealing else None
        while batch := [
            _stored(user, day, ciphers) for user, day in itertools.islice(pages, BATCH)
        ]:
            recorder.insert_events(batch)


def catch_up(bench: Bench, database: Database) -> float:
    """Fold everything from the beginning in this process; events a second."""
    with psycopg.connect(database.owner, autocommit=True) as connection:
        connection.execute("TRUNCATE journal_entries, projection_checkpoints")
    bench.settle(database)
    source = PostgresSource(database.project, keys=subject_keys_of(bench.settings(database)))
    runner = Durable(database.project, source, [Entries()])
    started = time.perf_counter()
    runner.catch_up()
    seconds = time.perf_counter() - started
    source.close()
    with psycopg.connect(database.owner) as connection:
        [rows] = connection.execute("SELECT count(*) FROM journal_entries").fetchone() or (0,)
    if rows != EVENTS:
        raise Unready(f"{EVENTS} entries were written, the list has {rows}")
    return EVENTS / seconds


def _stored(user: UUID, day: int, ciphers: Ciphers | None) -> StoredEvent:
    entry_id = uuid7()
    event = Entry.write(entry_id, user, material.draft(day))
    stream = stream_of(entry_id)
    data = encode(event) if ciphers is None else seal(event, stream, 1, ciphers)
    return StoredEvent(stream, 1, event.TOPIC, data)


def _fill_library(database: Database, users: list[UUID]) -> None:
    journal = library.Journal(library.environment(database.owner))
    try:
        pages = itertools.islice(material.pages(users), PEER_EVENTS)
        while batch := list(itertools.islice(pages, PEER_BATCH)):
            events = [
                event for user, day in batch for event in library.entry(user, day).collect_events()
            ]
            journal.recorder.insert_events(list(map(journal.mapper.to_stored_event, events)))
    finally:
        journal.close()


def _run_library(bench: Bench, database: Database) -> float:
    with psycopg.connect(database.owner, autocommit=True) as connection:
        found = connection.execute(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'public' AND tablename <> 'journal_events'"
        ).fetchone()
        if found is not None and found[0]:
            connection.execute(f"DROP TABLE {found[0]} CASCADE")
    bench.settle(database)
    started = time.perf_counter()
    with library.runner(database.owner) as runner:

        def there() -> bool:
            if runner.is_interrupted.is_set():
                raise Unready("the library's runner has stopped")  # its error comes on leaving
            return (runner.view.max_tracking_id(runner.app_name) or 0) >= PEER_EVENTS

        # The runner's own wait looks up to 0.8 s apart, which would count against it.
        wait_until(there, what="the library's list has every entry", seconds=120)
        seconds = time.perf_counter() - started
    with psycopg.connect(database.owner) as connection:
        [rows] = connection.execute("SELECT count(*) FROM peer_entries").fetchone() or (0,)
    if rows != PEER_EVENTS:
        raise Unready(f"{PEER_EVENTS} entries were written, the library's list has {rows}")
    return PEER_EVENTS / seconds
