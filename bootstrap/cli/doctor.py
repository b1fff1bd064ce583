"""``doctor``: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import typer

from bootstrap import cli


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor")(doctor)


def doctor(json: cli.Json = False) -> None:
    """Check Python, settings, disk, ports, servers, migrations and clocks; exit 1 on a failure."""
    from bootstrap import examination

    findings = examination.examine()
    if json:
        cli.print_json(findings)
    else:
        marks = {"ok": "ok", "warning": "WARNING", "failed": "FAILED"}
        cli.print_table(
            ("CHECK", "STATE", "DETAIL"),
            [(found.check, marks[found.state], found.detail) for found in findings],
        )
    if any(found.state == "failed" for found in findings):
        raise typer.Exit(cli.FAILED)
