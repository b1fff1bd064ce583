"""``keys rotate``: a new master key, or a new key that signs access tokens."""

from __future__ import annotations

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


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(keys, name="keys")


@rotate.command()
def master(json: cli.Json = False) -> None:
    """Make a new master key, and seal with it whatever the earlier ones sealed.

    Running processes take it up within seconds. Earlier keys stay beside it as master.key.1 and so
    on: backups need them. Exit code 1 says that some values could be opened by none of the keys.
    """
    import psycopg

    from bootstrap import rotation
    from bootstrap.master_key import NotInFiles

    settings = cli.settings(servers=True)
    with cli.err.status("sealing anew") as status:

        def tell(name: str, count: int) -> None:
            status.update(f"sealing anew: {name} {count:,}")

        try:
            done = rotation.rotate_master(settings, tell)
        except NotInFiles:
            cli.fail(_SET, cli.REFUSED)
        except psycopg.OperationalError:
            cli.fail("The database does not answer. Run this again to go on.", cli.UNAVAILABLE)
    if json:
        cli.print_json(done)
    else:
        cli.out.print(f"master key {done.generation} ({done.id}) is in use")
        rows = [(name, count) for name, count in done.resealed.items()]
        cli.print_table(("SEALED ANEW", "VALUES"), rows)
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
