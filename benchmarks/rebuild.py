"""Rebuilds of a million events, alone and together, and a peer from another ecosystem.

A rebuild is measured whole: from the call to the swap, the processes' start, the indexes and the
comparison with the live rows included. Emmett folds and appends the same entries on the same
PostgreSQL; both wait for the disk at each commit.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from adapters.event_store.source import PostgresSource
from benchmarks import append, catchup, material
from benchmarks.measure import interleave, medians
from benchmarks.peers import emmett
from benchmarks.report import Row, at_least, at_most, no_slower
from benchmarks.servers import Bench, Database, Unready
from benchmarks.store import OpenStore
from bootstrap.wiring.keys import subject_keys_of
from domain.event import topics_of
from projections.engine.growing import Sources
from projections.engine.pages import PAGE
from projections.engine.rebuild import Options, Progress, Report, Signal, Wish, rebuild_together
from projections.engine.rebuild import rebuild as engine_rebuild
from projections.engine.runner import Runner
from projections.engine.view import RowView
from projections.journal.days import Days
from projections.journal.entries import Entries
from projections.journal.tags import Tags

EVENTS = 1_000_000
USERS = 1_000
ROUNDS = 3
PEER_EVENTS = 20_000
"""Emmett folds so many; its speed does not change with more."""
PEER_ROUNDS = 3
PEER_BATCH = 1_000
"""Events in one of its batches; its default of 100 is slower."""
PEER_SECONDS = 4.0
JOURNAL: tuple[RowView[Any], ...] = (Entries(), Days(), Tags())


def run(bench: Bench) -> list[Row]:
    """Compare; the rows of rebuilding, and those beside Emmett where it can be had."""
    rows = rebuilds(bench)
    try:
        peer = emmett.installed(bench.places.home / "emmett")
    except emmett.NotHere as why:
        bench.skip("Emmett", str(why))
        return rows
    return [*rows, *beside(bench, peer)]


def rebuilds(bench: Bench) -> list[Row]:
    """Rebuilds of the journal's views, each alone and all together."""
    database = bench.migrated("rebuild")
    bench.tell(f"writing {EVENTS:,} events")
    catchup.fill(bench, database, material.people(USERS), EVENTS)
    runner = Runner(database.project, _sources(bench, database)(), JOURNAL)
    runner.catch_up()
    runner.close()
    memory = Memory()
    sides: dict[str, Callable[[], float]] = {"loop": partial(_read, bench, database)}
    for view in JOURNAL:
        sides[view.name] = partial(_alone, bench, database, view, memory.heed)
    sides["together"] = partial(_together, bench, database, memory.heed)
    sides["one process"] = partial(_alone, bench, database, Entries(), parts=1)
    figures = interleave(sides, rounds=ROUNDS, tell=bench.tell)
    bench.drop(database)
    size = f"{EVENTS / 1e6:g}M"
    speeds = {name: [EVENTS / seconds for seconds in found] for name, found in figures.items()}
    entries = speeds["journal.entries"]
    whole = {"ours": entries, "theirs": speeds["loop"]}
    parallel = {"ours": entries, "theirs": speeds["one process"]}
    sums = [sum(each) for each in zip(*(figures[view.name] for view in JOURNAL), strict=True)]
    together = {"ours": figures["together"], "theirs": sums}
    return [
        at_least(
            0.4,
            "rebuild",
            f"Rebuild of {size} events of the entry list, all cores",
            "/s",
            whole,
            medians(whole),
            "one core that only reads and decodes",
            per_cent=True,
            note="from the call to the swap: start, indexes and comparison included",
        ),
        no_slower(
            0.6,
            "rebuild",
            "All journal projections together",
            "s",
            together,
            medians(together),
            "the sum of their times alone",
            note="the same three views: entries, days, tags",
        ),
        at_least(
            1.2,
            "rebuild",
            f"Parallel rebuild of {size} events",
            "/s",
            parallel,
            medians(parallel),
            "one process",
        ),
        at_most(
            300,
            "rebuild",
            f"Memory of a rebuild's process at {size} events",
            "MB",
            memory.most,
            note=f"{memory.early:.0f} MB at the most before a tenth was done",
        ),
    ]


def beside(bench: Bench, peer: emmett.Emmett) -> list[Row]:
    """Catch-up and appends, beside Emmett's."""
    ours, theirs = bench.migrated("rebuild_ours"), bench.empty("rebuild_emmett")
    users = material.people(append.CONCURRENCY)
    catchup.fill(bench, ours, users, PEER_EVENTS)
    peer("prepare", theirs.owner)
    entry = material.fields(0)
    asked = {"users": [str(user) for user in users], "entry": entry}
    bench.tell(f"Emmett writes {PEER_EVENTS:,} events")
    stored = peer("append", theirs.owner, count=PEER_EVENTS, **asked)["events"]
    bench.settle(theirs)
    numbers = count()

    def project() -> float:
        asked = {"batch": PEER_BATCH, "run": next(numbers), "entry": entry}
        seconds = peer("project", theirs.owner, **asked)["seconds"]
        _expect(theirs.owner, "peer_entries", stored)
        return float(stored / seconds)

    caught = interleave(
        {"ours": lambda: _catch_up(bench, ours), "theirs": project},
        rounds=PEER_ROUNDS,
        tell=bench.tell,
    )
    pages = material.pages(material.people(append.CONCURRENCY))
    with OpenStore(bench.settings(ours)) as store:

        def write() -> float:
            return store.run(append.commands(store, pages, seconds=PEER_SECONDS))

        def their_write() -> float:
            found = peer("append", theirs.owner, seconds=PEER_SECONDS, **asked)
            return float(found["events"] / found["seconds"])

        written = interleave(
            {"ours": write, "theirs": their_write}, rounds=PEER_ROUNDS, tell=bench.tell
        )
    bench.drop(ours)
    bench.drop(theirs)
    return [
        at_least(
            35,
            "rebuild",
            f"Catch-up of the entry list from {PEER_EVENTS // 1000}k events, one process",
            "/s",
            caught,
            medians(caught),
            "Emmett on PostgreSQL",
            note=f"Emmett writes batches of {PEER_BATCH:,} by one statement each",
        ),
        at_least(
            5,
            "rebuild",
            f"Append, {append.CONCURRENCY} concurrent, beside Emmett",
            "/s",
            written,
            medians(written),
            "Emmett on PostgreSQL",
            note="our commands claim their day as well",
        ),
    ]


class Memory:
    """The most memory that a part's process had, in MB, and the most early on."""

    def __init__(self) -> None:
        self.most = 0.0
        self.early = 0.0

    def heed(self, progress: Progress) -> Signal:
        """Look at the processes; to be called by a rebuild as it tells how far it is."""
        for child in multiprocessing.active_children():
            try:
                status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
            except OSError:
                continue  # it has ended, or there is no such file on this system
            found = [line for line in status.splitlines() if line.startswith("VmHWM")]
            used = int(found[0].split()[1]) / 1024 if found else 0.0
            self.most = max(self.most, used)
            if progress.events_done < progress.events_total / 10:
                self.early = max(self.early, used)
        return "go"


def _read(bench: Bench, database: Database) -> float:
    """Only read and decode, in one process; seconds."""
    bench.settle(database)
    source = _sources(bench, database)()
    head, position = source.head(), 0
    topics = topics_of(Entries.takes)
    started = time.perf_counter()
    while position < head:
        position = source.page(position, head, PAGE, topics)[-1].position
    seconds = time.perf_counter() - started
    source.close()
    return seconds


def _alone(
    bench: Bench,
    database: Database,
    view: RowView[Any],
    heed: Callable[[Progress], Signal] = lambda _: "go",
    *,
    parts: int | None = None,
) -> float:
    """Rebuild one view; seconds."""
    bench.settle(database)
    started = time.perf_counter()
    report = engine_rebuild(
        database.project,
        _sources(bench, database),
        view,
        options=Options(partitions=parts),
        heed=heed,
    )
    seconds = time.perf_counter() - started
    _sound(report)
    return seconds


def _together(
    bench: Bench, database: Database, heed: Callable[[Progress], Signal] = lambda _: "go"
) -> float:
    """Rebuild all of them at once; seconds."""
    bench.settle(database)
    ended: list[Report | BaseException] = []
    wishes = [Wish(view, Options(), None, heed, ended.append) for view in JOURNAL]
    started = time.perf_counter()
    sources = _sources(bench, database)
    rebuild_together(database.project, lambda view: sources, wishes)
    seconds = time.perf_counter() - started
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome
        _sound(outcome)
    return seconds


def _sources(bench: Bench, database: Database) -> Sources:
    """Where the events are read, and opened."""
    keys = subject_keys_of(bench.settings(database))
    return partial(PostgresSource, database.project, keys=keys)


def _sound(report: Report) -> None:
    if not (report.equal and report.swapped and report.rows == report.events == EVENTS):
        raise Unready(f"the rebuild is not as it should be: {report}")


def _catch_up(bench: Bench, database: Database) -> float:
    with psycopg.connect(database.owner, autocommit=True) as connection:
        connection.execute("TRUNCATE journal_entries, projection_checkpoints")
    bench.settle(database)
    source = _sources(bench, database)()
    runner = catchup.Durable(database.project, source, [Entries()])
    started = time.perf_counter()
    runner.catch_up()
    seconds = time.perf_counter() - started
    runner.close()
    _expect(database.owner, "journal_entries", PEER_EVENTS)
    return PEER_EVENTS / seconds


def _expect(dsn: str, table: str, expected: int) -> None:
    with psycopg.connect(dsn) as connection:
        [rows] = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    if rows != expected:
        raise Unready(f"{table} has {rows} rows of {expected}")
