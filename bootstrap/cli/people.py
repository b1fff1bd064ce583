"""``import people``: accounts from another system, one person a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootstrap import cli
from bootstrap.cli.journal import imports, show_refused


def register(app: typer.Typer) -> None:
    """Add the command to its group, which ``journal`` adds to the program."""
    imports.command()(people)


def people(
    file: Annotated[
        Path, typer.Argument(help="JSON lines.", exists=True, dir_okay=False, readable=True)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the lines.")] = False,
    json: cli.Json = False,
) -> None:
    """Import people with the hashes of their passwords (bcrypt or Argon2id).

    A line is {"email", "display_name", "password_hash"} and, if known, "username", "timezone",
    "language", "consent". Whoever logs in with a bcrypt hash has an Argon2id one afterwards.
    Lines that break a rule, or whose address has an account, are listed with their number; exit
    code 1 says that there were some.
    """
    import asyncio

    from bootstrap import wiring

    result = asyncio.run(wiring.import_accounts(cli.settings(servers=True), file, dry_run=dry_run))
    if json:
        cli.print_json(result)
    else:
        would = "would be accepted" if dry_run else "accepted"
        cli.out.print(f"{result.accepted} {would}, {len(result.refused)} refused")
        show_refused(
            (line.line, fault.field, fault.code, fault.message)
            for line in result.refused
            for fault in line.errors
        )
    if result.refused:
        raise typer.Exit(cli.FAILED)
