"""The command line: ``mindstream``.

Owns what every command shares: how settings are had, how results are printed, what exit codes
mean. Each module here adds its commands by a ``register(app)``, and imports what they need when
they run, so that ``--help`` stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Console

from bootstrap import settings as _settings
from bootstrap.services import NotRunning, connected

if TYPE_CHECKING:
    from uuid import UUID

    from bootstrap.operators import Desk

T = TypeVar("T")
PROGRAM = "mindstream"
COMPLETE_VARIABLE = "_MINDSTREAM_COMPLETE"
"""By which a shell that completes calls the program."""
OK, FAILED, USAGE, UNAVAILABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_CODES = """\
Exit codes: 0 done; 1 it failed, or a check found something wrong; 2 wrong usage or settings;
3 what it needs does not run, or the place is taken; 4 refused by a rule, nothing was changed;
130 interrupted.
"""

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)
"""For progress and complaints, so that standard output holds only the result."""


class CliError(Exception):
    """A command cannot do its work: one sentence, and the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def settings(
    *, servers: bool = False, instead: str | None = None, **overrides: Any
) -> _settings.Settings:
    """The settings; with ``servers``, every address filled in from the running ``up``.

    Ends the program with one clear message if they are wrong or nothing runs. ``instead`` is the
    setting that would do where nothing runs, if that is another than usual.
    """
    try:
        found = _settings.load(**overrides)
    except _settings.SettingsError as error:
        fail(str(error), USAGE)
    try:
        return connected(found) if servers else found
    except NotRunning as error:
        fail(str(error) if instead is None else not_running(found, instead), UNAVAILABLE)


def not_running(settings: _settings.Settings, instead: str | None = None) -> str:
    """That nothing runs in this home, and what to do about it."""
    ways = "" if instead is None else f", or set {instead}"
    return f"Nothing runs in {settings.home}: start `mindstream up` there{ways}"


def at_desk(settings: _settings.Settings, work: Callable[[Desk], Awaitable[T]]) -> T:
    """What ``work`` gives, done with what operators see and do in the database.

    Ends the program where the database does not answer.
    """
    import asyncio

    import psycopg

    from bootstrap.operators import desk

    async def run() -> T:
        async with desk(settings) as opened:
            return await work(opened)

    try:
        return asyncio.run(run())
    except psycopg.OperationalError as error:
        fail(f"The database does not answer: {error}", UNAVAILABLE)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Complain on standard error and end the program."""
    err.print(message, markup=False)
    raise typer.Exit(code)


def unknown(what: str, name: str, known: Iterable[str]) -> NoReturn:
    """End the program because there is no such thing; with the one that was meant, or all."""
    names = sorted(known)
    near = nearest(name, names)
    hint = f"Did you mean {near}?" if near else f"There are: {', '.join(names) or 'none yet'}."
    fail(f"There is no {what} {name}. {hint}", USAGE)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was meant, if one is like it."""
    import difflib

    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def left_waiting(ids: Sequence[UUID], *more: str) -> NoReturn:
    """Say that work goes on though nobody waits for it any more, and end the program."""
    if len(ids) == 1:
        goes = f"It goes on without you, as operation {ids[0]}; `mindstream jobs wait {ids[0]}`."
    else:
        goes = f"All {len(ids)} go on without you; `mindstream jobs list --state running`."
    unknown = "Interrupted; `mindstream jobs list` shows whether it was begun."
    for line in (goes, *more) if ids else (unknown,):
        err.print(line, markup=False)
    raise typer.Exit(INTERRUPTED)


def print_json(value: Any) -> None:
    """Print a value as indented JSON, as it is under ``data`` over HTTP."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    drop: Sequence[str] = (),
    below: Sequence[str] = (),
    folds: str | None = None,
) -> None:
    """Print rows under headings: on a terminal as ``tables.laid_out`` fits them, else whole."""
    from bootstrap.cli.tables import laid_out

    width = out.width if out.is_terminal else None
    layout = laid_out(columns, rows, width, drop=drop, below=below, folds=folds)
    out.print(layout.head, style="bold", markup=False, emoji=False)
    for line in layout.lines:
        out.print(line, markup=False, emoji=False)
    if layout.dropped:
        err.print(f"(no room for {', '.join(layout.dropped)}; --json has all)", markup=False)


def counted(count: int, what: str) -> str:
    """A number and what is counted, in the singular for one."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost; ``yes`` answers. Ends the program on a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Nothing was done; --yes says yes to it.", REFUSED)
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as aborted:
        if isinstance(aborted.__context__, KeyboardInterrupt):
            err.print("\nNothing was done.")
            raise typer.Exit(INTERRUPTED) from None
        agreed = False
    if not agreed:
        fail("Nothing was done.", REFUSED)


def build() -> typer.Typer:
    """The whole program: every module of this package that has a ``register``."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    from bootstrap.cli import teaching

    completion_init()
    app = typer.Typer(
        help=f"Mindstream: an event-sourced backend for thoughts and media.\n\n{EXIT_CODES}",
        epilog=teaching.examples(teaching.FIRST, "Where to begin:"),
        no_args_is_help=True,
        # `completion` prints the scripts; options that write into somebody's dotfiles are not ours.
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_program)
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        if not found.name.endswith("__main__"):
            getattr(importlib.import_module(found.name), "register", _nothing)(app)
    teaching.teach(app)
    return app


def _nothing(_: typer.Typer) -> None:
    """What a module adds that has no command."""


def _say_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        out.print(f"mindstream {importlib.metadata.version('mindstream')}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the program; the console script ``mindstream``."""
    try:
        build()(standalone_mode=True, prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE)
    except CliError as error:
        err.print(str(error), markup=False)
        sys.exit(error.code)
    except Exception as error:
        who = _unreachable(error)
        if who is None:
            raise
        err.print(f"{who} does not answer: {error}", markup=False)
        sys.exit(UNAVAILABLE)


def _unreachable(error: Exception) -> str | None:
    """Which server the error is about, if it is that one cannot be reached."""
    # Only now: what does not go wrong need not load them.
    import psycopg
    import redis
    from eventsourcing.persistence import OperationalError

    if isinstance(error, psycopg.OperationalError | OperationalError):
        return "The database"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return "Redis"
    return None
