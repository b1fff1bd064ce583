"""``psql`` and ``pg``: the database, as its owner, in PostgreSQL's own programs."""

from __future__ import annotations

import os
import shutil
from typing import Annotated, NoReturn

import typer

from bootstrap import cli

PROGRAMS = ("createdb", "dropdb", "pg_dump", "pg_dumpall", "pg_restore", "psql")
_OWN_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="psql", context_settings=_OWN_OPTIONS)(psql)
    app.command(name="pg", context_settings=_OWN_OPTIONS)(pg)


def psql(
    context: typer.Context,
    role: Annotated[
        str, typer.Option(help="owner (whom row-level security does not bind), write or read.")
    ] = "owner",
) -> None:
    """Open the database in psql; SQL may come from standard input. psql's own options work too."""
    if role not in ("owner", "write", "read"):
        cli.fail(f"There is no role {role}: owner, write or read.", cli.USAGE)
    _become("psql", ["-v", "ON_ERROR_STOP=1", *context.args], _address(role))


def pg(
    context: typer.Context,
    program: Annotated[str, typer.Argument(help=", ".join(PROGRAMS), show_default=False)],
) -> None:
    """Run a program of PostgreSQL on the database as its owner, with the program's own options.

    Needs MINDSTREAM_OWNER_DSN, or a running `up`.
    """
    if program not in PROGRAMS:
        cli.fail(f"There is no program {program}: {', '.join(PROGRAMS)}.", cli.USAGE)
    _become(program, context.args, _address("owner"))


def _address(role: str) -> str:
    settings = cli.settings()
    name = f"{role}_dsn"
    if getattr(settings, name) is None:
        settings = cli.settings(servers=True, instead=f"MINDSTREAM_{name.upper()}")
    found: str | None = getattr(settings, name)
    if found is None:
        cli.fail(f"MINDSTREAM_{name.upper()} is not set.", cli.UNAVAILABLE)
    return found


def _become(name: str, arguments: list[str], dsn: str) -> NoReturn:
    """Turn into that program, its own and those of the caller as arguments."""
    from bootstrap.embedded import POSTGRES_BIN
    from bootstrap.settings import inherited

    program = str(POSTGRES_BIN / name)
    if not os.access(program, os.X_OK):
        program = shutil.which(name) or cli.fail(f"{name} is not installed.", cli.UNAVAILABLE)
    # The address goes by environment: arguments are everybody's to read.
    environment = {**inherited(), **_environment(dsn)}
    os.execve(program, [name, *arguments], environment)  # noqa: S606


def _environment(dsn: str) -> dict[str, str]:
    """The address as libpq's variables."""
    from psycopg.conninfo import conninfo_to_dict

    names = {
        "host": "PGHOST",
        "hostaddr": "PGHOSTADDR",
        "port": "PGPORT",
        "dbname": "PGDATABASE",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "sslmode": "PGSSLMODE",
        "sslrootcert": "PGSSLROOTCERT",
        "options": "PGOPTIONS",
    }
    given = conninfo_to_dict(dsn)
    return {variable: str(given[name]) for name, variable in names.items() if name in given}
