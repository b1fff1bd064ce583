"""``projections verify|rollback|pause|resume|cancel``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bootstrap import cli
from bootstrap.cli.completion import projections
from bootstrap.cli.projections.telling import differences
from bootstrap.cli.projections.waiting import Name, known, result, statuses, waited, waited_all

if TYPE_CHECKING:
    from bootstrap.operators import Desk
    from domain.operation import Operation


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Projections.", metavar="NAME...")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    json: cli.Json = False,
) -> None:
    """Compare read models with a fold of their events; exit code 1 says that one differs."""
    from bootstrap.views import VIEWS
    from domain.operation import VERIFY

    chosen = [view.name for view in VIEWS] if all_ else list(map(known, names or ()))
    if not chosen:
        cli.fail("Name the projections, or say --all.", cli.USAGE)
    ended = waited_all(cli.settings(servers=True), VERIFY, chosen)
    found = [result(each, name, json=json) for name, each in zip(chosen, ended, strict=True)]
    if json:
        cli.print_json(found[0] if len(chosen) == 1 else found)
    else:
        for each in found:
            _show_comparison(each)
    if not all(each["equal"] for each in found):
        raise typer.Exit(cli.FAILED)


def _show_comparison(found: dict[str, Any]) -> None:
    from projections.engine.comparison import DIFFERENCES

    cli.out.print(
        f"{found['projection']}: {cli.counted(found['rows_live'], 'row')},"
        f" {found['rows_expected']} expected at position {found['position']}:"
        f" {'equal' if found['equal'] else 'different'}"
    )
    if found["equal"]:
        return
    cli.print_table(
        ("KEY", "WHAT IS THERE → WHAT THE EVENTS SAY"),
        differences(found["differences"]),
        folds="WHAT IS THERE → WHAT THE EVENTS SAY",
    )
    if len(found["differences"]) >= DIFFERENCES:
        cli.err.print(f"(the first {DIFFERENCES}; there may be more)")


def rollback(
    name: Name,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which generation would be served.")
    ] = False,
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Serve the generation before the last swap again, once it has caught up with every write."""
    from domain.operation import ROLLBACK

    settings = cli.settings(servers=True)
    known(name)
    if dry_run:
        status = next(each for each in statuses(settings) if each.name == name)
        if json:
            cli.print_json(status)
        else:
            plan = cli.at_desk(settings, lambda desk: desk.plans.plan(name))
            if plan is None or plan.kept is None:
                cli.fail(f"{name}: there is no older generation to go back to.", cli.REFUSED)
            cli.out.print(
                f"{name}: would serve generation {plan.kept.generation} instead of"
                f" {status.generation}, once it has"
                f" {cli.counted(plan.kept.behind, 'event')} more"
            )
        return
    cli.confirm(f"Serve the kept generation of {name} again?", yes=yes)
    report = result(waited(settings, ROLLBACK, name), name, json=json)
    if json:
        cli.print_json(report)
    else:
        cli.out.print(f"{name}: generation {report['generation']} at position {report['position']}")


def pause(name: Name, json: cli.Json = False) -> None:
    """Let a projection wait; while it is rebuilt, the rebuild."""
    from domain.operation import PAUSE

    _paused(PAUSE, name, json)


def resume(name: Name, json: cli.Json = False) -> None:
    """Let a projection go on; while it is rebuilt, the rebuild."""
    from domain.operation import RESUME

    _paused(RESUME, name, json)


def cancel(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Projections.", metavar="NAME...", autocompletion=projections),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Whatever is being rebuilt.")] = False,
    json: cli.Json = False,
) -> None:
    """End the rebuild of projections; the live rows stay as they are."""
    from bootstrap.views import VIEWS

    chosen = [view.name for view in VIEWS] if all_ else list(map(known, names or ()))
    if not chosen:
        cli.fail("Name the projections, or say --all.", cli.USAGE)

    async def end(desk: Desk) -> dict[str, Operation]:
        asked = {name: await desk.cancel(name) for name in chosen}
        return {
            name: await desk.wait(ended, lambda operation: None)
            for name, ended in asked.items()
            if ended is not None
        }

    found = cli.at_desk(cli.settings(servers=True), end)
    if not found:
        which = f"{chosen[0]} is not" if len(chosen) == 1 else "None of them is"
        cli.fail(f"{which} being rebuilt.", cli.REFUSED)
    if json:
        cli.print_json(list(found.values()) if all_ or len(chosen) > 1 else found[chosen[0]])
        return
    for name, ended in found.items():
        cancelled = ended.state == "cancelled"
        how = "is cancelled" if cancelled else f"had {ended.state} by then"
        cli.out.print(f"{name}: the rebuild {how}")


def _paused(kind: str, name: str, json: bool) -> None:
    found = result(waited(cli.settings(servers=True), kind, known(name)), name, json=json)
    if json:
        cli.print_json(found)
    elif found["rebuild"] is not None:
        cli.out.print(f"{name}: the rebuild is {found['rebuild']}")
    else:
        cli.out.print(f"{name}: {found['status']}")
