"""What sealing costs: appends and a catch-up, against the same with events in the clear.

The clear side is the product with its sealing left out, and differs by nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from uuid import UUID

from uuid_utils.compat import uuid7

from adapters.event_store.mapper import Origin, encode
from adapters.event_store.store import PostgresEventStore
from benchmarks import material
from benchmarks.append import CONCURRENCY, commands
from benchmarks.catchup import EVENTS, USERS, catch_up, fill
from benchmarks.measure import interleave, medians
from benchmarks.report import Row, no_slower
from benchmarks.servers import Bench
from benchmarks.store import OpenStore
from commands.ports import Append

BAR = 1.35
SECONDS = 3.0
ROUNDS = 5


class Clear(PostgresEventStore):
    """A store that seals nothing."""

    def _sealed(
        self, appends: Iterable[Append], origin: Origin | None
    ) -> list[tuple[str, int, str, UUID, bytes]]:
        return [
            (one.stream_id, version, event.TOPIC, uuid7(), encode(event))
            for one in appends
            for version, event in enumerate(one.events, one.expected_version + 1)
        ]


def run(bench: Bench) -> list[Row]:
    """Compare; two rows."""
    return [_append(bench), _catch_up(bench)]


def _append(bench: Bench) -> Row:
    sealed, clear = bench.migrated("sealing_append"), bench.migrated("sealing_append_clear")
    users = material.people(CONCURRENCY)
    cpu: dict[str, list[float]] = {"ours": [], "theirs": []}
    with (
        OpenStore(bench.settings(sealed)) as ours,
        OpenStore(bench.settings(clear), Clear) as theirs,
    ):
        pages = material.pages(users)

        def measure(side: str, store: OpenStore) -> float:
            before, began = store.appended, time.process_time()
            rate = store.run(commands(store, pages, seconds=SECONDS))
            cpu[side].append((time.process_time() - began) / (store.appended - before) * 1e6)
            return 1e6 / rate

        for store in (ours, theirs):
            store.run(commands(store, pages, seconds=0.5))
        figures = interleave(
            {"ours": lambda: measure("ours", ours), "theirs": lambda: measure("theirs", theirs)},
            rounds=ROUNDS,
            tell=bench.tell,
        )
    bench.drop(sealed)
    bench.drop(clear)
    spent = medians(cpu)
    return no_slower(
        BAR,
        "sealing",
        f"Append sealed events, {CONCURRENCY} concurrent commands",
        "µs",
        figures,
        medians(figures),
        "ours, in the clear",
        note="time for each command; the process itself spends "
        f"{spent['ours']:.1f} against {spent['theirs']:.1f} µs",
    )


def _catch_up(bench: Bench) -> Row:
    sealed, clear = bench.migrated("sealing_read"), bench.migrated("sealing_read_clear")
    users = material.people(USERS)
    bench.tell(f"writing {EVENTS:,} events twice")
    fill(bench, sealed, users, EVENTS)
    fill(bench, clear, users, EVENTS, sealing=False)
    for database in (sealed, clear):
        bench.settle(database)
    cpu: dict[str, list[float]] = {"ours": [], "theirs": []}
    sides = {"ours": sealed, "theirs": clear}

    def measure(side: str) -> float:
        began = time.process_time()
        rate = catch_up(bench, sides[side])
        cpu[side].append((time.process_time() - began) / EVENTS * 1e6)
        return 1e6 / rate

    figures = interleave(
        {"ours": lambda: measure("ours"), "theirs": lambda: measure("theirs")},
        rounds=ROUNDS,
        tell=bench.tell,
    )
    for database in sides.values():
        bench.drop(database)
    spent = medians(cpu)
    return no_slower(
        BAR,
        "sealing",
        f"Catch-up of the entry list from {EVENTS // 1000}k sealed events",
        "µs",
        figures,
        medians(figures),
        "ours, in the clear",
        note="time for each event; the process itself spends "
        f"{spent['ours']:.1f} against {spent['theirs']:.1f} µs",
    )
