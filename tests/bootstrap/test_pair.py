"""A projector's two processes end together, whichever of them ends first and however."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.support.servers import wait_until

PROGRAM = """
import asyncio, os, signal, sys
from bootstrap import pair

def say(*words):
    os.write(1, (" ".join(map(str, words)) + chr(10)).encode())  # both write to one pipe

def body_of(share):
    async def body(stop):
        say(share, os.getpid(), os.nice(0))
        if share in sys.argv:
            raise RuntimeError("it does")
        await stop.wait()
        say(share, "ends")
    return body

def main(share, body):
    async def told():
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await body(stop)
        return 0 if stop.is_set() else 1
    return asyncio.run(told())

sys.exit(pair.run(body_of, main))
"""


class Pair:
    """Both processes, running."""

    def __init__(self) -> None:
        self.main = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True
        )
        assert self.main.stdout is not None
        told = [self.main.stdout.readline().split() for _ in range(2)]
        self.pids = {share: int(pid) for share, pid, _ in told}
        self.nice = {share: int(nice) for share, _, nice in told}
        self.aside = psutil.Process(self.pids["aside"])

    def close(self) -> None:
        self.main.kill()
        self.main.wait()
        if self.main.stdout is not None:
            self.main.stdout.close()

    @property
    def aside_is_gone(self) -> bool:
        try:
            return self.aside.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


@pytest.fixture
def both() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def test_the_process_aside_is_another_and_gives_way(both: Pair) -> None:
    assert both.pids["awaited"] == both.main.pid != both.pids["aside"]
    assert both.aside.ppid() == both.main.pid
    assert both.nice["aside"] > both.nice["awaited"]


def test_told_to_stop_both_end_in_good_order(both: Pair) -> None:
    both.main.send_signal(signal.SIGTERM)
    said, _ = both.main.communicate(timeout=10)
    assert sorted(said.splitlines()) == ["aside ends", "awaited ends"]
    assert both.main.returncode == 0
    assert both.aside_is_gone


def test_a_process_aside_that_hangs_holds_nobody_up(both: Pair) -> None:
    both.aside.suspend()
    both.main.send_signal(signal.SIGTERM)
    assert both.main.wait(15) == 0
    assert both.aside_is_gone


def test_the_death_of_the_process_aside_ends_the_other_as_a_failure(both: Pair) -> None:
    both.aside.kill()
    assert both.main.wait(10) == 1


def test_the_death_of_the_first_ends_the_process_aside(both: Pair) -> None:
    both.main.kill()
    wait_until(lambda: both.aside_is_gone, seconds=10, what="the process aside has ended")


@pytest.mark.parametrize("share", ["awaited", "aside"])
def test_an_error_of_either_ends_both_and_is_told(share: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, share],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "it does" in done.stderr
