"""What a benchmark found: rows, as a table on the terminal and as JSON.

Owns the form of a result and when its bar counts as met; it measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

LATEST = Path(__file__).parent / "latest.json"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison.

    ``ours`` and ``theirs`` are medians in ``unit``; ``ratio`` is ours over theirs. ``bar`` says in
    words what was asked, ``met`` whether it was. ``runs`` holds every single figure.
    """

    benchmark: str
    what: str
    unit: str
    ours: float
    theirs: float | None
    peer: str
    ratio: float | None
    bar: str
    met: bool
    note: str = ""
    runs: dict[str, list[float]] = {}


def at_least(
    factor: float,
    benchmark: str,
    what: str,
    unit: str,
    figures: Mapping[str, Sequence[float]],
    medians: Mapping[str, float],
    peer: str,
    *,
    note: str = "",
    per_cent: bool = False,
) -> Row:
    """A row whose bar is a ratio: ours is ``factor`` times theirs or more."""
    ratio = medians["ours"] / medians["theirs"] if medians["theirs"] else 0.0
    return Row(
        benchmark=benchmark,
        what=what,
        unit=unit,
        ours=medians["ours"],
        theirs=medians["theirs"],
        peer=peer,
        ratio=ratio,
        bar=f"≥ {factor * 100:.0f} %" if per_cent else f"≥ {factor:g}×",
        met=ratio >= factor,
        note=note,
        runs={name: list(values) for name, values in figures.items()},
    )


def no_slower(
    factor: float,
    benchmark: str,
    what: str,
    unit: str,
    figures: Mapping[str, Sequence[float]],
    medians: Mapping[str, float],
    peer: str,
    *,
    note: str = "",
) -> Row:
    """A row of times: ours is ``factor`` times theirs or less."""
    ratio = medians["ours"] / medians["theirs"]
    return Row(
        benchmark=benchmark,
        what=what,
        unit=unit,
        ours=medians["ours"],
        theirs=medians["theirs"],
        peer=peer,
        ratio=ratio,
        bar=f"≤ {factor:g}×",
        met=ratio <= factor,
        note=note,
        runs={name: list(values) for name, values in figures.items()},
    )


def at_most(
    limit: float,
    benchmark: str,
    what: str,
    unit: str,
    value: float,
    *,
    note: str = "",
    runs: Sequence[float] = (),
) -> Row:
    """A row without a peer: ours is ``limit`` or less."""
    return Row(
        benchmark=benchmark,
        what=what,
        unit=unit,
        ours=value,
        theirs=None,
        peer="",
        ratio=None,
        bar=f"≤ {limit:g} {unit}",
        met=value <= limit,
        note=note,
        runs={"ours": list(runs)},
    )


def show(console: Console, machine: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Print the machine, the table and the notes."""
    table = Table(title="Mindstream, side by side", title_justify="left", show_lines=False)
    table.add_column("what", max_width=46)
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("theirs", justify="right", max_width=34, overflow="fold")
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("bar", justify="right", no_wrap=True)
    table.add_column("met", justify="center", no_wrap=True)
    for row in rows:
        theirs = "" if row.theirs is None else f"{_figure(row.theirs, row.unit)} ({row.peer})"
        table.add_row(
            row.what,
            _figure(row.ours, row.unit),
            theirs,
            _ratio(row),
            row.bar,
            "[green]yes[/green]" if row.met else "[red]NO[/red]",
        )
    console.print(table)
    for name, value in machine.items():
        console.print(f"  {name}: {value}", highlight=False)
    for row in rows:
        if row.note:
            console.print(f"  [dim]{row.what}: {row.note}[/dim]", highlight=False)


def write(
    machine: Mapping[str, str], rows: Sequence[Row], failed: Mapping[str, str], seconds: float
) -> Path:
    """Write ``benchmarks/latest.json``; returns where it is."""
    document = {"machine": machine, "seconds": round(seconds, 1), "rows": rows, "failed": failed}
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return LATEST


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return ""
    return f"{row.ratio * 100:.1f} %" if row.bar.endswith("%") else f"{row.ratio:.2f}×"
