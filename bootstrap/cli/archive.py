"""``events export|import|check``: the portable archive of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bootstrap import cli
from bootstrap.cli.events import events

Tell = Callable[[int, int], None]


def register(app: typer.Typer) -> None:
    """Add all to the group ``events``."""
    del app  # the group is added by its own module
    events.command(name="export")(export)
    events.command(name="import")(import_)
    events.command(name="check")(check)


def export(
    file: Annotated[Path, typer.Argument(help="Where to; it is there whole or not at all.")],
    keys: Annotated[
        Path | None, typer.Option(help="Where to write people's wrapped data keys.")
    ] = None,
    zstd: Annotated[bool, typer.Option("--zstd", help="Compress it.")] = False,
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Write all events to a file of JSON lines with checksums, mode 0600.

    What is personal in it is sealed. With --keys the keys that open it go to another file, wrapped
    by the master key, which is in neither.
    """
    from adapters.archive import store

    settings = cli.settings(servers=True)
    for path in (file,) if keys is None else (file, keys):
        if path.is_dir() or not path.absolute().parent.is_dir():
            cli.fail(f"{path} is no place for a file.", cli.USAGE)
        if path.exists() and path.stat().st_size:
            cli.confirm(f"{path} exists. Replace it?", yes=yes)
    if keys is not None and keys.absolute() == file.absolute():
        cli.fail("The keys belong into a file of their own.", cli.USAGE)
    with _failing(), _progress("export") as tell:
        done = store.export(settings.write_dsn or "", file, keys=keys, zstd=zstd, tell=tell)
    if json:
        cli.print_json(done)
    else:
        cli.out.print(f"{cli.counted(done.events, 'event')} in {file}", markup=False)


def import_(
    file: Annotated[
        Path, typer.Argument(help="What an export wrote.", exists=True, dir_okay=False)
    ],
    keys: Annotated[
        Path | None,
        typer.Option(help="The key file that was written with it.", exists=True, dir_okay=False),
    ] = None,
    json: cli.Json = False,
) -> None:
    """Put an archive into a store without events. All of it is checked before any is written.

    Without its key file what is sealed stays closed for ever: entries without a text, people
    without an address. Read models catch up by themselves. Passwords are not in an archive: people
    come back by resetting theirs, and the operator by the settings at the next start.
    """
    from adapters.archive import store
    from bootstrap.wiring.keys import subject_keys_of

    settings = cli.settings(servers=True)
    with _failing(), _progress("import") as tell:
        opening = None if keys is None else subject_keys_of(settings)
        done = store.restore(settings.write_dsn or "", file, opening, keys=keys, tell=tell)
    if json:
        cli.print_json(done)
        return
    cli.out.print(
        f"{cli.counted(done.events, 'event')} of {cli.counted(done.streams, 'stream')} are in",
        markup=False,
    )
    if done.closed:
        cli.err.print(f"What is sealed of {done.closed} people cannot be opened.")
    if done.unreadable:
        cli.err.print(f"{done.unreadable} streams cannot be read and hold no names.")


def check(
    file: Annotated[
        Path, typer.Argument(help="What an export wrote.", exists=True, dir_okay=False)
    ],
    json: cli.Json = False,
) -> None:
    """Read an archive to its end and say whether it is whole and unchanged. Needs no server."""
    from adapters.archive import store

    with _failing("The archive is damaged"), _progress("check") as tell:
        read = store.check(file, tell)
    if json:
        cli.print_json({"file": str(file), "events": read.count, "checksum": read.checksum})
    else:
        cli.out.print(
            f"{cli.counted(read.count, 'event')} in {file}, whole and unchanged", markup=False
        )


@contextmanager
def _failing(damage: str = "The archive is damaged and nothing was written") -> Iterator[None]:
    """End the program with one sentence and the code that goes with what went wrong."""
    import psycopg

    from adapters.archive.keys import OtherMasterKey
    from adapters.archive.lines import Damaged
    from adapters.archive.store import NotEmpty

    try:
        yield
    except Damaged as damaged:
        cli.fail(f"{damage}: {damaged}")
    except OtherMasterKey as other:
        cli.fail(f"Nothing was written: {other}.", cli.REFUSED)
    except NotEmpty as occupied:
        cli.fail(f"Nothing was written: {occupied}.", cli.REFUSED)
    except psycopg.OperationalError as error:
        cli.fail(f"The database does not answer: {error}", cli.UNAVAILABLE)
    except OSError as error:
        cli.fail(str(error))


@contextmanager
def _progress(what: str) -> Iterator[Tell]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} events"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=cli.err) as bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of or None)
            if not of:
                bar.update(task, description=f"{what}: checking")
            else:
                bar.update(task, description=what)

        yield tell
