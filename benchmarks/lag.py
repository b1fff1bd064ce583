"""From commit to visible: 500 commands a second, and how long until a reader would see each.

A command counts as visible when the projector's notification has come: it is sent in the
transaction that writes the rows, so whoever hears it can read them.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
from uuid_utils.compat import uuid7

from benchmarks import material, product
from benchmarks.measure import percentile
from benchmarks.report import Row, at_most
from benchmarks.servers import Bench, Unready, wait_until
from benchmarks.store import OpenStore
from commands.journal import WriteEntry
from projections.engine.runner import CHANNEL
from projections.journal.entries import Entries

RATE = 500
SECONDS = 10
WARM_UP = 2
USERS = 64


def run(bench: Bench) -> list[Row]:
    """Measure; two rows, without a peer."""
    database = bench.migrated("lag")
    settings = bench.settings(database)
    with OpenStore(settings) as store, product.role(bench, "projector", settings):
        wait_until(lambda: product.projecting(database), what="the projector is at work")
        lags = store.run(_measure(store, database.read))
        written = RATE * (SECONDS + WARM_UP)
        listed = product.count(database, "journal_entries")
        if listed != written:
            raise Unready(f"{written} entries were written, the list has {listed}")
    bench.drop(database)
    what = f"Commit to visible at {RATE} commands/s"
    milliseconds = [lag * 1e3 for lag in lags]
    note = f"worst of {len(lags):,}: {max(milliseconds):.1f} ms; every projection at work"
    p50, p99 = percentile(milliseconds, 0.5), percentile(milliseconds, 0.99)
    return [
        at_most(15, "lag", f"{what}, p50", "ms", p50, note=note, runs=[p50]),
        at_most(100, "lag", f"{what}, p99", "ms", p99, runs=[p99]),
    ]


async def _measure(store: OpenStore, dsn: str) -> list[float]:
    """The lag of each command after the warm-up, in seconds."""
    committed: dict[int, float] = {}
    seen: list[tuple[int, float]] = []
    pages = material.pages(material.people(USERS))
    total = RATE * (SECONDS + WARM_UP)
    everything = asyncio.Event()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        listening = asyncio.create_task(_listen(connection, seen, total, everything))

        async def one() -> None:
            user, day = next(pages)
            command = WriteEntry(uuid7(), material.draft(day))
            outcome = await store.bus.dispatch(command, material.context(user))
            committed[outcome.position] = time.perf_counter()

        # An open loop: a slow answer does not slow what comes after it.
        started = time.perf_counter()
        under_way: set[asyncio.Task[Any]] = set()
        for number in range(total):
            await asyncio.sleep(max(0.0, started + number / RATE - time.perf_counter()))
            task = asyncio.create_task(one())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            await asyncio.gather(*under_way)
        try:
            async with asyncio.timeout(30):
                await everything.wait()
        except TimeoutError:
            raise Unready("the projector did not reach the last command within 30 s") from None
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
    if len(committed) != total:
        raise Unready(f"{total} commands have {len(committed)} positions")
    return _lags(committed, seen)[RATE * WARM_UP :]


async def _listen(
    connection: psycopg.AsyncConnection[Any],
    seen: list[tuple[int, float]],
    last: int,
    everything: asyncio.Event,
) -> None:
    async for notice in connection.notifies():
        now = time.perf_counter()
        told = msgspec.json.decode(notice.payload)
        if Entries.name in told["projections"]:
            seen.append((told["position"], now))
            if told["position"] >= last:
                everything.set()


def _lags(committed: dict[int, float], seen: list[tuple[int, float]]) -> list[float]:
    """For each position, in order, the time from its commit to the first notice that covers it."""
    notices = iter(seen)
    covered, at = next(notices)
    lags = []
    for position in sorted(committed):
        while covered < position:
            covered, at = next(notices)
        lags.append(max(0.0, at - committed[position]))
    return lags
