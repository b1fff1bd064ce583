"""``restart``: every process replaced by a new one while requests go on being answered."""

from __future__ import annotations

from typing import Annotated

import typer

from bootstrap import cli


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="restart")(restart)


def restart(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Roles or processes; all if none is named.", show_default=False),
    ] = None,
    json: cli.Json = False,
) -> None:
    """Replace the processes of the running `up`, one after the other, without a failed request.

    For new code or after `migrate`. Each new process has to serve before the old one ends, which
    finishes what it has begun. The first that does not come up ends the restart, and the old one
    goes on. Servers such as PostgreSQL stay. Ctrl-C ends the waiting, not the restart.
    """
    from bootstrap import rolling
    from bootstrap.places import Places
    from bootstrap.services import running

    settings = cli.settings()
    found = running(settings)
    if found is None:
        cli.fail(cli.not_running(settings), cli.UNAVAILABLE)
    try:
        meant = rolling.chosen([process.name for process in found.processes], names or ())
    except rolling.NoSuchProcess as error:
        cli.unknown("process", error.name, error.known)
    except rolling.Refused as error:
        cli.fail(str(error), cli.REFUSED)
    steps = []
    try:
        for step in rolling.ask(Places(settings.home), meant):
            if step.state == "starting":
                cli.err.print(f"{step.name} …", markup=False)
            else:
                steps.append(step)
    except KeyboardInterrupt:
        cli.err.print(
            "It goes on without you; `mindstream services` shows since when each process is up."
        )
        raise typer.Exit(cli.INTERRUPTED) from None
    except OSError as error:
        cli.fail(f"The supervisor does not listen, it may be starting: {error}", cli.UNAVAILABLE)
    replaced = [step for step in steps if step.process is not None]
    if json:
        cli.print_json([step.process for step in replaced])
    else:
        cli.print_table(
            ("PROCESS", "PID", "SECONDS"),
            [(step.name, step.process and step.process.pid, step.seconds) for step in replaced],
        )
    failed = [step for step in steps if step.state == "failed"]
    if failed:
        cli.fail(f"{failed[0].name} was not replaced, the old one goes on: {failed[0].detail}")
    if len(replaced) < len(meant):
        cli.fail("The supervisor ended before the restart did.")
