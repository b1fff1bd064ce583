"""The benchmark of rebuilds, with few events: that it measures what it says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import catchup, rebuild, servers
from benchmarks.peers import emmett


@pytest.fixture(scope="module")
def bench() -> Iterator[servers.Bench]:
    with servers.running(full=False, tell=lambda text: None) as made:
        yield made


def test_rebuilds_are_measured_alone_and_together(
    bench: servers.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "EVENTS", 3_000)
    monkeypatch.setattr(rebuild, "ROUNDS", 1)
    rows = {row.what: row for row in rebuild.rebuilds(bench)}
    [whole] = [row for what, row in rows.items() if what.startswith("Rebuild of 0.003M")]
    together = rows["All journal projections together"]
    assert whole.theirs is not None
    assert whole.ours > 0
    assert together.theirs is not None
    # Which is less is a matter of the moment with so few events.
    assert min(together.ours, together.theirs) > 0
    assert {row.bar for row in rows.values()} == {"≥ 40 %", "≤ 0.6×", "≥ 1.2×", "≤ 300 MB"}


def test_without_node_the_peer_is_left_out_with_the_reason(
    bench: servers.Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(emmett.NotHere, match="not on the path"):
        emmett.installed(tmp_path / "emmett")
    monkeypatch.setattr(rebuild, "rebuilds", lambda bench: [])
    assert rebuild.run(bench) == []
    assert bench.skipped == {"Emmett": "node and npm are not on the path"}


def test_the_lock_names_no_registry() -> None:
    lock = (emmett.HERE / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


def test_the_peer_and_ours_do_the_same(
    bench: servers.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        peer = emmett.installed(bench.places.home / "emmett")
    except emmett.NotHere as why:
        pytest.skip(str(why))
    for name, value in (("PEER_EVENTS", 300), ("PEER_ROUNDS", 1), ("PEER_SECONDS", 0.3)):
        monkeypatch.setattr(rebuild, name, value)
    monkeypatch.setattr(catchup, "BATCH", 100)
    rows = rebuild.beside(bench, peer)
    assert [row.peer for row in rows] == ["Emmett on PostgreSQL"] * 2
    assert all(row.ours > 0 and row.theirs for row in rows)
