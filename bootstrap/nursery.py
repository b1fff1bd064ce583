"""A process that has imported every role, and forks them: there in tenths of a second, not seconds.

A role costs one to three seconds of processor time before it does anything, all of it imports. Here
that is paid once, while the servers start; whatever is started later, or again, begins where the
imports end, and shares their memory. Where the system cannot hand a grandchild over (anything but
Linux), or this process fails, programs are started as such.

Owns the fork and the hand-over. The grandchild of the nursery becomes a child of the supervisor,
which ``children.adopt_orphans`` made the parent of orphans: it outlives the nursery and is watched,
signalled and collected like any other. A new nursery is made for new code (``renew``).
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import psutil
import setproctitle

from bootstrap import children
from bootstrap.children import Command, Running
from bootstrap.settings import inherited, load, take_over

PROGRAM = (sys.executable, "-m", "bootstrap.cli")
"""What every command begins with that is started here."""

_MESSAGE = 1 << 20
_PATIENCE = 60.0
"""Seconds at most for all imports."""
_ASIDE = 512
"""File descriptors from here on are nobody's."""


class _Order(msgspec.Struct, frozen=True):
    arguments: tuple[str, ...]
    env: dict[str, str]
    log: str
    stop_signal: int
    parent: int
    piped: bool
    files: tuple[int, ...]


class Forked:
    """A process that the nursery forked: what of ``subprocess.Popen`` a supervisor needs."""

    def __init__(self, pid: int, stdout: IO[bytes] | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, None while it lives."""
        return self._collect(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises ``TimeoutError`` after that many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self._collect(0 if deadline is None else os.WNOHANG)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, unless it is known to have ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end in good order."""
        self.send_signal(signal.SIGTERM)

    def _collect(self, options: int) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:  # somebody else has collected it
                self.returncode = -signal.SIGKILL
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


class Nursery:
    """Starts commands that begin with ``PROGRAM``; what it says itself goes to ``log``."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._socket: socket.socket | None = None
        self._process: Running | None = None
        self._lock = asyncio.Lock()

    def begin(self) -> None:
        """Have it import, which takes seconds, beside whatever comes next. In the main thread."""
        if self._process is not None or not children.CAN_ADOPT:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            argv = (sys.executable, "-m", "bootstrap.nursery", str(number))
            # Titles must not take the place of the environment, by which a process is known.
            env = inherited() | {"SPT_NOENV": "1"}
            command = Command(argv=argv, log=self._log, env=env, files=(number,))
            self._process = children.start(command)
        ours.settimeout(_PATIENCE)
        self._socket = ours

    async def start(self, command: Command) -> Running:
        """Start a command, by a program of its own if this cannot fork it.

        Raises:
            OSError: there is no such program.
        """
        async with self._lock:
            self.begin()
            if self._socket is not None:
                try:
                    return await asyncio.to_thread(_ask, self._socket, command)
                except (OSError, EOFError):
                    self.renew()
        return children.start(command)

    def renew(self) -> None:
        """Fork no more from this one: the next start makes another, which imports anew."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            children.signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._socket = self._process = None


def _ask(asked: socket.socket, command: Command) -> Forked:
    order = _Order(
        arguments=command.argv[len(PROGRAM) :],
        env=dict(inherited() if command.env is None else command.env),
        log=str(command.log),
        stop_signal=command.stop_signal,
        parent=os.getpid(),
        piped=command.piped,
        files=command.files,
    )
    stdout: IO[bytes] | None = None
    files = list(command.files)
    if command.piped:
        reading, writing = os.pipe()
        stdout = os.fdopen(reading, "rb")
        files.append(writing)
    try:
        socket.send_fds(asked, [msgspec.json.encode(order)], files)
        answer = asked.recv(_MESSAGE)
        if not answer:
            raise EOFError
        return Forked(int(answer), stdout)
    except BaseException:
        if stdout is not None:
            stdout.close()
        raise
    finally:
        if command.piped:
            os.close(files[-1])


def _main(asked: socket.socket) -> None:
    """The life of the nursery, and in a process that it forked, of that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the supervisor's
    setproctitle.getproctitle()  # it looks at its variables once
    _import_all()
    if psutil.Process().num_threads() > 1:
        raise SystemExit("a module has started a thread: a process with threads must not fork")
    # What is here stays, and its pages are shared as long as nobody writes to them.
    gc.collect()
    gc.freeze()
    while True:
        message, files, _, _ = socket.recv_fds(asked, _MESSAGE, 8)
        if not message:
            return
        order = msgspec.json.decode(message, type=_Order)
        pid = _fork(order)
        if pid == 0:
            asked.close()
            _become(order, files)
            return
        for number in files:
            os.close(number)
        asked.send(str(pid).encode())


def _import_all() -> None:
    from bootstrap import cli, roles, tracing  # noqa: PLC0415 - what takes the time

    tracing.prepare(load())
    cli.build()
    for name in ("bootstrap.gateway", "granian.server.embed"):
        importlib.import_module(name)
    composed = roles.wiring()
    for name in ("write_api_app", "read_api_app", "projector", "scheduler", "worker"):
        getattr(composed, name)
    for name in roles.ONCE:
        getattr(composed, name)


def _fork(order: _Order) -> int:
    """Fork a grandchild and hand it over to the supervisor; its pid, and 0 there."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        here = os.getpid()
        pid = os.fork()
        if pid:
            # Also here: the supervisor may signal the group before the process has come so far.
            with suppress(OSError):
                os.setpgid(pid, pid)
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.close(reading)
        os.close(writing)
        while os.getppid() == here:
            time.sleep(0.0005)
        return 0  # whoever has it now must be the supervisor: `children.bind_to` sees to that
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        pid = int(told.read())
    os.waitpid(between, 0)
    return pid


def _become(order: _Order, files: list[int]) -> None:
    """Be what ``python -m bootstrap.cli`` would be with these arguments and variables."""
    with suppress(OSError):
        os.setpgid(0, 0)
    children.bind_to(order.parent, order.stop_signal)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    take_over(order.env)
    with Path(order.log).open("ab") as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(files[-1] if order.piped else log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    # Out of the way first: those of the command get the numbers that its arguments say.
    aside = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _ASIDE) for number in files]
    for number in files:
        os.close(number)
    for number, wanted in zip(aside, order.files, strict=False):
        os.dup2(number, wanted, inheritable=False)
    for number in aside:
        os.close(number)
    sys.argv = [PROGRAM[0], *order.arguments]
    setproctitle.setproctitle(" ".join(("mindstream", *order.arguments)))
    main: Callable[[], None] = importlib.import_module("bootstrap.cli").main
    main()


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
