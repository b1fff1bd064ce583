"""``projections list|show|rebuild``: how far the read models are, and building them anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from bootstrap.settings import Settings
    from projections.engine.rebuild import Report
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
    nothing is asked.
    """
    from bootstrap.views import VIEWS

    chosen = [view for view in VIEWS if name in {view.name, "all"}]
    if not chosen:
        known = ", ".join(view.name for view in VIEWS)
        cli.fail(f"There is no projection {name}; there are {known}.", cli.USAGE)
    settings = cli.settings(servers=True)
    if dry_run:
        _show_plans([_plan(settings, view) for view in chosen], json)
    else:
        _show_reports([_rebuild(settings, view, accept_differences) for view in chosen], json)


def _show_plans(plans: list[dict[str, Any]], json: bool) -> None:
    if json:
        cli.print_json(plans[0] if len(plans) == 1 else plans)
        return
    for plan in plans:
        cli.out.print(f"{plan['projection']}: about {plan['expected_seconds']} s")
        cli.print_table(("TOPIC", "EVENTS"), list(plan["events_by_topic"].items()))


def _show_reports(reports: list[Report], json: bool) -> None:
    if json:
        cli.print_json(reports[0] if len(reports) == 1 else reports)
        return
    for report in reports:
        cli.out.print(
            f"{report.projection}: {report.rows} rows from {report.events} events in"
            f" {report.seconds} s, generation {report.generation} at position {report.position}"
        )


def _statuses(settings: Settings) -> list[ProjectionStatus]:
    import psycopg

    from projections.engine.telemetry import STATUSES, status_of

    try:
        with psycopg.connect(
            settings.write_dsn or "", options="-c role=mindstream_project", connect_timeout=5
        ) as connection:
            return [status_of(row) for row in connection.execute(STATUSES)]
    except psycopg.OperationalError as error:
        cli.fail(f"The database does not answer: {error}", cli.UNAVAILABLE)


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


def _rebuild(settings: Settings, view: Any, accept_differences: bool) -> Report:
    import functools

    import psycopg
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from adapters.event_store.source import PostgresSource
    from projections.engine import rebuild as engine

    dsn = settings.write_dsn or ""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]} events/s"),
        TimeRemainingColumn(),
        console=cli.err,
    ) as bar:
        task = bar.add_task(view.name, total=None, speed="-")

        def heed(progress: engine.Progress) -> engine.Signal:
            bar.update(
                task,
                total=progress.events_total,
                completed=progress.events_done,
                speed=f"{progress.events_per_second:,.0f}",
            )
            return "go"

        options = engine.Options(accept_differences=accept_differences)
        try:
            return engine.rebuild(
                dsn, functools.partial(PostgresSource, dsn), view, options=options, heed=heed
            )
        except engine.AlreadyRebuilding:
            cli.fail(f"{view.name} is being rebuilt already.", cli.REFUSED)
        except engine.Differences as found:
            cli.fail(
                f"{view.name} differs from its events in {len(found.differences)} rows or more;"
                " --accept-differences swaps all the same.",
                cli.REFUSED,
            )
        except engine.PoisonMet as met:
            cli.fail(f"{view.name}: {met}; nothing was swapped.")
        except psycopg.OperationalError as error:
            cli.fail(f"The database does not answer: {error}", cli.UNAVAILABLE)
