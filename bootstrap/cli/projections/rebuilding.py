"""``projections rebuild``: the plan, the options, and several at once from one reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bootstrap import cli
from bootstrap.cli.completion import projections
from bootstrap.cli.projections.telling import complained
from bootstrap.cli.projections.waiting import known, result, waited_all

if TYPE_CHECKING:
    from datetime import datetime

    from bootstrap.settings import Settings
    from projections.engine.view import RowView

SHARED = 0.6
"""What several rebuilds take of the sum of their times, as measured: decision 0015."""


def rebuild(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Projections, or `all`.", metavar="NAME...", autocompletion=projections
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them, like the name `all`.")] = False,
    key: Annotated[str | None, typer.Option(help="Only this row, as verify names it.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Only rows of streams with an event since this time."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Only rows of streams with an event before this time.")
    ] = None,
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
    """Build read models anew from the events, beside the live ones, and swap them.

    Readers see the old rows until the new ones take their place, all at once. Nothing is lost, so
    nothing is asked. Several are built from one reading of the events, and each ends by itself. A
    worker does it: Ctrl-C ends the waiting and not the work.
    """
    from bootstrap.views import VIEWS, view
    from domain.operation import REBUILD

    if all_ or "all" in (names or ()):
        chosen = [each.name for each in VIEWS]
    else:
        chosen = list(dict.fromkeys(map(known, names or ())))
    if not chosen:
        cli.fail("Name the projections, or say --all.", cli.USAGE)
    asked = {
        "key": key,
        "from": from_,
        "to": to,
        "partitions": partitions,
        "max_lag_seconds": max_lag_seconds,
        "accept_differences": accept_differences,
    }
    given = {field: value for field, value in asked.items() if value is not None}
    if key is not None and len(chosen) > 1:
        cli.fail("--key: A key is one projection's.", cli.USAGE)
    [options, *_] = [_options(given, name) for name in chosen]
    settings = cli.settings(servers=True)
    if dry_run:
        _show_plans(_plans(settings, [view(name) for name in chosen], options), json)
        return
    ended = waited_all(settings, REBUILD, chosen, options)
    named = list(zip(chosen, ended, strict=True))
    done = [result(each, name) for name, each in named if each.state == "succeeded"]
    if json and done:
        cli.print_json(done[0] if len(chosen) == 1 else done)
    elif not json:
        for report in done:
            cli.out.print(
                f"{report['projection']}: {_told(report['rows'], 'row')} from"
                f" {_told(report['events'], 'event')} in"
                f" {report['seconds']} s, generation {report['generation']} at position"
                f" {report['position']}"
            )
    failed = [(name, each) for name, each in named if each.state != "succeeded"]
    if codes := [complained(each, name, json=json) for name, each in failed]:
        raise typer.Exit(codes[0])


def _told(count: int | None, what: str) -> str:
    """A count; unknown where the worker died after the swap and before it could say."""
    return f"an unknown number of {what}s" if count is None else cli.counted(count, what)


def _options(given: dict[str, Any], name: str) -> dict[str, Any]:
    """The options of a rebuild, checked by the rules of the HTTP call."""
    from adapters.http.problems import Problem
    from bootstrap.engine import REBUILDABLE
    from write_api.ops_projections import options_of

    try:
        return options_of(given, REBUILDABLE[name])
    except Problem as problem:
        if problem.code == "RANGE_NOT_SUPPORTED":
            cli.fail(f"The rows of {name} do not belong to a time.", cli.REFUSED)
        faults = [f"--{fault.field.replace('_', '-')}: {fault.message}" for fault in problem.errors]
        cli.fail("; ".join(faults), cli.USAGE)


def _plans(
    settings: Settings, views: list[RowView[Any]], options: dict[str, Any]
) -> list[dict[str, Any]]:
    from adapters.event_store.source import PostgresSource
    from projections.engine import measures
    from projections.engine.folding import connect
    from projections.engine.rebuild import PROJECT, Options, plan

    part = Options(
        key=options.get("key"), from_=_moment(options.get("from")), to=_moment(options.get("to"))
    )
    dsn = settings.write_dsn or ""
    with connect(dsn, PROJECT, "plan") as connection:
        measured = measures.read(connection)
    source = PostgresSource(dsn)
    plans = []
    try:
        for view in views:
            events = plan(source, view, part)
            total = sum(events.values())
            measure = measured.get(view.name, measures.USUAL)
            plans.append(
                {
                    "projection": view.name,
                    "events_by_topic": events,
                    "events_total": total,
                    "expected_seconds": measure.foretold(total),
                }
            )
    finally:
        source.close()
    return plans


def _moment(text: str | None) -> datetime | None:
    from datetime import datetime

    return None if text is None else datetime.fromisoformat(text)


def _show_plans(plans: list[dict[str, Any]], json: bool) -> None:
    if json:
        cli.print_json(plans[0] if len(plans) == 1 else plans)
        return
    for plan in plans:
        cli.out.print(f"{plan['projection']}: about {plan['expected_seconds']} s")
        cli.print_table(("TOPIC", "EVENTS"), list(plan["events_by_topic"].items()))
    if len(plans) > 1:
        seconds = SHARED * sum(plan["expected_seconds"] for plan in plans)
        cli.out.print(f"all of them together: about {seconds:.1f} s")
