"""What the nursery forks is what a program of its own would be: output, exit code, parent, life."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bootstrap import children
from tests.support.servers import wait_until

pytestmark = pytest.mark.skipif(not children.CAN_ADOPT, reason="needs Linux: orphans go elsewhere")

FRAME = """
import asyncio, os, signal, sys
from pathlib import Path
import psutil
from bootstrap import children
from bootstrap.children import Command
from bootstrap.nursery import PROGRAM, Forked, Nursery
from bootstrap.watch import ended

folder = Path(sys.argv[1])
log = folder / "log"
children.adopt_orphans()
nursery = Nursery(folder / "nursery.log")

def command(*arguments, **more):
    env = {**os.environ, "MINDSTREAM_HOME": str(folder / "home"), "LC_MARK": "given"}
    return Command(argv=(*PROGRAM, *arguments), log=log, env=env, **more)

async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)

async def main():
    %s
    nursery.renew()
    assert not psutil.Process().children(), psutil.Process().children()

asyncio.run(asyncio.wait_for(main(), 60))
"""


def run(folder: Path, body: str, code: int = 0) -> None:
    """Run the body in a process that has a nursery; what it asserts has to hold."""
    program = FRAME % body.strip().replace("\n", "\n    ")
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, done.stderr


def test_output_and_exit_codes_are_those_of_the_program(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
said = await nursery.start(command("--version", piped=True))
assert isinstance(said, Forked)
assert await ended(said) == 0
with said.stdout as stdout:
    assert stdout.read().startswith(b"mindstream ")
wrong = await nursery.start(command("no-such-command"))
assert await ended(wrong) == 2
assert "no-such-command" in log.read_text()
""",
    )


def test_a_forked_process_is_our_own_child_in_a_group_of_its_own_and_outlives_the_nursery(
    tmp_path: Path,
) -> None:
    run(
        tmp_path,
        """
gateway = await nursery.start(command("run", "gateway"))
seen = psutil.Process(gateway.pid)
assert seen.ppid() == os.getpid()
assert os.getpgid(gateway.pid) == gateway.pid
await until(lambda: "run gateway" in " ".join(seen.cmdline()))
nursery.renew()
await until(lambda: "started" in log.read_text())
assert gateway.poll() is None
gateway.terminate()
assert await ended(gateway) == 0
again = await nursery.start(command("--version"))
assert isinstance(again, Forked)
assert await ended(again) == 0
""",
    )


def test_without_the_nursery_programs_are_started_as_such(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
first = await nursery.start(command("--version"))
assert await ended(first) == 0
[forking] = psutil.Process().children()
forking.kill()
forking.wait()
alone = await nursery.start(command("--version"))
assert not isinstance(alone, Forked)
assert await ended(alone) == 0
back = await nursery.start(command("--version"))
assert isinstance(back, Forked)
assert await ended(back) == 0
""",
    )


def test_the_death_of_the_supervisor_ends_what_was_forked(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
gateway = await nursery.start(command("run", "gateway"))
(folder / "pid").write_text(str(gateway.pid))
os.kill(os.getpid(), signal.SIGKILL)
""",
        code=-signal.SIGKILL,
    )
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: is_gone(pid), seconds=10, what="the forked process has ended")


def is_gone(pid: int) -> bool:
    """Whether it has ended; whoever has its exit code now may be in no hurry."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
