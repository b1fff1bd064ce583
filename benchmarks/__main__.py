"""``python -m benchmarks [NAME…] [--full]``: run, print the table, write ``latest.json``."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
import traceback

from rich.console import Console

from benchmarks import machine, report, servers
from bootstrap import logs

BENCHMARKS = (
    *("append", "catchup", "rebuild", "sealing"),
    *("post", "get", "lag", "live", "depth", "login", "series", "search"),
)
"""Modules of this package, in the order in which they run."""


def main() -> int:
    """Run what was asked for; 0 unless a benchmark could not be run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(BENCHMARKS)}; none: all")
    parser.add_argument(
        "--full", action="store_true", help="append at 5,000,000 events, not 200,000 (minutes)"
    )
    arguments = parser.parse_args()
    for name in arguments.name:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name}; there are {', '.join(BENCHMARKS)}")
    console, progress = Console(), Console(stderr=True)
    if not console.is_terminal:  # a pipe has no width of its own
        console = Console(width=120)

    def tell(text: str) -> None:
        progress.print(f"  {text}", style="dim", highlight=False)

    logs.configure("warning", "benchmarks")
    # Told to stop, it stops its servers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows: list[report.Row] = []
    failed: dict[str, str] = {}
    started = time.monotonic()
    with servers.running(full=arguments.full, tell=tell) as bench:
        facts = machine.describe(bench.places.home, bench.postgres.dsn(database="postgres"))
        for name in arguments.name or BENCHMARKS:
            progress.print(f"{name} …", highlight=False)
            try:
                rows += importlib.import_module(f"benchmarks.{name}").run(bench)
            except Exception as error:  # noqa: BLE001 - one that fails must not hide the others
                traceback.print_exc()
                failed[name] = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - started
    report.show(console, facts, rows)
    for name, why in bench.skipped.items():
        console.print(f"  {name} was left out: {why}", highlight=False)
    for name, why in failed.items():
        console.print(f"  [red]{name} could not be run:[/red] {why}", highlight=False)
    path = report.write(facts, rows, failed, seconds)
    console.print(f"  {seconds:.0f} s; also in {path}", highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
