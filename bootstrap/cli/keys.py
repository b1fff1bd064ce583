"""``keys rotate``: a new master key, or a new key that signs access tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootstrap import cli

keys = typer.Typer(no_args_is_help=True, help="The keys that seal and sign everything else.")
rotate = typer.Typer(no_args_is_help=True, help="Replace a key while everything runs.")
keys.add_typer(rotate, name="rotate")

_SET = """\
The master key is a setting. Set MINDSTREAM_MASTER_KEY to a new one and
MINDSTREAM_MASTER_KEY_PREVIOUS to the present one for all processes, start them again, and then run
this.\
"""
_SET_DISCARD = """\
The master key is a setting. Earlier ones are gone when MINDSTREAM_MASTER_KEY_PREVIOUS names them no
more: rotate without --discard-old first, and wait until answers kept for retries have had their
time (MINDSTREAM_IDEMPOTENCY_TTL_HOURS).\
"""
_QUESTION = """\
Discard the earlier master keys? Dumps of subject_keys, key files and whole backups that were made
before this moment cannot be opened any more with what is here. Make new ones afterwards.\
"""


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(keys, name="keys")


@rotate.command()
def master(
    discard_old: Annotated[
        bool,
        typer.Option(
            "--discard-old",
            help="Delete the earlier keys once nothing needs them: older backups of people's keys"
            " open no more, those of people who were erased since among them.",
        ),
    ] = False,
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Make a new master key, and seal with it whatever the earlier ones sealed.

    Running processes take it up within seconds. Earlier keys stay beside it as master.key.1 and so
    on, unless they are to be discarded: backups need them. Exit code 1 says that some values could
    be opened by none of the keys; then none is discarded.
    """
    import psycopg

    from bootstrap import rotation
    from bootstrap.master_key import KeyChanged, NotInFiles

    settings = cli.settings(servers=True)
    if discard_old:
        if settings.master_key is not None:
            cli.fail(_SET_DISCARD, cli.REFUSED)
        cli.confirm(_QUESTION, yes=yes)
    with cli.err.status("sealing anew") as status:

        def tell(name: str, count: int) -> None:
            status.update(f"sealing anew: {name} {count:,}")

        try:
            done = rotation.rotate_master(settings, tell, discard=discard_old)
        except NotInFiles:
            cli.fail(_SET, cli.REFUSED)
        except KeyChanged:
            cli.fail("Another rotation has made a newer key; nothing was discarded.", cli.REFUSED)
        except psycopg.OperationalError:
            cli.fail("The database does not answer. Run this again to go on.", cli.UNAVAILABLE)
    if json:
        cli.print_json(done)
    else:
        cli.out.print(f"master key {done.generation} ({done.id}) is in use")
        rows = [(name, count) for name, count in done.resealed.items()]
        cli.print_table(("SEALED ANEW", "VALUES"), rows)
        if done.discarded is not None:
            cli.out.print(f"{done.discarded} earlier keys are gone")
    if done.unopened:
        for name, count in done.unopened.items():
            cli.err.print(f"{name}: {count} values could not be opened")
        raise typer.Exit(cli.FAILED)


@rotate.command()
def signing(json: cli.Json = False) -> None:
    """Make a new key for access tokens. Tokens of the former one hold until they expire."""
    import asyncio

    import psycopg

    from bootstrap import rotation

    settings = cli.settings(servers=True)
    try:
        done = asyncio.run(rotation.rotate_signing(settings))
    except psycopg.OperationalError:
        cli.fail("The database does not answer.", cli.UNAVAILABLE)
    if json:
        cli.print_json(done)
    else:
        cli.out.print(f"signing key {done.kid} is published and signs in {done.signs_in:.0f} s")


@keys.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to; it is there whole or not at all.")],
    yes: cli.Yes = False,
    json: cli.Json = False,
) -> None:
    """Write people's data keys as they are now, wrapped by the master key, to a file (mode 0600).

    It opens every archive that was made before, but for what is sealed of people who were erased
    since. Keep the newest one, and apart from the archives.
    """
    from adapters.archive import store

    settings = cli.settings(servers=True)
    if file.is_dir() or not file.absolute().parent.is_dir():
        cli.fail(f"{file} is no place for a file.", cli.USAGE)
    if file.exists() and file.stat().st_size:
        cli.confirm(f"{file} exists. Replace it?", yes=yes)
    try:
        people = store.export_keys(settings.write_dsn or "", file)
    except OSError as error:
        cli.fail(str(error))
    if json:
        cli.print_json({"file": str(file), "keys": people})
    else:
        cli.out.print(f"keys of {people} people in {file}", markup=False)
