"""``import journal``: a diary from a file, one entry a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from domain.operation import Operation

imports = typer.Typer(no_args_is_help=True, help="Bring in data from files.")


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(imports, name="import")


@imports.callback()
def _group() -> None:
    """Make it a group, though it has one command so far."""


@imports.command()
def journal(
    file: Annotated[
        Path, typer.Argument(help="JSON lines.", exists=True, dir_okay=False, readable=True)
    ],
    user: Annotated[str, typer.Option(help="E-mail address of whose diary it is.")],
    json: cli.Json = False,
) -> None:
    """Import a diary. A worker does it; a second import of the same file adds nothing twice.

    Lines that break a rule are listed with their number; exit code 1 says that there were some.
    """
    import asyncio

    import msgspec
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from bootstrap import wiring

    settings = cli.settings(servers=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
        console=cli.err,
    ) as bar:
        task = bar.add_task(file.name, total=1.0, detail="")
        begun: list[UUID] = []

        def tell(operation: Operation) -> None:
            begun[:] = [operation.id]
            bar.update(task, completed=operation.progress, detail=operation.detail or "")

        try:
            ended = asyncio.run(wiring.import_diary(settings, file, user, tell))
        except KeyboardInterrupt:
            bar.stop()
            cli.left_waiting(begun)
    if ended is None:
        cli.fail(f"There is nobody with the address {user}.")
    result = msgspec.json.decode(msgspec.json.encode(ended.result)) or {}
    if json:
        cli.print_json(result)
    else:
        _show(ended, result)
    if ended.state != "succeeded" or result.get("refused"):
        raise typer.Exit(cli.FAILED)


def _show(ended: Operation, result: dict[str, Any]) -> None:
    refused = result.get("refused", [])
    cli.out.print(f"{ended.state}: {result.get('accepted', 0)} accepted, {len(refused)} refused")
    if ended.error is not None:
        cli.out.print(str(ended.error), markup=False)
    show_refused(
        (line["line"], fault["field"], fault["code"], fault["message"])
        for line in refused
        for fault in line["errors"]
    )


def show_refused(faults: Iterable[tuple[int, str, str, str]]) -> None:
    """Print what is wrong with which line of a file, if anything is."""
    if rows := list(faults):
        cli.print_table(("LINE", "FIELD", "RULE", "WHAT IS WRONG"), rows, folds="WHAT IS WRONG")
