"""A real Chromium without installing one: the machine's own, or Debian's packages unpacked aside.

Owns where it comes from and how it is run. What is fetched lies in the user's cache, outside the
checkout and outside the system, so that it is fetched once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mindstream"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
    " --disable-dev-shm-usage --enable-logging=stderr --v=0 --virtual-time-budget=10000"
).split()
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CONSOLE = re.compile(r"CONSOLE[:(]\d+\)?\] (.*)")


class NotToBeHad(Exception):
    """There is no Chromium for this machine; the message says why."""


class Chromium:
    """A browser and the libraries that it needs beside the system's."""

    def __init__(self, executable: Path, libraries: Path | None) -> None:
        self.executable = executable
        self.env = dict(os.environ)
        if libraries is not None:
            self.env["LD_LIBRARY_PATH"] = f"{libraries}:{libraries / 'pulseaudio'}"

    def open(self, url: str) -> tuple[str, list[str]]:
        """Load a page and run its scripts: the document as HTML, and the console's lines."""
        with tempfile.TemporaryDirectory(prefix="ms-chromium-") as profile:
            done = subprocess.run(
                [self.executable, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url],
                env={**self.env, "HOME": profile},
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
        if done.returncode:
            raise AssertionError(f"Chromium ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout, _CONSOLE.findall(done.stderr)


def chromium() -> Chromium:
    """The machine's own, else the one in the cache, which is fetched if need be.

    Raises:
        NotToBeHad: neither is possible here.
    """
    for name in _NAMES:
        if found := shutil.which(name):
            return Chromium(Path(found), None)
    root = CACHE / "chromium"
    if not root.exists():
        _fetch(root)
    [libraries] = (root / "usr" / "lib").glob("*-linux-gnu")
    return Chromium(root / "usr" / "lib" / "chromium" / "chromium", libraries)


def _fetch(root: Path) -> None:
    """Unpack Debian's chromium and what this machine lacks for it; nothing is installed."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotToBeHad("no Chromium on PATH, and no apt-get that could fetch one")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chromium-", dir=CACHE) as name:
        work = Path(name)
        for folder in ("lists/partial", "apt/archives/partial", "debs", "root"):
            (work / folder).mkdir(parents=True)
        apt = ["apt-get", "-qq", "-o", f"Dir::State::lists={work / 'lists'}"]
        apt += ["-o", f"Dir::Cache={work / 'apt'}", "-o", "APT::Sandbox::User=root"]
        _run([*apt, "update"], work)
        plan = _run([*apt, "-s", "--no-install-recommends", "install", "chromium"], work)
        names = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
        if "chromium" not in names:
            raise NotToBeHad("apt knows no package chromium for this machine")
        _run([*apt, "download", *names], work / "debs")
        for package in (work / "debs").glob("*.deb"):
            _run(["dpkg-deb", "-x", str(package), str(work / "root")], work)
        (work / "root").rename(root)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise NotToBeHad(f"Chromium cannot be fetched: {command[0]}: {said[-1][:200]}")
    return done.stdout
