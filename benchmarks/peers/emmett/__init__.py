"""Emmett on PostgreSQL, a peer from another ecosystem: the npm package, run by node.

Owns how it is had and called. The package is installed for the run, by the lock beside this, into
the run's own folder. ``emmett.mjs`` is what runs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", "emmett.mjs")
OLDEST = 20
"""The oldest node that it runs on."""


class NotHere(Exception):
    """It cannot be had on this machine; the message says why."""


class Emmett:
    """The package, installed in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, what: str, dsn: str, **asked: Any) -> dict[str, Any]:
        """Have it do something; what it says of it.

        Raises:
            subprocess.CalledProcessError: it failed; its complaint is on standard error.
        """
        document = json.dumps({"what": what, "dsn": dsn, **asked})
        done = subprocess.run(
            ["node", "emmett.mjs"],
            cwd=self._folder,
            input=document,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=600,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def installed(folder: Path) -> Emmett:
    """Install it.

    Raises:
        NotHere: there is no node, it is too old, or the package cannot be fetched.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NotHere("node and npm are not on the path")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    if version.returncode or int(version.stdout.strip().lstrip("v").partition(".")[0]) < OLDEST:
        raise NotHere(f"node {version.stdout.strip()} is older than {OLDEST}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(HERE / name, folder)
    try:
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
    except subprocess.TimeoutExpired:
        raise NotHere("npm did not install the package within 180 s") from None
    if done.returncode:
        why = done.stderr.strip().splitlines() or ["no reason given"]
        raise NotHere(f"npm could not install the package: {why[-1]}")
    return Emmett(folder)
