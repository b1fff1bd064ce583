"""The reference under ``docs/reference/``, made from the code: ``python -m bootstrap.reference``.

Owns how settings, commands, events, problems and metrics are written down, and nothing of what they
are. What is said of each is its description or docstring in the code; a test says so when a page is
not what this makes of it.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import typer

import domain
from adapters.http.problems import PROBLEMS
from bootstrap import cli, settings
from bootstrap.views import VIEWS
from domain.event import Event, type_of, upcasters

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
_NOTE = "<!-- Made by `make reference`. What is wrong here is wrong in the code. -->\n\n"
_METRICS = {"Counter", "Gauge", "Histogram", "Metric", "Summary"}
_FAMILIES = {f"{kind}MetricFamily": kind for kind in _METRICS}
_SHORTER = {f"{dash}{kind.lower()}": kind for kind in _METRICS for dash in ("", "_")}
"""Functions of a module that make one, and take labels one by one."""
_PARTS = ("adapters", "bootstrap", "projections", "read_api", "workers", "write_api")
_WIDTH = 96


class Metric(msgspec.Struct, frozen=True, order=True):
    """One family of series, under the name that ``/metrics`` has."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "settings.md": _NOTE + "".join(_settings()),
        "commands.md": _NOTE + "".join(_commands()),
        "events.md": _NOTE + "".join(_events()),
        "problems.md": _NOTE + "".join(_problems()),
        "metrics.md": _NOTE + "".join(_metrics()),
    }


def metrics() -> list[Metric]:
    """Every metric that the code declares, found by reading it: no process has all of them.

    Raises ``ValueError`` for one whose name is not written where it is declared.
    """
    found = {
        metric
        for part in _PARTS
        for path in sorted((ROOT / part).rglob("*.py"))
        if path.name != "reference.py"
        for metric in _declared(ast.parse(path.read_text(encoding="utf-8")), path)
    }
    return sorted(found)


def _settings() -> Iterator[str]:
    yield (
        "# Settings\n\nVariables of the environment, or names in lower case without the prefix in a"
        " TOML file: `mindstream.toml` in the working folder, or the one that `MINDSTREAM_CONFIG`"
        " names. The environment wins. Lists are separated by commas. `mindstream config show`"
        " prints them as they stand.\n\n"
    )
    plain = settings.load({}, home=Path("/nowhere"))
    yield from _table(
        ("Setting", "Type", "Default", "Meaning"),
        (
            (f"`{each.variable}`", each.type, _default(each.default), f"{each.help}")
            for each in settings.describe(plain)
        ),
    )


def _default(value: Any) -> str:
    if value is None or value == []:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _commands() -> Iterator[str]:
    program = typer.main.get_command(cli.build())
    yield "# Commands\n\nWhat `--help` says. " + cli.EXIT_CODES.replace("\n", " ").strip() + "\n"
    for words, command in _leaves(program, ("mindstream",)):
        context = command.context_class(
            command, info_name=" ".join(words), terminal_width=_WIDTH, max_content_width=_WIDTH
        )
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        yield f"\n## {' '.join(words[1:])}\n```text\n{text.strip()}\n```\n"


def _leaves(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
        return
    for name in sorted(below):
        yield from _leaves(below[name], (*words, name))


def _events() -> Iterator[str]:
    for found in pkgutil.walk_packages(domain.__path__, "domain."):
        if found.name.endswith(".events"):
            importlib.import_module(found.name)
    yield (
        "# Events\n\nWhat can have happened, by topic. A *sealed* field is encrypted with the key"
        " of the person whom it is about. Older versions are read as the one that follows"
        " ([change an event](../how-to/change-an-event.md)).\n"
    )
    before = {new: old for old, (new, _) in upcasters.items()}
    for topic in sorted(type_of):
        kind = type_of[topic]
        if not kind.__module__.startswith("domain."):
            continue  # a test's own
        yield f"\n## {topic}\n{_paragraph(kind.__doc__)}\n\n"
        yield from _table(("Field", "Type"), _fields(kind))
        views = sorted(view.name for view in VIEWS if kind in view.takes)
        yield f"\nFolded by: {', '.join(views) or 'no view'}.\n"
        older = [topic]
        while older[-1] in before:
            older.append(before[older[-1]])
        if older[1:]:
            yield f"Older versions: {', '.join(older[1:])}.\n"


def _fields(kind: type[Event]) -> Iterator[tuple[str, str]]:
    for owner in reversed(kind.__mro__):
        # As they are written in the source: annotations are text there.
        for name, written in vars(owner).get("__annotations__", {}).items():
            if name.isupper():
                continue
            text = str(written).replace("|", "\\|")
            sealed = ", sealed" if "Personal" in text else ""
            yield f"`{name}`", text.replace("Personal", "str") + sealed


def _problems() -> Iterator[str]:
    importlib.import_module("bootstrap.wiring.handlers")  # registers those of every context
    yield (
        "# Problems\n\nWhat an answer that is an error has as `code`. Its `type` is the path of a"
        " page with the same words: `/problems/` and the code in lower case with hyphens.\n\n"
    )
    ordered = sorted(PROBLEMS.values(), key=lambda kind: (kind.status, kind.code))
    yield from _table(
        ("Status", "Code", "Title", "What to do"),
        ((kind.status, f"`{kind.code}`", kind.title, kind.explanation) for kind in ordered),
    )


def _metrics() -> Iterator[str]:
    yield (
        "# Metrics\n\nWhat `/metrics` of the gateway has, besides what every Python process tells"
        " of itself. Each sample also has `process`, the name of the process that gave it.\n\n"
    )
    yield from _table(
        ("Name", "Kind", "Labels", "Meaning"),
        (
            (f"`{each.name}`", each.kind.lower(), ", ".join(each.labels), each.help)
            for each in metrics()
        ),
    )


def _declared(tree: ast.AST, path: Path) -> Iterator[Metric]:
    within = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in _SHORTER
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        maker, given = node.func.id, node.args
        kind = _FAMILIES.get(maker) or _SHORTER.get(maker, maker)
        if kind not in _METRICS or len(given) < 2 or id(node) in within:
            continue  # collections.Counter takes one thing to count
        texts = [str(each.value) for each in given if isinstance(each, ast.Constant)]
        if len(texts) < 2:
            raise ValueError(f"{path}:{node.lineno}: a metric with a name that is made")
        name, says = texts[:2]
        named = {word.arg: word.value for word in node.keywords}
        labels: Any
        if "labels" in named:
            labels = ast.literal_eval(named["labels"])
        elif maker in _SHORTER:
            labels = texts[2:]
        else:
            labels = ast.literal_eval(given[2]) if len(given) > 2 else ()
        if kind == "Metric":
            kind, labels = labels, ()
        if kind == "Counter":
            name = f"{name.removesuffix('_total')}_total"
        yield Metric(name, kind, tuple(labels), _paragraph(says))


def _table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace(chr(10), ' ') for cell in row)} |\n"


def _paragraph(text: str | None) -> str:
    """Running text on one line, with full stops."""
    said = " ".join((text or "").split()).replace("``", "`")
    return said if not said or said[-1] in ".:?" else f"{said}."


def write(made: Mapping[str, str]) -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(pages())
