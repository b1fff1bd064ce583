"""``demo``: invented people and their diaries in an empty store."""

from __future__ import annotations

import typer

from bootstrap import cli


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="demo")(demo)


def demo(json: cli.Json = False) -> None:
    """Fill an empty store with a demo, or say how to log in to the one that is there."""
    import asyncio

    from bootstrap import wiring

    with cli.err.status("writing diaries"):
        login = asyncio.run(wiring.demo(cli.settings(servers=True)))
    if login is None:
        cli.fail("There are people in this store already; a demo would mix with them.", cli.REFUSED)
    if json:
        cli.print_json(login)
    else:
        from bootstrap.demonstration import PEOPLE

        others = [one.email for one in PEOPLE if one.email != login["email"]]
        cli.out.print(f"Login: {login['email']}  {login['password']}", markup=False)
        cli.out.print(f"Also there: {', '.join(others)}; nobody has their passwords", markup=False)
