"""One total order: whatever commits late, rolls back or idles, a tailing reader misses nothing."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.event_store.mapper import encode
from adapters.event_store.recorder import _APPEND
from adapters.event_store.source import PostgresSource
from tests.support.diary_view import NoteWritten
from tests.support.servers import Database, Servers
from tests.support.waiting import eventually

APPENDERS = 32
EACH = 12
TOPICS = [NoteWritten.TOPIC]


def append(connection: psycopg.Connection[Any], count: int) -> None:
    """Call the append function with so many events of a new stream, in the open transaction."""
    note = uuid7()
    columns: tuple[Any, ...] = (
        [1] * count,
        [f"engine.note-{note}"] * count,
        list(range(1, count + 1)),
        TOPICS * count,
        [uuid7() for _ in range(count)],
        [encode(NoteWritten(note_id=note, user_id=UUID(int=1), body=""))] * count,
        [UUID(int=1)] * count,
        ["test"] * count,
        [None] * count,
        ["system:test"] * count,
        [None] * count,
        [datetime.now(UTC)] * count,
    )
    connection.execute(_APPEND, columns)


def appender(dsn: str, seed: int, committed: list[int], lock: threading.Lock) -> None:
    """Append again and again; some transactions dawdle after they drew positions, some fail."""
    dice = random.Random(seed)
    with psycopg.connect(dsn) as connection:
        for _ in range(EACH):
            count = dice.randint(1, 4)
            append(connection, count)
            if dice.random() < 0.4:
                connection.execute("SELECT pg_sleep(%s)", (dice.random() * 0.02,))
            if dice.random() < 0.25:
                connection.rollback()
                continue
            connection.commit()
            with lock:
                committed.append(count)


@pytest.mark.faults
def test_a_tailing_reader_misses_nothing_and_never_stalls(
    empty_database: Database, servers: Servers
) -> None:
    committed: list[int] = []
    lock = threading.Lock()
    idle_here = psycopg.connect(empty_database.write_dsn)
    idle_here.execute("SELECT pg_current_xact_id(), count(*) FROM events")
    other = servers.empty_database()
    idle_there = psycopg.connect(servers.postgres.dsn(database=other))
    idle_there.execute("CREATE TABLE held (x integer)")

    seen: list[int] = []
    source = PostgresSource(empty_database.write_dsn)
    done = threading.Event()

    def tail() -> None:
        position = 0
        while not (done.is_set() and position >= source.head()):
            head = source.head()
            page = source.page(position, head, 7, TOPICS)
            seen.extend(event.position for event in page)
            position = page[-1].position if len(page) == 7 else head

    reader = threading.Thread(target=tail)
    reader.start()
    threads = [
        threading.Thread(target=appender, args=(empty_database.write_dsn, seed, committed, lock))
        for seed in range(APPENDERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    eventually(lambda: not reader.is_alive(), within=10)
    assert seen == list(range(1, sum(committed) + 1))
    source.close()
    idle_here.close()
    idle_there.close()
    servers.drop_database(other)
