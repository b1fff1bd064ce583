"""``projections``: how far the read models are, and what operators do to them.

A worker of the running system does the work; a command makes the operation and waits for it. Owns
the list of commands. ``seeing``, ``rebuilding`` and ``acting`` have them; ``waiting`` is shared.
"""

from __future__ import annotations

import typer

from bootstrap.cli.projections import acting, rebuilding, seeing


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    projections = typer.Typer(
        no_args_is_help=True, help="How far the read models are, and building them anew."
    )
    projections.command(name="list")(seeing.list_)
    projections.command()(seeing.show)
    projections.command()(rebuilding.rebuild)
    for command in (acting.verify, acting.rollback, acting.pause, acting.resume, acting.cancel):
        projections.command()(command)
    app.add_typer(projections, name="projections")
