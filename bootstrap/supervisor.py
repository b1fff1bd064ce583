"""``mindstream up``: the embedded services and every role, under one supervisor.

Owns the order in which they come and go, and what is said about them. The life of each is
``watch.py``'s; what a role does is ``roles.py``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import psutil
import psycopg

from bootstrap import children, database, services
from bootstrap.children import Command, end_process
from bootstrap.embedded import Postgres, Valkey
from bootstrap.fetching import NotToBeHad
from bootstrap.fetching.opensearch import OpenSearch
from bootstrap.fetching.timescaledb import TimescaleDB, data_name
from bootstrap.nursery import PROGRAM, Nursery
from bootstrap.places import Places, addresses, numbered
from bootstrap.rolling import Restarts
from bootstrap.services import Services
from bootstrap.settings import Settings, child_environment
from bootstrap.watch import CannotStart, Service, Watch, answers, ended

__all__ = ["CannotStart", "up"]

READY_SECONDS = 60.0
BACKLOG = 1024
"""How many clients may wait for a gateway."""


class Login(msgspec.Struct, frozen=True):
    """Who can log in now: the demo's person, printed because nobody knows them otherwise."""

    email: str
    password: str


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What ``up --json`` prints when everything answers."""

    services: Services
    login: Login | None


def up(settings: Settings, *, as_json: bool = False) -> int:
    """Run until SIGINT, SIGTERM or SIGHUP; returns the exit code.

    Raises ``AlreadyRunning`` if another one holds the home, ``CannotStart`` if something does not
    come up; nothing is left running then.
    """
    places = Places(settings.home)
    try:
        places.prepare()
    except (FileExistsError, NotADirectoryError) as error:
        message = f"{settings.home} is no folder: set MINDSTREAM_HOME to one"
        raise CannotStart(message) from error
    except OSError as error:
        raise CannotStart(f"{settings.home} cannot be used: {error.strerror}") from error
    with services.hold(places):
        children.adopt_orphans()
        _end_left_overs(places)
        with _bound(settings.port) as listener:
            return asyncio.run(Supervisor(settings, places, listener, as_json=as_json).run())


class FetchedServer(Protocol):
    """A server of ``bootstrap.fetching``, ready to be run."""

    def prepare(self) -> None:
        """Make what it needs on the disk; raises ``CannotStart``."""
        ...

    def command(self) -> Command:
        """How it is started."""
        ...

    def answers(self) -> bool:
        """Whether it takes requests."""
        ...


_Fetched = TypeVar("_Fetched", bound=FetchedServer)


class Supervisor:
    """One run of everything."""

    def __init__(
        self, settings: Settings, places: Places, listener: socket.socket, *, as_json: bool
    ) -> None:
        self._settings = settings
        self._places = places
        self._listener = listener
        self._json = as_json
        self._watches: list[Watch] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._published = False
        self._nursery = Nursery(places.log / "nursery.log")
        # Whoever restarts wants the code of today.
        self._restarts = Restarts(places, self._watches, self._say, self._nursery.renew)

    async def run(self) -> int:
        """Start everything, keep it running until a signal comes, stop everything."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        stopping = asyncio.ensure_future(stop.wait())
        starting = asyncio.ensure_future(self._start())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                await stop.wait()
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            await self._stop()
        return 0

    async def _start(self) -> None:
        started = asyncio.get_running_loop().time()
        self._say(f"Starting in {self._places.home} …")
        self._nursery.begin()
        await self._start_servers()
        roles = self._roles()
        await _together(*(self._add(role) for role in roles), self._once("setup"))
        # Nobody is let in before the operator exists.
        await self._add(self._gateway())
        await self._ready()
        login = None
        if self._settings.demo:
            login = await self._demo()
        await self._restarts.open()
        self._announce(login, asyncio.get_running_loop().time() - started)

    async def _start_servers(self) -> None:
        postgres = Postgres(self._places) if self._settings.write_dsn is None else None
        valkey = Valkey(self._places) if self._settings.redis_url is None else None
        embedded = [] if postgres is None else [_postgres(postgres)]
        embedded += [] if valkey is None else [_valkey(valkey)]
        await _together(*(self._add(server) for server in embedded))
        given = self._settings
        if postgres is not None:
            await asyncio.to_thread(postgres.create_database)
            given = msgspec.structs.replace(
                given,
                write_dsn=postgres.dsn("mindstream_write"),
                read_dsn=postgres.dsn("mindstream_read"),
                owner_dsn=postgres.dsn(),
            )
        elif given.read_dsn is None:
            given = msgspec.structs.replace(given, read_dsn=given.write_dsn)
        if valkey is not None:
            given = msgspec.structs.replace(given, redis_url=valkey.url)
        if given.owner_dsn is None:
            self._say("MINDSTREAM_OWNER_DSN is not set: migrations are left to you")
        else:
            await asyncio.to_thread(_migrate, given.owner_dsn)
        self._settings = given = await self._full(given)
        if given.timeseries_dsn is not None:
            series = given.timeseries_owner_dsn or given.timeseries_dsn
            await asyncio.to_thread(_migrate, series)
        self._published = True
        self._publish()

    async def _full(self, given: Settings) -> Settings:
        """With ``full``, start what can be had of the real servers; the settings that name them."""
        logs = self._places.log
        if given.full and given.timeseries_dsn is None:
            self._say("Looking for TimescaleDB, which may have to be fetched …")
            data = data_name(self._places.home)
            try:
                server = await self._fetched(
                    "timescaledb", lambda: TimescaleDB(data, logs / "timescaledb.log")
                )
                given = msgspec.structs.replace(given, timeseries_dsn=server.dsn)
            except (NotToBeHad, CannotStart) as reason:
                self._say(f"Time series stay in PostgreSQL: {reason}")
        if given.full and given.search_url is None:
            self._say("Looking for OpenSearch, which may have to be fetched …")
            folder = self._places.home / "opensearch"
            try:
                node = await self._fetched(
                    "opensearch", lambda: OpenSearch(folder, logs / "opensearch.log")
                )
                given = msgspec.structs.replace(given, search_url=node.url)
            except (NotToBeHad, CannotStart) as reason:
                self._say(f"PostgreSQL searches: {reason}")
        return given

    async def _fetched(self, name: str, fetch: Callable[[], _Fetched]) -> _Fetched:
        """Fetch a server, and run it until everything ends.

        Raises:
            NotToBeHad, CannotStart
        """
        server = await asyncio.to_thread(fetch)
        await self._add(
            Service(name=name, command=server.command, prepare=server.prepare, ready=server.answers)
        )
        return server

    def _roles(self) -> list[Service]:
        settings = self._settings
        counts = {
            "write-api": settings.write_api_workers,
            "read-api": settings.read_api_workers,
            "projector": settings.projectors,
            "worker": settings.workers,
            "scheduler": 1,
        }
        found = []
        for role, count in counts.items():
            for index, name in enumerate(numbered(role, count)):
                found.append(self._role(role, name, index))
        return found

    def _role(self, role: str, name: str, index: int) -> Service:
        command = self._command(role, name)
        usable = partial(self._places.is_ready, name)
        if role not in ("write-api", "read-api"):
            return Service(name=name, command=command, usable=usable, start=self._nursery.start)
        address = addresses(role, self._settings, self._places)[index]

        def healthy() -> bool:
            return answers(address)

        return Service(
            name=name,
            command=command,
            ready=healthy,
            healthy=healthy,
            usable=usable,
            # Of two that listen on one port, the one that ends would lose who knocks.
            alone=not address.startswith("unix:"),
            start=self._nursery.start,
        )

    def _gateway(self) -> Service:
        address = f"127.0.0.1:{self._settings.port}"

        def healthy() -> bool:
            # The one request that it answers by itself and at no cost: with a 400.
            return answers(address, "OPTIONS", "*")

        # From now on clients are answered, or wait; between two gateways, too.
        self._listener.listen(BACKLOG)
        number = self._listener.fileno()
        return Service(
            name="gateway",
            command=self._command("gateway", "gateway", "--listener", str(number), files=(number,)),
            ready=healthy,
            healthy=healthy,
            usable=partial(self._places.is_ready, "gateway"),
            start=self._nursery.start,
        )

    def _command(
        self, role: str, name: str, *more: str, files: tuple[int, ...] = ()
    ) -> Callable[[], Command]:
        return lambda: Command(
            argv=(*PROGRAM, "run", role, "--name", name, *more),
            log=self._places.log / f"{name}.log",
            env=child_environment(self._settings),
            # When everything ends, it does so in haste.
            stop_signal=signal.SIGINT,
            files=files,
        )

    async def _add(self, service: Service) -> None:
        """Start a service, and from then on keep it running."""
        watch = Watch(service, self._publish, self._say)
        self._watches.append(watch)
        await watch.start()
        self._keepers.append(asyncio.create_task(watch.keep(), name=service.name))

    async def _once(self, role: str) -> bytes:
        """Run a role that ends by itself; returns what it printed. Raises ``CannotStart``."""
        command = msgspec.structs.replace(self._command(role, role)(), piped=True)
        process = await self._nursery.start(command)
        with process.stdout or io.BytesIO() as stdout:
            try:
                await ended(process)
            finally:
                children.signal_group(process.pid, signal.SIGKILL)
            if process.returncode:
                said = children.tail(command.log)
                raise CannotStart(f"{role} failed. The end of {command.log}:\n{said}")
            return stdout.read()

    async def _demo(self) -> Login | None:
        try:
            return msgspec.json.decode(await self._once("demo"), type=Login | None)
        except (CannotStart, msgspec.DecodeError) as error:
            self._say(f"There is no demo: {error}")
            return None

    async def _ready(self) -> None:
        url = f"http://127.0.0.1:{self._settings.port}/health/ready"
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not await asyncio.to_thread(_is_ready, url):
            if asyncio.get_running_loop().time() > deadline:
                self._say(f"{url} is not ready after {READY_SECONDS:.0f} s; see its answer")
                return
            await asyncio.sleep(0.1)

    def _services(self) -> Services:
        settings = self._settings
        described = (watch.described for watch in self._watches)
        return Services(
            gateway=f"http://127.0.0.1:{settings.port}",
            write_dsn=settings.write_dsn or "",
            read_dsn=settings.read_dsn or "",
            owner_dsn=settings.owner_dsn,
            redis_url=settings.redis_url or "",
            search_url=settings.search_url,
            timeseries_dsn=settings.timeseries_dsn,
            processes=tuple(process for process in described if process is not None),
        )

    def _publish(self) -> None:
        # The backends of a server that was killed end after it, and have to be collected.
        known = {process.pid for process in self._services().processes}
        children.bury_orphans("postgres", known)
        if self._published:
            services.publish(self._places, self._services())

    def _announce(self, login: Login | None, seconds: float) -> None:
        if self._json:
            started = Started(services=self._services(), login=login)
            _write(sys.stdout, msgspec.json.encode(started).decode())
            return
        gateway = f"http://127.0.0.1:{self._settings.port}"
        lines = ["", f"Mindstream is up after {seconds:.1f} s.", "", f"  API      {gateway}/v1"]
        may = "" if login is None else f"  ({login.email} may)"
        lines += [f"  Docs     {gateway}/docs", f"  Console  {gateway}/ops{may}"]
        lines.append(f"  Charts   {gateway}/analytics")
        if login is not None:
            lines.append(f"  Login    {login.email}  {login.password}")
        lines += [f"  Logs     {self._places.log}", "", "Ctrl-C stops it."]
        _write(sys.stdout, "\n".join(lines))

    def _say(self, text: str) -> None:
        _write(sys.stderr, text)

    async def _stop(self) -> None:
        self._listener.close()
        await self._restarts.close()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._say("Stopping …")
        # First who takes requests, then who works on them, last what keeps the data.
        for names in (("gateway",), None, _ENDS[1:]):
            await _stop_all(
                watch
                for watch in self._watches
                if (watch.service.name in names if names else watch.service.name not in _ENDS)
            )
        self._nursery.renew()
        await asyncio.to_thread(children.end_descendants)
        self._places.services.unlink(missing_ok=True)
        for path in self._places.sockets.glob("*.sock"):
            path.unlink(missing_ok=True)
        self._say("Stopped.")


_ENDS = ("gateway", "postgres", "valkey", "timescaledb", "opensearch")


async def _together(*steps: Coroutine[Any, Any, object]) -> None:
    """Await all steps; the first that fails ends the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _stop_all(watches: Iterable[Watch]) -> None:
    await asyncio.gather(*(watch.stop() for watch in watches))


def _postgres(postgres: Postgres) -> Service:
    return Service(
        name="postgres",
        command=postgres.command,
        prepare=postgres.prepare,
        ready=postgres.answers,
        stop_seconds=30.0,
    )


def _valkey(valkey: Valkey) -> Service:
    return Service(
        name="valkey", command=valkey.command, prepare=valkey.prepare, ready=valkey.answers
    )


def _migrate(dsn: str) -> None:
    try:
        database.migrate(dsn)
    except (database.MigrationError, psycopg.OperationalError) as error:
        raise CannotStart(f"The schema cannot be brought up to date: {error}") from error


def _bound(port: int) -> socket.socket:
    """The socket that gateways listen on, one after the other. Raises ``CannotStart``."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"Port {port} is taken ({error.strerror}): set MINDSTREAM_PORT to another one"
        ) from error
    return listener


def _end_left_overs(places: Places) -> None:
    """End what an earlier supervisor left where the system does not do that by itself."""
    known = services.left_over(places)
    for found in () if known is None else known.processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(found.pid)
            # A pid may have been given to somebody else since.
            if abs(process.create_time() - found.started_at.timestamp()) < 2:
                number = signal.SIGINT if found.name == "postgres" else signal.SIGTERM
                end_process(process, (number, 15.0))


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - always http
            return bool(answer.status == 200)
    except OSError:
        return False


def _write(stream: object, text: str) -> None:
    # A terminal that was closed must not keep the rest from being stopped.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=stream, flush=True)  # type: ignore[call-overload]
