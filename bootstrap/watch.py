"""One supervised process: started, found healthy, started again when it dies, stopped.

Owns the life of a single service. Which services there are, and in what order they come and go,
is ``supervisor.py``'s.
"""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bootstrap import children
from bootstrap.children import Command, Running
from bootstrap.embedded import EmbeddedError
from bootstrap.logs import line
from bootstrap.services import Process

LOOK_SECONDS = 0.1
"""How often it is looked whether a process still lives."""
HEALTH_SECONDS = 2.0
START_LOOK_SECONDS = 0.25
HEALTH_TIMEOUT_SECONDS = 3.0
HEALTH_FAILURES = 3
"""So many failed looks in a row, and a process that lives but does not answer is started again."""
SETTLED_SECONDS = 5.0
"""A process that lived this long is started again at once, a younger one after a growing pause."""
LONGEST_PAUSE_SECONDS = 2.0
PROVEN_SECONDS = 0.5
"""A successor that says it can be used has to live this long before the old process ends."""
RETIRE_SECONDS = 30.0
"""How long the old one has to finish what it has begun."""
LOG_BYTES = 16 << 20


async def started(command: Command) -> Running:
    """Start a program. In this thread: the system ends children with the one that started them."""
    return children.start(command)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """How to run a service. The callables block and run in threads.

    ``prepare`` runs before every start; ``ready`` says whether the service can be used, ``healthy``
    whether a running one still answers (None: living is enough). ``usable`` says whether the
    process with this pid can be used, while another one may run beside it (None: it cannot be
    replaced). Where ``alone`` two cannot run at once. ``start`` makes a process of the command.
    """

    name: str
    command: Callable[[], Command]
    prepare: Callable[[], None] = lambda: None
    ready: Callable[[], bool] = lambda: True
    healthy: Callable[[], bool] | None = None
    start_seconds: float = 60.0
    stop_seconds: float = 10.0
    usable: Callable[[int], bool] | None = None
    alone: bool = False
    start: Callable[[Command], Awaitable[Running]] = started


class CannotStart(Exception):
    """A service did not come up; the message holds the end of its log."""


class Watch:
    """The life of one service. ``changed`` is called after each start with a new process."""

    def __init__(
        self, service: Service, changed: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self.service = service
        self._changed = changed
        self._say = say
        self._process: Running | None = None
        self._started_at = datetime.now(UTC)
        self._restarts = 0
        self._died: str | None = None
        self._died_at: datetime | None = None
        self._retiring = False
        self._changing = asyncio.Lock()

    @property
    def described(self) -> Process | None:
        """The process as others see it; None before its first start."""
        if self._process is None:
            return None
        return Process(
            name=self.service.name,
            pid=self._process.pid,
            started_at=self._started_at,
            restarts=self._restarts,
            died=self._died,
            died_at=self._died_at,
        )

    async def start(self) -> None:
        """Start the service and wait until it is ready. Raises ``CannotStart``."""
        try:
            await self._spawn()
        except (EmbeddedError, OSError) as error:
            raise CannotStart(f"{self.service.name} cannot be started: {error}") from error
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.service.start_seconds
        while not await asyncio.to_thread(self.service.ready):
            if not self.alive:
                raise CannotStart(self._obituary(f"ended while it started ({self._exit()})"))
            if loop.time() > deadline:
                raise CannotStart(self._obituary("did not become ready in time"))
            await asyncio.sleep(LOOK_SECONDS / 2)

    async def keep(self) -> None:
        """Start the service again whenever it dies or stops answering, until cancelled."""
        quick = 0
        while True:
            born = asyncio.get_running_loop().time()
            await self._until_dead()
            async with self._changing:
                if self.alive:  # another one has taken its place
                    continue
                # What it left in its group would hold its sockets.
                self._kill_group()
                lived = asyncio.get_running_loop().time() - born
                quick = 0 if lived > SETTLED_SECONDS else quick + 1
                self._mourn()
                if quick:
                    await asyncio.sleep(min(0.1 * 2**quick, LONGEST_PAUSE_SECONDS))
                try:
                    await self._spawn()
                except (EmbeddedError, OSError) as error:
                    self._say(f"{self.service.name} cannot be started: {error}")

    async def replace(self) -> None:
        """Start another process beside the present one, which ends when the other can be used.

        Raises ``CannotStart`` if that does not come so far: then it is gone, and the old one goes
        on. Where two cannot run at once the old one ends first, and there is a gap.
        """
        old = self._process
        if old is None or self.service.usable is None:
            raise CannotStart(f"{self.service.name} cannot be replaced")
        if self.service.alone:
            self._retiring = True
            await self._retire(old)
            # ``keep`` starts the next one.
            await self._until_usable(lambda: self._process)
            return
        async with self._changing:
            fresh = await self.service.start(self.service.command())
            try:
                await self._until_usable(lambda: fresh)
            except BaseException:
                children.signal_group(fresh.pid, signal.SIGKILL)
                await asyncio.to_thread(fresh.wait)
                raise
            old, self._process = self._process, fresh
            self._started_at = datetime.now(UTC)
            self._restarts += 1
            self._changed()
        if old is not None:
            await self._retire(old)

    async def _until_usable(self, current: Callable[[], Running | None]) -> None:
        usable = self.service.usable
        assert usable is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.service.start_seconds
        since: float | None = None
        while since is None or loop.time() < since + PROVEN_SECONDS:
            process = current()
            if process is not None and process.poll() is None:
                if since is None and usable(process.pid):
                    since = loop.time()
            elif not self.service.alone:
                raise CannotStart(self._obituary("ended while it started"))
            if since is None and loop.time() > deadline:
                raise CannotStart(self._obituary("did not become ready in time"))
            await asyncio.sleep(LOOK_SECONDS / 2)

    async def _retire(self, old: Running) -> None:
        """Have a process end in good order, and kill what is left of it."""
        try:
            old.terminate()
            async with asyncio.timeout(RETIRE_SECONDS):
                await ended(old)
        except TimeoutError:
            self._say(f"{self.service.name} does not stop; killing it")
        finally:
            children.signal_group(old.pid, signal.SIGKILL)
        await ended(old)

    async def stop(self) -> None:
        """Ask it to stop, wait, and kill what is left of its group."""
        process = self._process
        if process is None:
            return
        process.send_signal(self._command.stop_signal)
        try:
            async with asyncio.timeout(self.service.stop_seconds):
                await ended(process)
        except TimeoutError:
            self._say(f"{self.service.name} does not stop; killing it")
        self._kill_group()
        await ended(process)

    @property
    def alive(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    async def _spawn(self) -> None:
        again = self._process is not None
        await asyncio.to_thread(self.service.prepare)
        self._command = self.service.command()
        _rotate(self._command.log)
        self._process = await self.service.start(self._command)
        self._started_at = datetime.now(UTC)
        self._restarts += again
        self._changed()

    async def _until_dead(self) -> None:
        """Return when the process is dead, killed here if it lives but does not answer."""
        loop = asyncio.get_running_loop()
        failures = 0
        ready = False
        started = look = loop.time()
        while self.alive:
            await asyncio.sleep(LOOK_SECONDS)
            if self.service.healthy is None or loop.time() < look:
                continue
            healthy = await asyncio.to_thread(self.service.healthy)
            ready = ready or healthy
            look = loop.time() + (HEALTH_SECONDS if ready else START_LOOK_SECONDS)
            if healthy:
                failures = 0
                continue
            if not ready and loop.time() - started < self.service.start_seconds:
                continue
            failures += 1
            if failures >= HEALTH_FAILURES:
                self._say(f"{self.service.name} does not answer; killing it")
                self._kill_group()

    def _kill_group(self) -> None:
        if self._process is not None:
            children.signal_group(self._process.pid, signal.SIGKILL)

    def _exit(self) -> str:
        code = None if self._process is None else self._process.poll()
        if code is None or code >= 0:
            return f"exit code {code}"
        return signal.Signals(-code).name

    def _mourn(self) -> None:
        """Tell how it ended: on the terminal, in its log and to whoever asks later."""
        name, how = self.service.name, self._exit()
        if self._retiring:
            self._retiring = False
            self._say(f"{name} has made room; starting the next one")
            return
        self._died, self._died_at = how, datetime.now(UTC)
        self._say(f"{name} ended at {self._died_at:%H:%M:%S} UTC ({how}); starting it again")
        told = line(name, "error", "process_ended", reason=how)
        with suppress(OSError), self._command.log.open("a", encoding="utf-8") as log:
            log.write(told + "\n")

    def _obituary(self, what: str) -> str:
        log = self._command.log
        return f"{self.service.name} {what}. The end of {log}:\n{children.tail(log)}"


async def ended(process: Running) -> int:
    """Wait for the end of a process; returns its exit code."""
    while (code := process.poll()) is None:  # noqa: ASYNC110 - a process sets no event
        await asyncio.sleep(LOOK_SECONDS / 2)
    return code


def answers(address: str, method: str = "GET", path: str = "/health/live") -> bool:
    """Whether an HTTP server on ``unix:PATH`` or ``HOST:PORT`` answers anything but a 5xx."""
    connection = _Connection(address)
    try:
        connection.request(method, path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, address: str) -> None:
        self._path = address.removeprefix("unix:") if address.startswith("unix:") else None
        super().__init__(
            "localhost" if self._path is not None else address, timeout=HEALTH_TIMEOUT_SECONDS
        )

    def connect(self) -> None:
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _rotate(log: Path) -> None:
    """Begin a new file where the old one has grown long; one old one is kept."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
