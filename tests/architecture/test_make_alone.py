"""That two who make the environment at once do it one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALONE = Path(__file__).parents[2] / ".ci" / "alone.py"


def test_the_second_waits_for_the_first_and_ends_as_its_command_does(tmp_path: Path) -> None:
    # In a checkout of its own, where nobody else makes anything.
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "alone.py"
    script.write_bytes(ALONE.read_bytes())
    (tmp_path / "Makefile").touch()

    def begun(*command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = begun("sh", "-c", "echo begun; read -r line; echo ended")
    second = None
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "begun\n"
        second = begun("sh", "-c", "exit 7")
        assert second.stderr is not None
        assert "waiting" in second.stderr.readline()
        assert second.poll() is None
        first.communicate("go\n", timeout=20)
        second.communicate(timeout=20)
        assert (first.returncode, second.returncode) == (0, 7)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait()
