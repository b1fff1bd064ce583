"""``config``: what can be set, and how it is set now."""

from __future__ import annotations

import typer

from bootstrap import cli


def register(app: typer.Typer) -> None:
    """Add the commands."""
    config = typer.Typer(help="What can be set, and how it is set now. Alone: `config show`.")
    config.callback(invoke_without_command=True)(_config)
    config.command(name="show")(show)
    app.add_typer(config, name="config")


def _config(context: typer.Context, json: cli.Json = False) -> None:
    if context.invoked_subcommand is None:
        show(json)


def show(json: cli.Json = False) -> None:
    """Print every setting with its variable, type, default, present value and meaning.

    In the TOML file (MINDSTREAM_CONFIG, or mindstream.toml) the names are the same, in lower case
    and without the prefix. Secrets are masked.
    """
    from bootstrap.settings import describe

    fields = describe(cli.settings())
    if json:
        cli.print_json(fields)
        return
    for field in fields:
        cli.out.print(f"[bold]{field.variable}[/bold] = {_text(field.value)}", highlight=False)
        cli.out.print(
            f"    {field.help} ({field.type}; default {_text(field.default)})", markup=False
        )


def _text(value: object) -> str:
    if value is None or value == []:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
