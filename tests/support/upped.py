"""A real ``mindstream up`` for tests, on a free port and with a home of its own.

Owns starting it, looking at it, and making sure that nothing of it outlives the test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bootstrap.embedded import free_port
from tests.support.servers import wait_until

FAKE_WIRING = Path(__file__).parent / "fake_wiring"
"""Put on PYTHONPATH, the roles do nothing but answer."""


class Up:
    """One ``mindstream up`` and its command line."""

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self.home = home
        self.port = free_port()
        self.gateway = f"http://127.0.0.1:{self.port}"
        clean = {name: text for name, text in os.environ.items() if "MINDSTREAM" not in name}
        self.env = {
            **clean,
            "MINDSTREAM_HOME": str(home),
            "MINDSTREAM_PORT": str(self.port),
            **env,
        }
        self.output = home.with_suffix(".out")
        self.account: tuple[int, int] | None = None
        """User and group to run as; None: the present ones."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor."""
        assert self._process is not None
        return self._process

    def start(self, *, wait: bool = True) -> None:
        """Start it and wait until it says that it is up."""
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bootstrap.cli", "up"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=None if self.account is None else self.account[0],
                group=None if self.account is None else self.account[1],
                extra_groups=None if self.account is None else (),
            )
        if wait:
            wait_until(self._is_up, seconds=90, what="`up` is up")

    def _is_up(self) -> bool:
        said = self.output.read_text()
        assert self.process.poll() is None, said
        return "Ctrl-C stops it" in said

    def cli(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run another command in the same home."""
        return subprocess.run(
            [sys.executable, "-m", "bootstrap.cli", *arguments],
            env=self.env,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def services(self) -> dict[str, Any]:
        """What ``mindstream services --json`` says, read from its file."""
        return json.loads((self.home / "run" / "services.json").read_bytes())

    def processes(self) -> dict[str, dict[str, Any]]:
        """The supervised processes by name."""
        return {process["name"]: process for process in self.services()["processes"]}

    def stop(self, number: int = signal.SIGINT) -> int:
        """Signal the supervisor and wait for its end; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def left(self) -> list[str]:
        """Living processes that belong to this home, as command lines."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                    continue
                belongs = process.environ().get("MINDSTREAM_HOME") == str(self.home)
                line = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if belongs or str(self.home) in line:
                found.append(line)
        return found


@contextmanager
def prepared(**env: str) -> Iterator[Up]:
    """An ``Up`` that is not started yet; whatever it becomes, nothing of it is left in the end."""
    folder = Path(tempfile.mkdtemp(prefix="ms-up-"))
    up = Up(folder / "home", env)
    try:
        yield up
    finally:
        if up._process is not None and up._process.poll() is None:
            up.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def with_fake_roles(**env: str) -> Iterator[Up]:
    """An unstarted ``Up`` whose roles are stand-ins."""
    with prepared(PYTHONPATH=str(FAKE_WIRING), **env) as up:
        yield up
