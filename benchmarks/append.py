"""Durable appends in process: 64 concurrent commands against the library's 8 saving threads.

A command is what a POST dispatches: ``WriteEntry`` through the bus, its day claimed in the same
transaction. The library's save has no such rule to keep, and is not asked to.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from benchmarks import material
from benchmarks.measure import interleave, medians
from benchmarks.peers import library
from benchmarks.report import Row, at_least
from benchmarks.servers import Bench, Unready
from benchmarks.store import OpenStore
from commands.journal import WriteEntry

CONCURRENCY = 64
THREADS = 8
SECONDS = 4.0
ROUNDS = 5


def run(bench: Bench) -> list[Row]:
    """Compare; one row."""
    ours = bench.migrated("append_ours")
    theirs = bench.empty("append_library")
    users = material.people(CONCURRENCY)
    journal = library.Journal(library.environment(theirs.owner))
    try:
        with OpenStore(bench.settings(ours)) as store:
            pages = material.pages(users)
            store.run(commands(store, pages, seconds=0.5))
            _save(journal, seconds=0.5)

            def append() -> float:
                return store.run(commands(store, pages, seconds=SECONDS))

            def save() -> float:
                return _save(journal, seconds=SECONDS)

            figures = interleave({"ours": append, "theirs": save}, rounds=ROUNDS, tell=bench.tell)
            _check(ours.owner, store.appended)
    finally:
        journal.close()
    bench.drop(theirs)
    bench.drop(ours)
    return [
        at_least(
            10,
            "append",
            f"Append, {CONCURRENCY} concurrent commands, in process",
            "/s",
            figures,
            medians(figures),
            f"Application.save, {THREADS} threads",
            note="each command claims its day as well; the library has no such rule to keep",
        )
    ]


async def commands(
    store: OpenStore, pages: Iterator[tuple[UUID, int]], *, seconds: float, at_most: int = 1 << 62
) -> float:
    """Write entries from 64 tasks for a time, or until there are enough; commands a second."""
    started = time.perf_counter()
    deadline = started + seconds
    numbers = itertools.count()
    done = 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < deadline and next(numbers) < at_most:
            user, day = next(pages)
            command = WriteEntry(uuid7(), material.draft(day))
            await store.bus.dispatch(command, material.context(user))
            done += 1

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    store.appended += done
    return done / (time.perf_counter() - started)


def _save(journal: library.Journal, *, seconds: float) -> float:
    before = journal.recorder.max_notification_id() or 0
    user = uuid7()
    counts = [0] * THREADS
    started = time.perf_counter()
    deadline = started + seconds

    def work(number: int) -> None:
        for day in itertools.count():
            if time.perf_counter() >= deadline:
                return
            journal.save(library.entry(user, day))
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    stored = (journal.recorder.max_notification_id() or 0) - before
    if stored != sum(counts):
        raise Unready(f"the library saved {sum(counts)} entries and stored {stored}")
    return stored / elapsed


def _check(dsn: str, expected: int) -> None:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*), max(position) FROM events").fetchone()
    if row != (expected, expected):
        raise Unready(f"{expected} commands were acknowledged, events and head are {row}")
