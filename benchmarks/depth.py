"""Append when there are many events already, against the same when there are few.

The store is filled with entries of many people, claims included, and the commands that are timed
are those people's next days, the same for all of them, as it is when people write of today. Each
of them has written before the time is taken: a process looks up a person's data key once, which is
no matter of depth.
"""

from __future__ import annotations

import itertools
import time
from uuid import UUID

import psycopg

from adapters.event_store.mapper import encode
from benchmarks import material
from benchmarks.append import commands
from benchmarks.measure import interleave, medians
from benchmarks.report import Row, no_slower
from benchmarks.servers import Bench, Database
from benchmarks.store import OpenStore
from commands.journal import DAY
from domain.journal.entry import Entry

FEW, MANY, FULL = 10_000, 200_000, 5_000_000
DAYS = 1_000
"""Entries of each person."""
COMMANDS = 8_000
WARM_UP = 1_000
ROUNDS = 9
BATCH = 100_000

FILL = """
WITH entries AS MATERIALIZED (
    SELECT n, 'journal.entry-' || uuidv7() AS stream,
           (%(users)s::uuid[])[1 + n %% cardinality(%(users)s::uuid[])] AS user_id,
           date '0001-01-01' + n / cardinality(%(users)s::uuid[]) AS day
    FROM generate_series(%(first)s::int, %(last)s::int) AS n
), events AS (
    INSERT INTO events (position, stream_id, stream_version, topic, tenant_id, event_id,
                        correlation_id, actor, recorded_at, data)
    SELECT n + 1, stream, 1, %(topic)s, user_id, uuidv7(), 'req_' || md5(n::text),
           'user:' || user_id, now(), %(data)s
    FROM entries
)
INSERT INTO claims (kind, key, holder)
SELECT %(kind)s, day || '/' || user_id, stream FROM entries
"""


def run(bench: Bench) -> list[Row]:
    """Compare; one row."""
    many = FULL if bench.full else MANY
    few_users = material.people(FEW // DAYS)
    many_users = material.people(many // DAYS)
    shallow, deep = bench.migrated("depth_few"), bench.migrated("depth_many")
    bench.tell(f"writing {FEW:,} and {many:,} events")
    fill(bench, shallow, few_users, FEW)
    fill(bench, deep, many_users, many)
    numbers = itertools.count()
    days = itertools.count(DAYS, (COMMANDS + _warm_up(many_users)) // len(many_users) + 2)

    def at_many() -> float:
        return _append(bench, deep, many_users, next(days))

    def at_few() -> float:
        # Each run on a copy: after one on the original there would be twice as many.
        copy = bench.migrated(f"depth_few_{next(numbers)}", like=shallow.name)
        try:
            return _append(bench, copy, few_users, DAYS)
        finally:
            bench.drop(copy)

    figures = interleave({"ours": at_many, "theirs": at_few}, rounds=ROUNDS, tell=bench.tell)
    bench.drop(shallow)
    bench.drop(deep)
    return [
        no_slower(
            1.3,
            "depth",
            f"Append at {many:,} events against {FEW:,}",
            "µs",
            figures,
            medians(figures),
            f"ours, at {FEW:,}",
            note="time for each of 64 concurrent commands"
            + (
                "" if bench.full else f"; the bar is meant for {FULL:,}, which only --full measures"
            ),
        )
    ]


def fill(bench: Bench, database: Database, users: list[UUID], count: int) -> None:
    """Write entries straight into the tables, as appending them would have left them."""
    event = Entry.write(users[0], users[0], material.draft(0))
    with psycopg.connect(database.owner, autocommit=True) as connection:
        for first in range(0, count, BATCH):
            connection.execute(
                FILL,
                {
                    "users": users,
                    "first": first,
                    "last": min(first + BATCH, count) - 1,
                    "topic": event.TOPIC,
                    "data": encode(event),
                    "kind": DAY,
                },
            )
            if first and first % (10 * BATCH) == 0:
                bench.tell(f"{first:,} written")
    bench.settle(database)


def _append(bench: Bench, database: Database, users: list[UUID], first_day: int) -> float:
    """Microseconds for each command."""
    pages = ((user, first_day + day) for user, day in material.pages(users))
    with OpenStore(bench.settings(database)) as store:
        store.run(commands(store, pages, seconds=60, at_most=_warm_up(users)))
        started = time.perf_counter()
        store.run(commands(store, pages, seconds=60, at_most=COMMANDS))
        return (time.perf_counter() - started) / COMMANDS * 1e6


def _warm_up(users: list[UUID]) -> int:
    """Commands before those that are timed."""
    return max(WARM_UP, len(users))
