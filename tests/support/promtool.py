"""Prometheus's own checker: of the machine, or out of Debian's package, unpacked aside."""

from __future__ import annotations

import shutil
from pathlib import Path

from bootstrap.fetching import NotToBeHad, fetched, run


def promtool() -> str:
    """The program. Raises ``NotToBeHad``."""
    found = shutil.which("promtool")
    if found is not None:
        return found
    program = fetched("promtool", _fetch) / "promtool"
    if not program.exists():
        raise NotToBeHad("promtool is not in Debian's package prometheus")
    return str(program)


def _fetch(folder: Path) -> None:
    run("promtool", ("apt-get", "-q", "download", "prometheus"), folder)
    [package] = folder.glob("prometheus_*.deb")
    run("promtool", ("dpkg-deb", "-x", package.name, "unpacked"), folder)
    package.unlink()
    (folder / "unpacked/usr/bin/promtool").rename(folder / "promtool")
    shutil.rmtree(folder / "unpacked")
