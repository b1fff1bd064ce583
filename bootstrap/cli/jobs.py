"""``jobs list|show|wait|cancel``: long work of all kinds, whosever it is.

What HTTP has under ``/v1/ops/jobs`` and ``/v1/operations``. A worker does the work: waiting for it
here, and no longer waiting, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from bootstrap.operators import Desk
    from domain.operation import Operation, Targeted

jobs = typer.Typer(help="Long work: imports, exports, rebuilds, erasures. Alone: `jobs list`.")
STATES = ("pending", "running", "succeeded", "failed", "cancelled")
Job = Annotated[UUID, typer.Argument(help="The job's id, as `jobs list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(jobs, name="jobs")


def _states() -> list[str]:
    return list(STATES)


OfState = Annotated[
    str | None, typer.Option("--state", help=f"{', '.join(STATES)}.", autocompletion=_states)
]
OfKind = Annotated[
    str | None, typer.Option("--kind", help="Only of this kind, such as journal.import.")
]
AtMost = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]


@jobs.callback(invoke_without_command=True)
def _jobs(
    context: typer.Context,
    state: OfState = None,
    kind: OfKind = None,
    limit: AtMost = 50,
    json: cli.Json = False,
) -> None:
    if context.invoked_subcommand is None:
        list_(state, kind, limit, json)


@jobs.command(name="list")
def list_(
    state: OfState = None, kind: OfKind = None, limit: AtMost = 50, json: cli.Json = False
) -> None:
    """List jobs of everybody, newest first."""
    from projections.oversight import OperationFilter

    if state is not None and state not in STATES:
        cli.fail(f"--state is one of {', '.join(STATES)}.", cli.USAGE)
    wanted = OperationFilter(state=cast("Any", state), kind=kind)

    async def look(desk: Desk) -> list[Targeted]:
        return list(await desk.oversight.operations(wanted, limit=limit))

    found = cli.at_desk(cli.settings(servers=True), look)
    if json:
        cli.print_json([each.as_owned() for each in found])
        return
    if not found:
        cli.err.print("no jobs")
        return
    cli.print_table(
        ("ID", "KIND", "OF", "STATE", "PROGRESS", "LEFT", "CREATED", "DETAIL"),
        [
            (
                each.id,
                each.kind,
                each.target,
                each.state,
                f"{each.progress:.0%}",
                "" if each.eta_seconds is None else f"{each.eta_seconds} s",
                f"{each.created_at:%Y-%m-%d %H:%M:%S}",
                each.detail if each.error is None else each.error.message,
            )
            for each in found
        ],
        below=("DETAIL", "CREATED", "LEFT", "PROGRESS", "OF"),
    )


@jobs.command()
def show(job: Job, json: cli.Json = False) -> None:
    """Show all that is known of one job, its result or why it failed."""
    _print(cli.at_desk(cli.settings(servers=True), lambda desk: _known(desk, job)), json)


@jobs.command()
def wait(job: Job, json: cli.Json = False) -> None:
    """Wait until a job has ended, with its progress on standard error; then show it.

    Exit code 1 says that it failed or was cancelled. Ctrl-C ends the waiting and not the job.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=cli.err) as bar:
        task = bar.add_task("waiting", total=1.0)

        def tell(operation: Operation) -> None:
            words = f"{operation.kind}: {operation.detail or operation.state}"
            bar.update(task, completed=operation.progress, description=words)

        async def until_ended(desk: Desk) -> Operation:
            found = await _known(desk, job)
            tell(found)
            return await desk.wait(found, tell)

        ended = cli.at_desk(cli.settings(servers=True), until_ended)
    _print(ended, json)
    if ended.state != "succeeded":
        raise typer.Exit(cli.FAILED)


@jobs.command()
def cancel(job: Job, yes: cli.Yes = False, json: cli.Json = False) -> None:
    """End a job on projections or quarantine at its next step; what it has done stays.

    Other jobs belong to people, who end them themselves. One that has ended stays as it is.
    """
    from domain.operation import is_operators

    async def end(desk: Desk) -> Operation | None:
        found = await _known(desk, job)
        if not is_operators(found.kind):
            cli.fail(f"{found.kind} belongs to a person, who may end it.", cli.REFUSED)
        return None if found.finished_at is not None else await desk.cancel_job(found)

    del yes  # nothing is lost by it, so nothing is asked
    ended = cli.at_desk(cli.settings(servers=True), end)
    if ended is None:
        cli.fail("It has ended already.", cli.REFUSED)
    _print(ended, json)


async def _known(desk: Desk, job: UUID) -> Targeted:
    found = await desk.operation(job)
    return cli.fail(f"There is no job {job}.") if found is None else found


def _print(operation: Operation, json: bool) -> None:
    import msgspec

    if json:
        cli.print_json(operation.as_owned())
        return
    for field, value in msgspec.json.decode(msgspec.json.encode(operation)).items():
        if value is None:
            continue
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        cli.out.print(f"{field:12} {shown}", markup=False)
