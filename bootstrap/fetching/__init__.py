"""Real servers for machines that have none: fetched by package managers, unpacked aside, started.

What is fetched lies in the user's cache (``$XDG_CACHE_HOME/mindstream``), outside the checkout and
the system, and is fetched once. Tests use it, and ``mindstream up`` where it is asked for the full
system. Where something cannot be had, ``NotToBeHad`` says why. Owns where things lie and how a
package manager is called; each server has a module of its own.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bootstrap.settings import inherited

SECONDS = 240.0
"""That a package manager has for one step."""


class NotToBeHad(Exception):
    """A server cannot be had on this machine; the message says why, in one line."""


def cache() -> Path:
    """The folder of what was fetched, made if need be."""
    given = inherited("XDG_CACHE_HOME").get("XDG_CACHE_HOME")
    folder = (Path(given) if given else Path.home() / ".cache") / "mindstream"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetched(name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name`` of the cache; ``make`` fills one aside if there is none.

    Several processes may ask at once: one makes it, and the others wait.

    Raises:
        NotToBeHad: ``make`` does.
    """
    root = cache() / name
    with _locked(root.with_suffix(".lock")):
        if not root.exists():
            work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root.parent))
            try:
                made = work / "made"
                made.mkdir()
                make(made)
                made.rename(root)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return root


def run(what: str, command: Sequence[str], folder: Path) -> str:
    """What a step of fetching prints.

    Raises:
        NotToBeHad: it fails, takes too long, or there is no such program.
    """
    if shutil.which(command[0]) is None:
        raise NotToBeHad(f"{what} cannot be fetched: there is no {command[0]}")
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**inherited(), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotToBeHad(
            f"{what} cannot be fetched: {command[0]} took over {SECONDS:.0f} s"
        ) from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise NotToBeHad(f"{what} cannot be fetched: {command[0]}: {said[-1][:200]}")
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
