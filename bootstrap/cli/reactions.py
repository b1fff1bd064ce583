"""``reactions list|show|pause|resume``: what is done because something happened, and how far it is.

What a reaction could not do lies in quarantine: ``quarantine list --projection NAME``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from bootstrap.operators import Desk
    from domain.operation import Operation
    from domain.reaction import ReactionStatus

reactions = typer.Typer(
    no_args_is_help=True, help="What is done because something happened, such as mail."
)
Name = Annotated[str, typer.Argument(help="A reaction, such as accounts.reset_mail.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(reactions, name="reactions")


@reactions.command(name="list")
def list_(json: cli.Json = False) -> None:
    """Show every reaction in a line."""
    found = _statuses()
    if json:
        cli.print_json(found)
        return
    cli.print_table(
        ("NAME", "STATUS", "POSITION", "HEAD", "GAP", "SECONDS", "QUARANTINED", "ERROR"),
        [
            (
                each.name,
                each.status,
                each.position,
                each.head,
                each.gap_events,
                each.gap_seconds,
                each.quarantined_streams,
                each.error,
            )
            for each in found
        ],
        below=("ERROR",),
        drop=("HEAD", "QUARANTINED"),
    )


@reactions.command()
def show(name: Name, json: cli.Json = False) -> None:
    """Show all that is known of one reaction."""
    import msgspec

    found = _known(name)
    if json:
        cli.print_json(found)
        return
    for field, value in msgspec.to_builtins(found).items():
        cli.out.print(f"{field:20} {value}", markup=False)


@reactions.command()
def pause(name: Name, json: cli.Json = False) -> None:
    """Have a reaction wait; what happens meanwhile is done when it is resumed."""
    _set_paused(name, True, json)


@reactions.command()
def resume(name: Name, json: cli.Json = False) -> None:
    """Have a paused reaction go on where it stopped."""
    _set_paused(name, False, json)


def _set_paused(name: str, paused: bool, json: bool) -> None:
    from domain.operation import PAUSE_REACTION, RESUME_REACTION

    _known(name)

    async def do(desk: Desk) -> Operation:
        new = desk.new(PAUSE_REACTION if paused else RESUME_REACTION, {"reaction": name})
        return await desk.care.pause_reaction(new, name, paused)

    cli.at_desk(cli.settings(servers=True), do)
    now = _known(name)
    if json:
        cli.print_json(now)
    else:
        cli.out.print(f"{name}: {now.status}")


def _known(name: str) -> ReactionStatus:
    found = {each.name: each for each in _statuses()}
    if name not in found:
        cli.unknown("reaction", name, found)
    return found[name]


def _statuses() -> list[ReactionStatus]:
    async def look(desk: Desk) -> list[ReactionStatus]:
        return list(await desk.oversight.reactions())

    return cli.at_desk(cli.settings(servers=True), look)
