"""A second machine: a projector with a home of its own and only the servers in common."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.upped import Up


class Machine:
    """One ``mindstream run projector`` elsewhere, as a container would run it."""

    def __init__(self, up: Up) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ms-machine-"))
        services = up.services()
        clean = {name: text for name, text in os.environ.items() if "MINDSTREAM" not in name}
        self._env = {
            **clean,
            "MINDSTREAM_HOME": str(self.home),
            "MINDSTREAM_WRITE_DSN": services["write_dsn"],
            "MINDSTREAM_READ_DSN": services["read_dsn"],
            "MINDSTREAM_REDIS_URL": services["redis_url"],
            "MINDSTREAM_MASTER_KEY": (up.home / "master.key").read_text().strip(),
        }
        self._output = self.home / "out"
        self.process = self._start()

    @property
    def pid(self) -> int:
        """Of the projector."""
        return self.process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "bootstrap.cli", "run", "projector"],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> int:
        """Kill it as an out-of-memory killer would, and start it again; the pid it had."""
        pid = self.pid
        self.process.kill()
        self.process.wait()
        self.process = self._start()
        return pid

    def close(self) -> None:
        """Stop it and remove its home."""
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.home, ignore_errors=True)
