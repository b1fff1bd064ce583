"""A migrated database for each form of time series, each of a server of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bootstrap import children, database, timeseries
from bootstrap.fetching import NotToBeHad
from bootstrap.fetching.pglite import Pglite
from bootstrap.fetching.timescaledb import TimescaleDB
from tests.support.servers import wait_until

FORMS = ("none", "apache", "community")


class FormDatabase(msgspec.Struct, frozen=True):
    """``dsn`` is its owner's; ``single`` says that it takes one connection at a time."""

    form: str
    dsn: str
    single: bool = False


@contextmanager
def apache() -> Iterator[FormDatabase]:
    """Debian's TimescaleDB; skips where it cannot be had."""
    with _running(lambda folder: TimescaleDB(folder.name, folder / "log", {"fsync": "off"})) as dsn:
        database.migrate(dsn)
        assert timeseries.form_of(dsn) == "apache"
        yield FormDatabase("apache", dsn)


@contextmanager
def community() -> Iterator[FormDatabase]:
    """TimescaleDB in WebAssembly; skips where it cannot be had."""
    with _running(lambda folder: Pglite(folder / "log")) as dsn:
        database.migrate(dsn)
        assert timeseries.form_of(dsn) == "community"
        yield FormDatabase("community", dsn, single=True)


@contextmanager
def _running(make: Callable[[Path], TimescaleDB | Pglite]) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="ms-form-"))
    server: TimescaleDB | Pglite | None = None
    process: subprocess.Popen[bytes] | None = None
    try:
        try:
            server = make(folder)
            if isinstance(server, TimescaleDB):
                server.prepare()
        except NotToBeHad as reason:
            pytest.skip(str(reason))
        command = server.command()
        process = children.start(command)
        wait_until(server.answers, what=f"{type(server).__name__} answers")
        yield server.dsn
    finally:
        if process is not None:
            process.send_signal(command.stop_signal)
            process.wait(20)
        if isinstance(server, TimescaleDB):
            server.remove()
        shutil.rmtree(folder, ignore_errors=True)
