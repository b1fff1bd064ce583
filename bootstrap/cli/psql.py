"""``psql``: the database, as its owner."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

import typer

from bootstrap import cli


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="psql",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(psql)


def psql(
    context: typer.Context,
    role: Annotated[
        str, typer.Option(help="owner (whom row-level security does not bind), write or read.")
    ] = "owner",
) -> None:
    """Open the database in psql; SQL may come from standard input. psql's own options work too."""
    from bootstrap.embedded import POSTGRES_BIN
    from bootstrap.settings import inherited

    if role not in ("owner", "write", "read"):
        cli.fail(f"There is no role {role}: owner, write or read.", cli.USAGE)
    settings = cli.settings(servers=True)
    dsn = getattr(settings, f"{role}_dsn")
    if dsn is None:
        cli.fail(f"MINDSTREAM_{role.upper()}_DSN is not set.", cli.UNAVAILABLE)
    program = str(POSTGRES_BIN / "psql")
    if not os.access(program, os.X_OK):
        program = shutil.which("psql") or cli.fail("psql is not installed.", cli.UNAVAILABLE)
    # The address goes by environment: arguments are everybody's to read.
    environment = {**inherited(), **_environment(dsn)}
    os.execve(program, ["psql", "-v", "ON_ERROR_STOP=1", *context.args], environment)  # noqa: S606


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
