"""One role in the foreground, as a container would run it and as the supervisor does.

Owns the frame that every role has: its logs, metrics, signals and server. What a role does is
composed in ``bootstrap/wiring/``, imported only here and only when a role starts, so that no
command waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import msgspec
import setproctitle
import structlog
import uvloop

from bootstrap import logs, metrics, pair, tracing
from bootstrap.places import Places, addresses
from bootstrap.services import connected
from bootstrap.settings import Settings
from bootstrap.stopping import DRAIN_SECONDS, LINGER_SECONDS, Stop

HTTP_ROLES = ("write-api", "read-api")
ROLES = (*HTTP_ROLES, "projector", "worker", "scheduler", "gateway")
ONCE = ("setup", "demo")
"""Roles that end by themselves; the supervisor runs them and they print JSON."""

CLOSE_SECONDS = 5.0
"""How long a server that is told to stop in haste waits for answers that are under way."""
CONNECTIONS = 16_384
"""That a server serves at once: each open stream is one, for hours."""


class Wiring(Protocol):
    """What ``bootstrap/wiring/`` offers: each role composed of its adapters."""

    def write_api_app(self, settings: Settings) -> Any:
        """The write API as an ASGI application."""

    def read_api_app(self, settings: Settings) -> Any:
        """The read API as an ASGI application."""

    async def projector(
        self, settings: Settings, stop: asyncio.Event, share: pair.Share | None = None
    ) -> None:
        """Run projections, or a share of them, until ``stop`` is set."""

    async def scheduler(self, settings: Settings, stop: asyncio.Event) -> None:
        """Run what is due until ``stop`` is set."""

    def worker(self, settings: Settings) -> None:
        """Run jobs until ``KeyboardInterrupt``, which SIGTERM and SIGINT raise."""

    async def setup(self, settings: Settings) -> Mapping[str, Any] | None:
        """Make what a first start needs, such as the operator, before anybody is let in."""

    async def demo(self, settings: Settings) -> Mapping[str, Any] | None:
        """Fill an empty store with the demo; returns ``email`` and ``password`` of a login."""


def wiring() -> Wiring:
    """The composition root."""
    return cast("Wiring", importlib.import_module("bootstrap.wiring"))


def run(role: str, name: str, settings: Settings, listener: int | None = None) -> int:
    """Run a role under a process name until it is told to stop; returns the exit code.

    ``listener`` is the file descriptor of a socket that the gateway is to listen on, which was
    made by whoever started this process.

    Raises ``services.NotRunning`` if the settings name no servers and no ``up`` runs.
    """
    # What a role that ends by itself prints is its result, a password perhaps: no log's business.
    logs.configure(settings.log_level, name, sys.stderr if role in ONCE else None)
    tracing.prepare(settings)
    places = Places(settings.home)
    places.prepare()
    _allow_open_files(4 * CONNECTIONS)
    if role != "gateway":
        settings = connected(settings)
    if role in ONCE:
        return _once(role, settings)
    if role == "projector":
        return _projector(name, settings, places)
    metrics.serve(places, name, settings.metrics_address)
    tracing.begin(settings, role, name)
    if role == "worker":
        places.say_ready(name)
        return _worker(settings)
    ready = partial(places.say_ready, name)
    return uvloop.run(_until_told(_body(role, name, settings, places, ready, listener)))


Body = Callable[[Stop], Awaitable[None]]


def _body(
    role: str,
    name: str,
    settings: Settings,
    places: Places,
    ready: Callable[[], None],
    listener: int | None,
) -> Body:
    if role == "gateway":
        from bootstrap import gateway  # noqa: PLC0415 - only this role waits for aiohttp

        return lambda stop: gateway.serve(settings, stop, listener, ready)
    if role == "scheduler":
        ready()
        return lambda stop: wiring().scheduler(settings, stop)
    given = addresses(role, settings, places)
    # Of several processes each takes the socket of its own name.
    address = given[0] if len(given) == 1 else f"unix:{places.api_socket(name)}"
    make = wiring().write_api_app if role == "write-api" else wiring().read_api_app
    return lambda stop: serve(tracing.application(settings, make(settings)), address, stop, ready)


async def serve(
    app: Any, address: str, stop: Stop, ready: Callable[[], None] = lambda: None
) -> None:
    """Serve an ASGI application on ``unix:PATH`` or ``HOST:PORT`` until ``stop`` is set.

    ``ready`` is called when it answers. A socket takes the place of the one before, if there is
    one, at that moment and not earlier, so that there is always one that answers.
    """
    # Granian reads its defaults from files when it is imported; the other roles need none of it.
    from granian.constants import HTTPModes, Interfaces  # noqa: PLC0415
    from granian.server.embed import Server  # noqa: PLC0415

    bound = Bound(address)
    server = Server(
        app,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        backlog=1024,
        backpressure=CONNECTIONS,
        log_enabled=False,
        **bound.where,
    )
    serving = asyncio.ensure_future(server.serve())
    # What start-up made stays for good: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    showing = asyncio.ensure_future(bound.show(ready))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    showing.cancel()
    stopping.cancel()
    if not serving.done():
        await _drain(app, stop, bound)
        server.stop()  # type: ignore[no-untyped-call]  # granian leaves its signature out
        await asyncio.wait({serving}, timeout=CLOSE_SECONDS)
        serving.cancel()
    bound.remove()
    await asyncio.gather(showing, return_exceptions=True)
    await asyncio.gather(serving, return_exceptions=stop.is_set())


async def _drain(app: Any, stop: Stop, bound: Bound) -> None:
    """Let answers under way end; open event streams never would, and are ended.

    Whoever kept a connection learns first that it ends. Then others are asked to wait for the next
    process: an answer that this one would have to refuse, that one gives.
    """
    announce_closing = getattr(app, "announce_closing", None)
    if announce_closing is None:
        return
    announce_closing()
    if not bound.taken():
        await stop.grants(asyncio.sleep(LINGER_SECONDS), LINGER_SECONDS)
    # A successor is there already, or everybody waits for one and not for long.
    patience = DRAIN_SECONDS if bound.taken() else CLOSE_SECONDS - 1
    bound.remove()
    await app.begin_closing()
    await stop.grants(app.drained(), patience)


class Bound:
    """Where a server listens; of a Unix socket, at first under a name that nobody knows."""

    def __init__(self, address: str) -> None:
        self._path: Path | None = None
        if address.startswith("unix:"):
            self._path = Path(address.removeprefix("unix:"))
            # No longer than the name it will have, if that is not very short.
            self._fresh = self._path.with_name(f"{os.getpid()}.sock")
            self._fresh.unlink(missing_ok=True)
            self.where: dict[str, Any] = {"uds": self._fresh}
        else:
            host, _, port = address.rpartition(":")
            self._peer = (host.strip("[]"), int(port))
            self.where = {"address": self._peer[0], "port": self._peer[1]}
        self._inode = 0

    async def show(self, ready: Callable[[], None]) -> None:
        """Wait until the server answers, and then let others find it."""
        while not await self._answers():  # noqa: ASYNC110 - the server says nothing
            await asyncio.sleep(0.02)
        if self._path is not None:
            self._inode = self._fresh.stat().st_ino
            self._fresh.replace(self._path)
        ready()

    async def _answers(self) -> bool:
        try:
            if self._path is None:
                reader, writer = await asyncio.open_connection(*self._peer)
            else:
                reader, writer = await asyncio.open_unix_connection(str(self._fresh))
        except OSError:
            return False
        try:
            writer.write(b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return bool(await reader.read(1))
        except OSError:
            return False
        finally:
            writer.close()

    def taken(self) -> bool:
        """Whether another process has taken its place."""
        try:
            return self._path is not None and self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Take the socket away, unless another process has taken its place."""
        if self._path is not None and not self.taken():
            self._path.unlink(missing_ok=True)


async def _until_told(body: Body) -> int:
    """Run a body until SIGTERM or SIGINT; a body that ends by itself has failed."""
    stop = Stop()
    stop.listen()
    log = structlog.get_logger("bootstrap")
    log.info("started")
    await body(stop)
    log.info("stopped")
    return 0 if stop.is_set() else 1


def _allow_open_files(wanted: int) -> None:
    """Have as many files and sockets open as the system lets us: a shell's default is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _projector(name: str, settings: Settings, places: Places) -> int:
    project = wiring().projector  # both processes have what it imports, and it is imported once

    def body_of(share: pair.Share) -> pair.Body:
        return lambda stop: project(settings, stop, share)

    def main(share: pair.Share, body: pair.Body) -> int:
        process = name if share == "awaited" else f"{name}-{share}"
        logs.configure(settings.log_level, process)
        metrics.serve(places, process, settings.metrics_address if share == "awaited" else None)
        tracing.begin(settings, "projector", process)
        if share == "awaited":
            places.say_ready(name)
        else:
            setproctitle.setproctitle(f"mindstream run projector --name {process}")
        return uvloop.run(_until_told(body))

    return pair.run(body_of, main)


def _worker(settings: Settings) -> int:
    def interrupt(*_: object) -> NoReturn:
        # Once is enough: a second signal must not cut the closing short.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        wiring().worker(settings)
    return 0


def _once(role: str, settings: Settings) -> int:
    step: Coroutine[Any, Any, Mapping[str, Any] | None]
    step = wiring().setup(settings) if role == "setup" else wiring().demo(settings)
    said = uvloop.run(step)
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    return 0
