from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from benchmarks import measure, report
from benchmarks.__main__ import BENCHMARKS


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    figures = measure.interleave(
        {"ours": lambda: side("ours", 3.0), "theirs": lambda: side("theirs", 1.0)}, rounds=2
    )
    assert order == ["ours", "theirs", "ours", "theirs"]
    assert figures == {"ours": [3.0, 3.0], "theirs": [1.0, 1.0]}
    assert measure.medians(figures) == {"ours": 3.0, "theirs": 1.0}


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert measure.percentile(values, 0.5) == 50
    assert measure.percentile(values, 0.99) == 99
    assert measure.percentile([7.0], 0.99) == 7


@pytest.mark.parametrize(
    ("ours", "factor", "met"), [(49.0, 5, False), (50.0, 5, True), (3.9, 0.4, False)]
)
def test_a_bar_is_met_from_its_factor_on(ours: float, factor: float, met: bool) -> None:
    row = report.at_least(
        factor, "b", "w", "/s", {}, {"ours": ours, "theirs": 10.0}, "p", per_cent=factor < 1
    )
    assert row.met is met
    assert row.bar == ("≥ 5×" if factor == 5 else "≥ 40 %")


def test_a_bar_of_times_is_met_up_to_its_factor() -> None:
    medians = {"ours": 13.0, "theirs": 10.0}
    assert report.no_slower(1.3, "b", "w", "µs", {}, medians, "p").met
    assert not report.no_slower(1.2, "b", "w", "µs", {}, medians, "p").met
    assert report.at_most(15, "b", "w", "ms", 15.0).met
    assert not report.at_most(15, "b", "w", "ms", 15.1).met


def test_the_table_and_the_file_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LATEST", tmp_path / "latest.json")
    figures = {"ours": [1_100.0, 1_000.0], "theirs": [100.0, 100.0]}
    medians = measure.medians(figures)
    rows = [
        report.at_least(10, "append", "Append", "/s", figures, medians, "their save"),
        report.at_most(15, "lag", "Lag", "ms", 20.0, note="on a slow machine"),
    ]
    out = io.StringIO()
    report.show(Console(file=out, width=120), {"processor": "one"}, rows)
    text = out.getvalue()
    for said in ("1,050 /s", "their save", "10.50×", "≥ 10×", "yes", "NO", "slow machine"):
        assert said in text

    path = report.write({"processor": "one"}, rows, {"post": "no server"}, 12.34)
    document = msgspec.json.decode(path.read_bytes())
    assert document["seconds"] == 12.3
    assert document["failed"] == {"post": "no server"}
    assert [row["met"] for row in document["rows"]] == [True, False]
    assert document["rows"][0]["runs"] == figures


def test_every_benchmark_is_there() -> None:
    import importlib

    for name in BENCHMARKS:
        assert callable(importlib.import_module(f"benchmarks.{name}").run)
