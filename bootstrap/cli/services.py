"""``services``: where everything of a running ``up`` listens."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from bootstrap import cli


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="services")(services)


def services(json: cli.Json = False) -> None:
    """Say where everything listens, and which processes run.

    The addresses are settings too: write_dsn is MINDSTREAM_WRITE_DSN, and so on. JSON holds them
    whole; the table masks passwords.
    """
    from bootstrap import settings as fields
    from bootstrap.services import running

    settings = cli.settings()
    found = running(settings)
    if found is None:
        cli.fail(cli.not_running(settings), cli.UNAVAILABLE)
    if json:
        cli.print_json(found)
        return
    databases = ("write_dsn", "read_dsn", "owner_dsn", "timeseries_dsn")
    addresses = ("gateway", *databases, "redis_url", "search_url")
    cli.print_table(
        ("SERVICE", "ADDRESS"),
        [(name, fields.masked(getattr(found, name) or "none")) for name in addresses],
    )
    cli.out.print()
    now = datetime.now(UTC)
    cli.print_table(
        ("PROCESS", "PID", "UP SINCE", "SECONDS", "RESTARTS", "LAST DEATH"),
        [
            (
                process.name,
                process.pid,
                process.started_at.isoformat(timespec="seconds"),
                int((now - process.started_at).total_seconds()),
                process.restarts,
                "" if process.died_at is None else f"{process.died} {process.died_at:%H:%M:%S}",
            )
            for process in found.processes
        ],
        drop=("UP SINCE",),
    )
