"""``migrate``: bring the schema up to date, say how far it is, or undo a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from bootstrap.database import Migration


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="migrate")(migrate)


def migrate(
    direction: Annotated[
        Literal["up", "down"], typer.Argument(help="down undoes the newest one.")
    ] = "up",
    status: Annotated[bool, typer.Option("--status", help="Only say how far it is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Apply the migrations that are missing. Needs MINDSTREAM_OWNER_DSN, or a running `up`.

    Where time series have a database of their own, that is brought up to date as well.
    """
    import psycopg

    from bootstrap import database

    dsn, series = _addresses()
    try:
        known = database.status(dsn)
        if status:
            done = known
        elif direction == "up":
            done = [m for m in known if not m.applied] if dry_run else _applied(dsn, series)
        else:
            newest = [m for m in known if m.applied][-1:]
            if newest and not dry_run:
                name = f"{newest[0].version}_{newest[0].name}"
                cli.confirm(f"Undo {name}, and lose what it holds?", yes=yes)
                database.undo(dsn)
            done = newest
    except database.MigrationError as error:
        cli.fail(str(error))
    except psycopg.OperationalError as error:
        cli.fail(f"The database does not answer: {error}", cli.UNAVAILABLE)
    if json:
        cli.print_json(done)
    elif status:
        rows = [(m.version, m.name, "applied" if m.applied else "missing") for m in done]
        cli.print_table(("VERSION", "NAME", "STATE"), rows)
    else:
        verb = {"up": "apply", "down": "undo"}[direction]
        said = f"would {verb}" if dry_run else {"apply": "applied", "undo": "undone"}[verb]
        for migration in done:
            cli.out.print(f"{said} {migration.version}_{migration.name}")
        if not done:
            cli.out.print("nothing to do")
        _tell_form(series or dsn)


def _applied(dsn: str, series: str | None) -> list[Migration]:
    from bootstrap import database

    with cli.err.status("migrating"):
        done = database.migrate(dsn)
        if series is not None:
            database.migrate(series)
    return done


def _tell_form(dsn: str) -> None:
    from bootstrap import timeseries

    form = timeseries.form_of(dsn)
    if form is not None:
        cli.err.print(f"time series: {timeseries.SAID[form]}")


def _addresses() -> tuple[str, str | None]:
    """The owner's addresses: of the schema, and of time series where they have their own."""
    settings = cli.settings()
    if settings.owner_dsn is None:
        settings = cli.settings(servers=True, instead="MINDSTREAM_OWNER_DSN")
    if settings.owner_dsn is None:
        cli.fail("Set MINDSTREAM_OWNER_DSN to the address of the schema's owner.", cli.USAGE)
    return settings.owner_dsn, settings.timeseries_owner_dsn or settings.timeseries_dsn
