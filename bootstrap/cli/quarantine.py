"""``quarantine list|show|retry|discard``: events that could not be folded, and what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

import typer

from bootstrap import cli
from bootstrap.cli.completion import projections

if TYPE_CHECKING:
    from bootstrap.operators import Desk
    from domain.operation import Operation
    from projections.engine.quarantine import Item

quarantine = typer.Typer(
    no_args_is_help=True, help="Events that could not be folded, and the streams that wait."
)
Projection = Annotated[
    str | None, typer.Option(help="Only of this projection.", autocompletion=projections)
]
Stream = Annotated[str | None, typer.Option("--stream-id", help="Only of this stream.")]
ErrorText = Annotated[str | None, typer.Option("--error", help="Only errors that begin so.")]
Every = Annotated[bool, typer.Option("--all", help="All of them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what it would be done to.")]
One = Annotated[UUID, typer.Argument(help="An item's id.")]
OneOrMany = Annotated[UUID | None, typer.Argument(help="An item's id; or choose by options.")]
_MOST = 10_000


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(quarantine, name="quarantine")


@quarantine.command(name="list")
def list_(
    state: Annotated[
        str | None, typer.Option(help="retrying, parked, discarded or released.")
    ] = None,
    projection: Projection = None,
    stream_id: Stream = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    json: cli.Json = False,
) -> None:
    """List quarantined events in every state, newest first."""
    if state not in (None, "retrying", "parked", "discarded", "released"):
        cli.fail("--state is one of retrying, parked, discarded, released.", cli.USAGE)
    found = _found(None, state, projection, stream_id, limit)
    if not found and projection is not None:
        _named(projection)
    _show(found, json)


@quarantine.command()
def show(item: One, json: cli.Json = False) -> None:
    """Show all that is known of a quarantined event."""
    import msgspec

    found = _found(item, None, None, None, 1)
    if not found:
        cli.fail(f"There is no item {item}.")
    if json:
        cli.print_json(found[0])
        return
    for field, value in msgspec.to_builtins(found[0]).items():
        cli.out.print(f"{field:20} {value}", markup=False)


@quarantine.command()
def retry(
    item: OneOrMany = None,
    projection: Projection = None,
    stream_id: Stream = None,
    error: ErrorText = None,
    everything: Every = False,
    dry_run: DryRun = False,
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Have events tried again at once, after what made them fail has been mended."""
    from domain.operation import RETRY

    del yes  # nothing is lost by it, so nothing is asked
    chosen = _chosen(item, projection, stream_id, error, everything)
    if dry_run:
        _show(_open(chosen), json)
        return
    _exists(item)

    async def do(desk: Desk) -> Operation:
        return await desk.care.retry(desk.new(RETRY, _params(chosen)), **chosen)

    _done(cli.at_desk(cli.settings(servers=True), do), "to be tried again", json)


@quarantine.command()
def discard(
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    item: OneOrMany = None,
    projection: Projection = None,
    stream_id: Stream = None,
    error: ErrorText = None,
    everything: Every = False,
    dry_run: DryRun = False,
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Leave events out of their projection for good; their streams go on without them."""
    from domain.operation import DISCARD

    chosen = _chosen(item, projection, stream_id, error, everything)
    if not 1 <= len(reason) <= 500:
        cli.fail("--reason has 1 to 500 characters.", cli.USAGE)
    if dry_run:
        _show(_open(chosen), json)
        return
    _exists(item)
    found = _open(chosen)
    if not found:
        cli.fail("No event in quarantine matches that: `mindstream quarantine list` shows all.")
    cli.confirm(f"Leave {cli.counted(len(found), 'event')} out for good?", yes=yes)

    async def do(desk: Desk) -> Operation:
        new = desk.new(DISCARD, {**_params(chosen), "reason": reason})
        return await desk.care.discard(new, reason, **chosen)

    _done(cli.at_desk(cli.settings(servers=True), do), "discarded", json)


def _named(name: str) -> None:
    """End the program if neither a projection nor a reaction is called that."""
    from bootstrap.engine import REBUILDABLE
    from bootstrap.wiring.reacting import REACTIONS

    names = [*REBUILDABLE, *(each.name for each in REACTIONS)]
    if name not in names:
        cli.unknown("projection or reaction", name, names)


def _chosen(
    item: UUID | None,
    projection: str | None,
    stream_id: str | None,
    error: str | None,
    everything: bool,
) -> dict[str, Any]:
    chosen = {
        "item_id": item,
        "projection": projection,
        "stream_id": stream_id,
        "error": error,
    }
    if not everything and not any(chosen.values()):
        cli.fail("Name an item, choose by --projection, --stream-id, --error, or --all.", cli.USAGE)
    return chosen


def _params(chosen: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) for name, value in chosen.items() if value is not None}


def _exists(item: UUID | None) -> None:
    if item is not None and not _found(item, None, None, None, 1):
        cli.fail(f"There is no item {item}.")


def _open(chosen: dict[str, Any]) -> list[Item]:
    """What a retry or a discard would be done to."""
    found = _found(chosen["item_id"], None, chosen["projection"], chosen["stream_id"], _MOST)
    return [
        each
        for each in found
        if each.state in ("retrying", "parked") and each.error.startswith(chosen["error"] or "")
    ]


def _found(
    item: UUID | None, state: str | None, projection: str | None, stream_id: str | None, limit: int
) -> list[Item]:
    from projections.oversight import ItemFilter

    wanted = ItemFilter(
        id=item, state=cast("Any", state), projection=projection, stream_id=stream_id
    )

    async def look(desk: Desk) -> list[Item]:
        return list(await desk.oversight.quarantine(wanted, limit=limit))

    return cli.at_desk(cli.settings(servers=True), look)


def _show(found: list[Item], json: bool) -> None:
    if json:
        cli.print_json(found)
        return
    if not found:
        cli.err.print("no items")
        return
    cli.print_table(
        ("ID", "PROJECTION", "STREAM", "POSITION", "STATE", "ATTEMPTS", "WAITING", "ERROR"),
        [
            (
                each.id,
                each.projection,
                each.stream_id,
                each.position,
                each.state,
                each.attempts,
                each.waiting_events,
                each.error,
            )
            for each in found
        ],
        below=("STREAM", "ERROR", "WAITING", "ATTEMPTS"),
    )


def _done(operation: Operation, what: str, json: bool) -> None:
    import msgspec

    result = msgspec.json.decode(msgspec.json.encode(operation.result))
    if json:
        cli.print_json(result)
    else:
        cli.out.print(f"{result['count']} {what}")
