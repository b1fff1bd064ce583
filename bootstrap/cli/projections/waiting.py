"""Asking for operations on projections, and waiting for their end with a bar on standard error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bootstrap import cli
from bootstrap.cli.completion import projections
from bootstrap.cli.projections.telling import complained

if TYPE_CHECKING:
    from bootstrap.operators import Desk
    from bootstrap.settings import Settings
    from domain.operation import Operation
    from projections.engine.telemetry import ProjectionStatus

Name = Annotated[
    str,
    typer.Argument(help="A projection, such as journal.entries.", autocompletion=projections),
]


def known(name: str) -> str:
    """The name, if there is such a projection; else the end of the program."""
    from bootstrap.engine import REBUILDABLE

    if name not in REBUILDABLE:
        cli.unknown("projection", name, REBUILDABLE)
    return name


def statuses(settings: Settings) -> list[ProjectionStatus]:
    """How all projections are."""

    async def look(desk: Desk) -> list[ProjectionStatus]:
        return list(await desk.oversight.projections())

    return cli.at_desk(settings, look)


def waited(
    settings: Settings, kind: str, name: str, options: dict[str, Any] | None = None
) -> Operation:
    """Make the operation and wait for its end."""
    return waited_all(settings, kind, [name], options)[0]


def waited_all(
    settings: Settings, kind: str, names: Sequence[str], options: dict[str, Any] | None = None
) -> list[Operation]:
    """Make an operation for each projection, all of them at once, and wait for their ends."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from domain.operation import REBUILD

    begun: list[Operation] = []
    rebuilt: list[str] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}"),
        console=cli.err,
    ) as bar:

        def telling(name: str) -> Callable[[Operation], None]:
            task = bar.add_task(name, total=1.0, detail="")

            def tell(operation: Operation) -> None:
                detail = operation.detail or operation.state
                if operation.state in ("failed", "cancelled"):
                    detail = operation.state
                elif operation.eta_seconds is not None:
                    detail += f", {operation.eta_seconds} s left"
                bar.update(task, completed=operation.progress, detail=detail)

            return tell

        async def ask(desk: Desk) -> list[Operation]:
            if kind == REBUILD:
                rebuilt.extend([name for name in names if await desk.rebuilds(name)])
                if rebuilt:
                    return []
            asked = [{"projection": name, "options": options or {}} for name in names]
            begun.extend(await desk.ask_all(kind, asked))
            waits = zip(begun, map(telling, names), strict=True)
            return list(await asyncio.gather(*(desk.wait(one, tell) for one, tell in waits)))

        try:
            ended = cli.at_desk(settings, ask)
        except KeyboardInterrupt:
            bar.stop()
            what, them = (names[0], "it") if len(names) == 1 else ("--all", "them all")
            ending = f"`mindstream projections cancel {what}` ends {them}."
            cli.left_waiting([each.id for each in begun], *([ending] if kind == REBUILD else ()))
    if rebuilt:
        are = "is" if len(rebuilt) == 1 else "are"
        cli.fail(f"{', '.join(rebuilt)} {are} being rebuilt already.", cli.REFUSED)
    return ended


def result(ended: Operation, name: str, *, json: bool = False) -> dict[str, Any]:
    """The result of an operation that succeeded; ends the program where it did not."""
    import msgspec

    if ended.state != "succeeded":
        raise typer.Exit(complained(ended, name, json=json))
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(ended.result)) or {}
    return found
