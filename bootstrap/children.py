"""Child processes that cannot outlive their parent.

Owns the start and the end of one process: in a group of its own, so that a terminal's Ctrl-C
reaches only the supervisor, and bound to the parent's life where the system can do that (Linux).
It does not watch or restart: ``supervisor.py`` does.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

import msgspec
import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


CAN_ADOPT = _libc is not None
"""Whether ``adopt_orphans`` does anything here."""


class Running(Protocol):
    """A process that was started here; ``subprocess.Popen`` is one."""

    pid: int
    returncode: int | None
    stdout: IO[bytes] | None

    def poll(self) -> int | None:
        """The exit code, None while it lives."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit code."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Signal it, unless it is known to have ended."""
        ...

    def terminate(self) -> None:
        """Ask it to end in good order."""
        ...


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: a program, its environment, and the signal that stops it in good order.

    ``user`` and ``group`` are ids to change to, for root only. Output is appended to ``log``, but
    for standard output where ``piped``: that is the caller's to read, and must be short. ``files``
    are descriptors that the program gets under the same numbers.
    """

    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    stop_signal: int = signal.SIGTERM
    user: int | None = None
    group: int | None = None
    piped: bool = False
    files: tuple[int, ...] = ()


def start(command: Command) -> subprocess.Popen[bytes]:
    """Start the process; raises ``OSError`` if there is no such program."""
    groups: Sequence[int] | None = None if command.user is None else ()
    with command.log.open("ab") as log:
        return subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if command.piped else log,
            stderr=log,
            env=command.env,
            cwd=command.cwd,
            user=command.user,
            group=command.group,
            extra_groups=groups,
            process_group=0,
            pass_fds=command.files,
            # It runs after the change of user, which would clear the parent-death signal.
            preexec_fn=_bind_to_parent(command.stop_signal),  # noqa: PLW1509 - one prctl, no locks
        )


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent died, so that they can be ended."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def bury_orphans(name: str, known: set[int]) -> None:
    """Collect the exit codes of adopted processes; ``known`` are left alone.

    Adopted is who has this name, or is in somebody else's group: what is started here leads one.
    """
    for child in psutil.Process().children():
        try:
            adopted = child.name() == name or os.getpgid(child.pid) != child.pid
            if child.pid not in known and adopted:
                os.waitpid(child.pid, os.WNOHANG)
        except (ChildProcessError, ProcessLookupError, psutil.NoSuchProcess):
            continue


def end_descendants() -> None:
    """Kill whatever still descends from this process; the last step of a shutdown."""
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def signal_group(pid: int, number: int) -> None:
    """Send a signal to the group of a process that was started here, if any of it is left."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def end_process(process: psutil.Process, *steps: tuple[int, float]) -> None:
    """Signal a process of somebody else and wait (seconds), step by step; SIGKILL comes last."""
    for number, seconds in (*steps, (signal.SIGKILL, 5.0)):
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if _is_gone(process):
                return
            time.sleep(0.05)


def _is_gone(process: psutil.Process) -> bool:
    try:
        # Its parent may be in no hurry to collect its exit code, as in containers without an init.
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for the report of a crash."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def bind_to(parent: int, number: int) -> None:
    """Have the system signal this process when its parent dies, where it can do that."""
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _bind_to_parent(number: int) -> Callable[[], None] | None:
    return None if _libc is None else functools.partial(bind_to, os.getpid(), number)
