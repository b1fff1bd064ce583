"""``subjects erase|report``: people who are to be forgotten, or were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from bootstrap.settings import Settings
    from domain.operation import Operation

subjects = typer.Typer(no_args_is_help=True, help="People, and what is known about them.")


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(subjects, name="subjects")


@subjects.command()
def erase(
    who: Annotated[str, typer.Argument(help="The person's id or e-mail address.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many rows each table has of them.")
    ] = False,
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Erase a person, for good: their key, their rows, their logins. A worker does it.

    Prints the signed report of what was erased where. There is no way back.
    """
    import asyncio

    from bootstrap import wiring

    settings = cli.settings(servers=True)
    user_id = asyncio.run(wiring.person_of(settings, who))
    if user_id is None:
        cli.fail("There is no such person.", cli.REFUSED)
    if dry_run:
        _show_rows(settings, user_id, json)
        return
    cli.confirm(f"Erase {user_id}? There is no way back.", yes=yes)
    with cli.err.status("erasing") as status:

        def tell(operation: Operation) -> None:
            status.update(f"erasing: {operation.detail or 'waiting for a worker'}")

        ended = asyncio.run(wiring.erase(settings, user_id, tell))
    if ended.state != "succeeded":
        cli.fail(ended.error.message if ended.error else f"The operation is {ended.state}.")
    _show(_result(ended), json)


@subjects.command()
def report(
    operation: Annotated[str, typer.Argument(help="The operation's id.")],
    json: cli.Json = False,
) -> None:
    """Print the report of an erasure, after a look at its signature.

    Exit code 1 says that the signature is not by a key of ours, or of another report.
    """
    import asyncio

    from bootstrap import wiring

    settings = cli.settings(servers=True)
    try:
        found = asyncio.run(wiring.erasure_report(settings, UUID(operation)))
    except ValueError:
        cli.fail("That is no id of an operation.", cli.USAGE)
    if found is None:
        cli.fail("There is no such report.", cli.REFUSED)
    said, signed = found
    _show(said, json)
    if not signed:
        cli.fail("The signature does not fit: keys that are no longer published sign nothing.")


def _show_rows(settings: Settings, user_id: UUID, json: bool) -> None:
    from bootstrap.engine import DirectEngine

    rows = DirectEngine(settings.write_dsn or "", series=settings.timeseries_dsn).rows_of(user_id)
    if json:
        cli.print_json({"subject_id": user_id, "rows": rows})
    else:
        cli.out.print(f"would erase {user_id}, their key, logins and files, and of read models:")
        cli.print_table(("TABLE", "ROWS"), [(name, count) for name, count in rows.items() if count])


def _result(ended: Operation) -> dict[str, Any]:
    import msgspec

    result: dict[str, Any] = msgspec.json.decode(ended.result)
    return result


def _show(said: dict[str, Any], json: bool) -> None:
    if json:
        cli.print_json(said)
        return
    cli.out.print(f"{said['subject_id']} was erased at {said['erased_at']}")
    cli.print_table(("STORE", "ERASED"), list(said["erased"].items()))
