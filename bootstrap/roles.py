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
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import msgspec
import structlog
import uvloop

from bootstrap import logs, metrics, pair
from bootstrap.places import Places, addresses
from bootstrap.services import connected
from bootstrap.settings import Settings

HTTP_ROLES = ("write-api", "read-api")
ROLES = (*HTTP_ROLES, "projector", "worker", "scheduler", "gateway")
ONCE = ("setup", "demo")
"""Roles that end by themselves; the supervisor runs them and they print JSON."""

CLOSE_SECONDS = 5.0
"""How long a server that is told to stop waits for answers that are under way."""
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


def run(role: str, name: str, settings: Settings) -> int:
    """Run a role under a process name until it is told to stop; returns the exit code.

    Raises ``services.NotRunning`` if the settings name no servers and no ``up`` runs.
    """
    # What a role that ends by itself prints is its result, a password perhaps: no log's business.
    logs.configure(settings.log_level, name, sys.stderr if role in ONCE else None)
    places = Places(settings.home)
    places.prepare()
    _allow_open_files(4 * CONNECTIONS)
    if role != "gateway":
        settings = connected(settings)
    if role in ONCE:
        return _once(role, settings)
    if role == "projector":
        return _projector(name, settings, places)
    metrics.serve(places, name)
    if role == "worker":
        return _worker(settings)
    return uvloop.run(_until_told(_body(role, name, settings, places)))


Body = Callable[[asyncio.Event], Awaitable[None]]


def _body(role: str, name: str, settings: Settings, places: Places) -> Body:
    if role == "gateway":
        from bootstrap import gateway  # noqa: PLC0415 - only this role waits for aiohttp

        return lambda stop: gateway.serve(settings, stop)
    if role == "scheduler":
        return lambda stop: wiring().scheduler(settings, stop)
    given = addresses(role, settings, places)
    # Of several processes each takes the socket of its own name.
    address = given[0] if len(given) == 1 else f"unix:{places.api_socket(name)}"
    make = wiring().write_api_app if role == "write-api" else wiring().read_api_app
    return lambda stop: serve(make(settings), address, stop)


async def serve(app: Any, address: str, stop: asyncio.Event) -> None:
    """Serve an ASGI application on ``unix:PATH`` or ``HOST:PORT`` until ``stop`` is set."""
    # Granian reads its defaults from files when it is imported; the other roles need none of it.
    from granian.constants import HTTPModes, Interfaces  # noqa: PLC0415
    from granian.server.embed import Server  # noqa: PLC0415

    server = Server(
        app,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        backlog=1024,
        backpressure=CONNECTIONS,
        log_enabled=False,
        **_bind(address),
    )
    serving = asyncio.ensure_future(server.serve())
    # What start-up made stays for good: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not serving.done():
        # Open event streams would never end.
        begin_closing = getattr(app, "begin_closing", None)
        if begin_closing is not None:
            await begin_closing()
        server.stop()  # type: ignore[no-untyped-call]  # granian leaves its signature out
        await asyncio.wait({serving}, timeout=CLOSE_SECONDS)
        serving.cancel()
    await asyncio.gather(serving, return_exceptions=stop.is_set())


def _bind(address: str) -> dict[str, Any]:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        return {"uds": path}
    host, _, port = address.rpartition(":")
    return {"address": host.strip("[]"), "port": int(port)}


async def _until_told(body: Body) -> int:
    """Run a body until SIGTERM or SIGINT; a body that ends by itself has failed."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
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

    def body_of(share: pair.Share) -> Body:
        return lambda stop: project(settings, stop, share)

    def main(share: pair.Share, body: Body) -> int:
        process = name if share == "awaited" else f"{name}-{share}"
        logs.configure(settings.log_level, process)
        metrics.serve(places, process)
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
