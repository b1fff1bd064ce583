"""``completion``: what a shell needs to complete commands, options and names of projections."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from bootstrap import cli


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="completion")(completion)


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"], typer.Argument(help="Which shell it is for.")
    ],
) -> None:
    """Print a script that makes a shell complete this program's command lines.

    Have the shell read it when it starts, as the examples do.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script = get_completion_script(
        prog_name=cli.PROGRAM, complete_var=cli.COMPLETE_VARIABLE, shell=shell
    )
    sys.stdout.write(script + "\n")


def projections() -> list[str]:
    """The names of all projections, for completion."""
    from bootstrap.views import VIEWS

    return [view.name for view in VIEWS]
