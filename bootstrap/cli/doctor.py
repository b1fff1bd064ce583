"""``doctor``: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from bootstrap.examination import Finding

_MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor")(doctor)


def doctor(json: cli.Json = False) -> None:
    """Find what is wrong with this installation, and say what to do about it.

    Looks at settings, disk, keys, databases, Redis, search, files, mail, clocks, and at what lies
    in quarantine, stands still or waits. Changes nothing. A WARNING works now and will not for
    ever; with something FAILED the exit code is 1.
    """
    from bootstrap import examination

    findings = []
    with cli.err.status("looking") as status:
        for found in examination.examine():
            findings.append(found)
            status.update(f"looking: {found.check} is {_MARKS[found.state]}")
    if json:
        cli.print_json(findings)
    else:
        _show(findings)
    if any(found.state == "failed" for found in findings):
        raise typer.Exit(cli.FAILED)


def _show(findings: list[Finding]) -> None:
    cli.print_table(
        ("CHECK", "STATE", "DETAIL"),
        [(found.check, _MARKS[found.state], found.detail) for found in findings],
        folds="DETAIL",
    )
    # One cause may show in many places, and is to be mended once.
    advice: dict[str, list[str]] = {}
    for found in findings:
        if found.remedy is not None:
            advice.setdefault(found.remedy, []).append(found.check)
    cli.out.print("\nWhat to do:" if advice else "\nNothing is wrong.")
    for remedy, checks in advice.items():
        cli.out.print(f"  {', '.join(checks)}:\n    {remedy}", markup=False)
