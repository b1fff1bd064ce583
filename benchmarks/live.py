"""Live connections: what an idle one costs, and how long until an event is with its owner.

A thousand streams are open and silent while eight people's entries are written, and they listen
over WebSockets. The time counts from the commit, as the writer hears of it, to the message.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import psutil
from uuid_utils.compat import uuid7

from benchmarks import material, product
from benchmarks.measure import percentile
from benchmarks.product import Site
from benchmarks.report import Row, at_most
from benchmarks.servers import Bench, Unready, wait_until
from benchmarks.store import OpenStore
from commands.journal import WriteEntry

IDLE = 1_000
RATE = 200
SECONDS = 8
WARM_UP = 2
KILOBYTES = 100.0
"""That an idle connection may take in the read API."""


def run(bench: Bench) -> list[Row]:
    """Measure; three rows, without a peer."""
    database = bench.migrated("live")
    with (
        product.ours(bench, database, live_connections=1_000) as site,
        OpenStore(bench.settings(database)) as store,
    ):
        each, lags = store.run(_measure(bench, site, store))
        wait_until(lambda: product.projected(database), what="the projector has caught up")
    bench.drop(database)
    milliseconds = [lag * 1e3 for lag in lags]
    p50, p95 = percentile(milliseconds, 0.5), percentile(milliseconds, 0.95)
    what = f"Commit to WebSocket at {RATE} commands/s"
    note = f"{IDLE:,} idle streams beside; worst of {len(lags):,}: {max(milliseconds):.0f} ms"
    return [
        at_most(100, "live", f"{what}, p95", "ms", p95, note=note, runs=[p95]),
        at_most(50, "live", f"{what}, p50", "ms", p50, runs=[p50]),
        at_most(KILOBYTES, "live", "Memory of an idle stream", "kB", each, runs=[each]),
    ]


def _process(role: str) -> psutil.Process:
    for child in psutil.Process().children(recursive=True):
        if child.cmdline()[-2:] == ["run", role]:
            return child
    raise Unready(f"{role} does not run")


async def _measure(bench: Bench, site: Site, store: OpenStore) -> tuple[float, list[float]]:
    """Kilobytes of an idle stream, and the seconds to each event after the warm-up."""
    reader = _process("read-api")
    async with AsyncExitStack() as stack:
        # The first ones bring what they all share.
        await _idle(stack, site, 50)
        before = reader.memory_info().rss
        await _idle(stack, site, IDLE)
        each = (reader.memory_info().rss - before) / IDLE / 1e3
        bench.tell(f"{IDLE} idle streams: {each:.1f} kB each")
        return each, await _lags(stack, site, store)


async def _idle(stack: AsyncExitStack, site: Site, count: int) -> None:
    """Open so many streams, people taking turns; they are open until the stack ends."""
    for number in range(count):
        token = site.tokens[number % len(site.tokens)]
        reader, writer = await asyncio.open_connection("127.0.0.1", site.read_port)
        stack.callback(writer.close)
        head = (
            f"GET /v1/stream?topics=accounts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}"
        )
        writer.write(f"{head}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            said = await reader.readuntil(b": since")
        if not said.startswith(b"HTTP/1.1 200"):
            raise Unready(f"a stream was not opened: {said[:300]!r}")


async def _lags(stack: AsyncExitStack, site: Site, store: OpenStore) -> list[float]:
    session = await stack.enter_async_context(aiohttp.ClientSession())
    committed: dict[int, float] = {}
    seen: dict[int, float] = {}
    total = RATE * (SECONDS + WARM_UP)
    everything = asyncio.Event()

    async def listen(socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            now = time.perf_counter()
            told: dict[str, Any] = msgspec.json.decode(message.data)
            seen[told["position"]] = now
            if len(seen) == total:
                everything.set()

    for token in site.tokens:
        url = f"http://127.0.0.1:{site.read_port}/v1/ws?topics=EntryWritten"
        headers = {"Authorization": f"Bearer {token}"}
        socket = await stack.enter_async_context(session.ws_connect(url, headers=headers))
        listening = asyncio.create_task(listen(socket))
        stack.callback(listening.cancel)

    async def write(number: int) -> None:
        command = WriteEntry(uuid7(), material.draft(number // len(site.users)))
        context = material.context(site.users[number % len(site.users)])
        outcome = await store.bus.dispatch(command, context)
        committed[outcome.position] = time.perf_counter()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as writing:
        for number in range(total):
            await asyncio.sleep(max(0.0, started + number / RATE - time.perf_counter()))
            writing.create_task(write(number))
    try:
        async with asyncio.timeout(30):
            await everything.wait()
    except TimeoutError:
        raise Unready(f"{total} events were written, {len(seen)} came") from None
    # A message may be there before the writer has had its turn to look at the clock.
    lags = [max(0.0, seen[position] - at) for position, at in sorted(committed.items())]
    return lags[RATE * WARM_UP :]
