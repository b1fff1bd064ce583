"""A real OpenSearch for tests, started when the first of them asks."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootstrap import children
from bootstrap.fetching import NotToBeHad
from bootstrap.fetching.opensearch import OpenSearch
from tests.support.servers import wait_until


@contextmanager
def opensearch_node() -> Iterator[tuple[OpenSearch, subprocess.Popen[bytes]]]:
    """One node with a small heap and its process; skips where it cannot be had."""
    folder = Path(tempfile.mkdtemp(prefix="ms-opensearch-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        try:
            node = OpenSearch(folder / "home", folder / "log", heap="384m")
        except NotToBeHad as reason:
            pytest.skip(str(reason))
        node.prepare()
        process = children.start(node.command())
        wait_until(node.answers, seconds=90, what="OpenSearch answers")
        yield node, process
    finally:
        if process is not None:
            process.kill()  # what it holds is nobody's
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
