"""``up`` and ``run``: everything under one supervisor, or one role in the foreground."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from bootstrap import cli

Role = Literal[
    "write-api", "read-api", "projector", "worker", "scheduler", "gateway", "setup", "demo"
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="up")(up)
    app.command(name="run")(run)


def up(
    json: cli.Json = False,
    port: Annotated[int | None, typer.Option(help="Loopback port of the gateway.")] = None,
) -> None:
    """Start the embedded services and every process; Ctrl-C stops them all."""
    from bootstrap import services, supervisor

    overrides: dict[str, Any] = {} if port is None else {"port": port}
    settings = cli.settings(**overrides)
    _tell_slips()
    try:
        code = supervisor.up(settings, as_json=json)
    except (services.AlreadyRunning, supervisor.CannotStart) as error:
        cli.fail(str(error), cli.UNAVAILABLE)
    raise typer.Exit(code)


def _tell_slips() -> None:
    """Say which variables no setting reads; they change nothing."""
    from bootstrap.settings import PREFIX, unknown_variables, variables

    # What they all begin with would make them all alike.
    names = [variable.removeprefix(PREFIX) for variable in variables()]
    for slip in unknown_variables():
        meant = cli.nearest(slip.removeprefix(PREFIX), names)
        hint = f" ({PREFIX}{meant}?)" if meant else ""
        cli.err.print(f"No such setting: {slip}{hint}", markup=False)


def run(
    role: Annotated[Role, typer.Argument(help="Which one.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="Name of this process, where a role has several.")
    ] = None,
    listener: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run one role in the foreground, against the services that the settings name.

    Without such settings it joins the `up` that runs in the same home. `setup` makes what a first
    start needs and `demo` fills an empty store; both end by themselves and print JSON.
    """
    from bootstrap import roles, services

    try:
        code = roles.run(role, name or role, cli.settings(), listener)
    except services.NotRunning as error:
        cli.fail(str(error), cli.UNAVAILABLE)
    raise typer.Exit(code)
