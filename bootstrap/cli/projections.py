"""``projections``: how far the read models are, and what operators do to them.

A worker of the running system does the work; a command makes the operation and waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from bootstrap.settings import Settings
    from domain.operation import Operation
    from projections.engine.telemetry import ProjectionStatus

USUAL_SPEED = 40_000.0
"""Events a second that a rebuild is expected to fold where nothing has been measured yet."""

projections = typer.Typer(
    no_args_is_help=True, help="How far the read models are, and building them anew."
)
Name = Annotated[str, typer.Argument(help="A projection, such as journal.entries.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(projections, name="projections")


@projections.command(name="list")
def list_(json: cli.Json = False) -> None:
    """Show every projection in a line."""
    found = _statuses(cli.settings(servers=True))
    if json:
        cli.print_json(found)
        return
    cli.print_table(
        ("NAME", "STATUS", "POSITION", "HEAD", "GAP", "SECONDS", "EVENTS/S", "GENERATION"),
        [
            (
                each.name,
                each.status,
                each.position,
                each.head,
                each.gap_events,
                each.gap_seconds,
                each.events_per_second,
                each.generation,
            )
            for each in found
        ],
    )


@projections.command()
def show(name: Name, json: cli.Json = False) -> None:
    """Show all that is known of one projection."""
    import msgspec

    found = {each.name: each for each in _statuses(cli.settings(servers=True))}
    if name not in found:
        cli.fail(f"There is no projection {name}; there are {', '.join(found) or 'none yet'}.")
    if json:
        cli.print_json(found[name])
        return
    for field, value in msgspec.to_builtins(found[name]).items():
        cli.out.print(f"{field:20} {value}", markup=False)


@projections.command()
def rebuild(
    name: Annotated[str, typer.Argument(help="A projection, or `all`.")],
    key: Annotated[str | None, typer.Option(help="Only this row, as verify names it.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Only what was recorded at this time or later.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Only what was recorded before this time.")] = None,
    partitions: Annotated[int | None, typer.Option(help="Parts that are built at once.")] = None,
    max_lag_seconds: Annotated[
        float | None, typer.Option(help="What live projections may fall behind meanwhile.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read, and how long it takes.")
    ] = False,
    accept_differences: Annotated[
        bool,
        typer.Option("--accept-differences", "--yes", help="Swap even if the new rows differ."),
    ] = False,
    json: cli.Json = False,
) -> None:
    """Build a read model anew from the events, beside the live one, and swap them.

    Readers see the old rows until the new ones take their place, all at once. Nothing is lost, so
    nothing is asked. A worker does it: Ctrl-C ends the waiting and not the work.
    """
    from bootstrap.views import VIEWS

    chosen = [view for view in VIEWS if name in {view.name, "all"}]
    if not chosen:
        known = ", ".join(view.name for view in VIEWS)
        cli.fail(f"There is no projection {name}; there are {known}.", cli.USAGE)
    settings = cli.settings(servers=True)
    if dry_run:
        _show_plans([_plan(settings, view) for view in chosen], json)
        return
    asked = {
        "key": key,
        "from": from_,
        "to": to,
        "partitions": partitions,
        "max_lag_seconds": max_lag_seconds,
        "accept_differences": accept_differences,
    }
    options = _options({field: value for field, value in asked.items() if value is not None})
    done = [_rebuilt(settings, view.name, options) for view in chosen]
    if json:
        cli.print_json(done[0] if len(done) == 1 else done)
        return
    for report in done:
        cli.out.print(
            f"{report['projection']}: {report['rows']} rows from {report['events']} events in"
            f" {report['seconds']} s, generation {report['generation']} at position"
            f" {report['position']}"
        )


@projections.command()
def verify(name: Name, json: cli.Json = False) -> None:
    """Compare a read model with a fold of its events; exit code 1 says that they differ."""
    from domain.operation import VERIFY

    found = _result(_waited(cli.settings(servers=True), VERIFY, _known(name)))
    if json:
        cli.print_json(found)
    else:
        cli.out.print(
            f"{name}: {found['rows_live']} rows, {found['rows_expected']} expected at position"
            f" {found['position']}: {'equal' if found['equal'] else 'different'}"
        )
        cli.print_table(
            ("KEY", "LIVE", "EXPECTED"),
            [
                (
                    difference["key"],
                    "missing" if difference["live"] is None else difference["live"],
                    "missing" if difference["expected"] is None else difference["expected"],
                )
                for difference in found["differences"]
            ],
        )
    if not found["equal"]:
        raise typer.Exit(cli.FAILED)


@projections.command()
def rollback(
    name: Name,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which generation is served now.")
    ] = False,
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Serve the generation before the last swap again, once it has caught up with every write."""
    from domain.operation import ROLLBACK

    settings = cli.settings(servers=True)
    _known(name)
    if dry_run:
        status = next(each for each in _statuses(settings) if each.name == name)
        if json:
            cli.print_json(status)
        else:
            cli.out.print(f"{name}: would leave generation {status.generation}")
        return
    cli.confirm(f"Serve the kept generation of {name} again?", yes=yes)
    report = _result(_waited(settings, ROLLBACK, name))
    if json:
        cli.print_json(report)
    else:
        cli.out.print(f"{name}: generation {report['generation']} at position {report['position']}")


@projections.command()
def pause(name: Name, json: cli.Json = False) -> None:
    """Let a projection wait; while it is rebuilt, the rebuild."""
    from domain.operation import PAUSE

    _paused(PAUSE, name, json)


@projections.command()
def resume(name: Name, json: cli.Json = False) -> None:
    """Let a projection go on; while it is rebuilt, the rebuild."""
    from domain.operation import RESUME

    _paused(RESUME, name, json)


@projections.command()
def cancel(name: Name, json: cli.Json = False) -> None:
    """End the rebuild of a projection; the live rows stay as they are."""
    from bootstrap.operators import Desk

    _known(name)

    async def end(desk: Desk) -> Operation | None:
        ended = await desk.cancel(name)
        return await desk.wait(ended, lambda operation: None) if ended is not None else None

    ended = cli.at_desk(cli.settings(servers=True), end)
    if ended is None:
        cli.fail(f"{name} is not being rebuilt.", cli.REFUSED)
    if json:
        cli.print_json(ended)
    else:
        cli.out.print(f"{name}: the rebuild is {ended.state}")


def _paused(kind: str, name: str, json: bool) -> None:
    found = _result(_waited(cli.settings(servers=True), kind, _known(name)))
    if json:
        cli.print_json(found)
    elif found["rebuild"] is not None:
        cli.out.print(f"{name}: the rebuild is {found['rebuild']}")
    else:
        cli.out.print(f"{name}: {found['status']}")


def _known(name: str) -> str:
    from bootstrap.engine import RANGED

    if name not in RANGED:
        known = ", ".join(RANGED)
        cli.fail(f"There is no projection {name}; there are {known}.", cli.USAGE)
    return name


def _options(asked: dict[str, Any]) -> dict[str, Any]:
    """The options of a rebuild, checked by the rules of the HTTP call."""
    from adapters.http.problems import Problem
    from adapters.http.validation import check
    from write_api.ops import RebuildRequest, options_of

    try:
        return options_of(check(asked, RebuildRequest))
    except Problem as problem:
        faults = "; ".join(f"--{fault.field}: {fault.message}" for fault in problem.errors)
        cli.fail(faults.replace("_", "-"), cli.USAGE)


def _rebuilt(settings: Settings, name: str, options: dict[str, Any]) -> dict[str, Any]:
    from bootstrap.engine import RANGED
    from domain.operation import REBUILD

    if ("from" in options or "to" in options) and not RANGED[name]:
        cli.fail(f"The rows of {name} do not belong to a time.", cli.REFUSED)
    return _result(_waited(settings, REBUILD, name, options))


def _waited(
    settings: Settings, kind: str, name: str, options: dict[str, Any] | None = None
) -> Operation:
    """Make the operation and wait for its end, with a bar on standard error."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from bootstrap.operators import Desk
    from domain.operation import REBUILD

    begun: list[Operation] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}"),
        console=cli.err,
    ) as bar:
        task = bar.add_task(name, total=1.0, detail="")

        def tell(operation: Operation) -> None:
            detail = operation.detail or operation.state
            if operation.eta_seconds is not None:
                detail += f", {operation.eta_seconds} s left"
            bar.update(task, completed=operation.progress, detail=detail)

        async def ask(desk: Desk) -> Operation | None:
            if kind == REBUILD and await desk.rebuilds(name):
                return None
            begun.append(await desk.ask(kind, {"projection": name, "options": options or {}}))
            return await desk.wait(begun[0], tell)

        try:
            ended = cli.at_desk(settings, ask)
        except KeyboardInterrupt:
            if begun:
                cli.err.print(f"It goes on without you, as operation {begun[0].id}.")
                if kind == REBUILD:
                    cli.err.print(f"`mindstream projections cancel {name}` ends it.")
            raise typer.Exit(130) from None
    if ended is None:
        cli.fail(f"{name} is being rebuilt already.", cli.REFUSED)
    return ended


def _result(ended: Operation) -> dict[str, Any]:
    """The result of an operation that succeeded; ends the program where it did not."""
    import msgspec

    result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(ended.result)) or {}
    if ended.state != "succeeded":
        _failed(ended, result)
    return result


def _failed(ended: Operation, result: dict[str, Any]) -> NoReturn:
    import msgspec

    if result:
        cli.err.print(msgspec.json.format(msgspec.json.encode(result)).decode(), markup=False)
    code = ended.error.code if ended.error is not None else ""
    message = ended.error.message if ended.error is not None else f"It was {ended.state}."
    if code == "DIFFERENCES":
        message += " (--accept-differences)"
    refused = code in {"DIFFERENCES", "NOTHING_KEPT", "RANGE_NOT_SUPPORTED", "UNKNOWN_KEY"}
    cli.fail(message, cli.REFUSED if refused else cli.FAILED)


def _statuses(settings: Settings) -> list[ProjectionStatus]:
    from bootstrap.operators import Desk

    async def look(desk: Desk) -> list[ProjectionStatus]:
        return list(await desk.oversight.projections())

    return cli.at_desk(settings, look)


def _show_plans(plans: list[dict[str, Any]], json: bool) -> None:
    if json:
        cli.print_json(plans[0] if len(plans) == 1 else plans)
        return
    for plan in plans:
        cli.out.print(f"{plan['projection']}: about {plan['expected_seconds']} s")
        cli.print_table(("TOPIC", "EVENTS"), list(plan["events_by_topic"].items()))


def _plan(settings: Settings, view: Any) -> dict[str, Any]:
    from adapters.event_store.source import PostgresSource
    from projections.engine.rebuild import plan

    source = PostgresSource(settings.write_dsn or "")
    try:
        events = plan(source, view)
    finally:
        source.close()
    measured = {each.name: each.events_per_second for each in _statuses(settings)}
    speed = measured.get(view.name) or USUAL_SPEED
    total = sum(events.values())
    # A live projection folds a few events at a time; its speed says little about large batches.
    return {
        "projection": view.name,
        "events_by_topic": events,
        "events_total": total,
        "expected_seconds": round(total / max(speed, USUAL_SPEED), 1),
    }
