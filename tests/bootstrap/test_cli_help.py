"""That the command line teaches: examples that work as written, options that are alike."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from bootstrap import cli
from bootstrap.cli import teaching

PROGRAM: Any = typer.main.get_command(cli.build())


def leaves(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(leaves(PROGRAM))


def test_every_command_has_examples_and_every_example_a_command() -> None:
    assert set(teaching.EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize(
    "line", [line for lines in (*teaching.EXAMPLES.values(), teaching.FIRST) for line, _ in lines]
)
def test_an_example_is_understood_as_it_stands(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("diary.jsonl", "people.jsonl", "archive.jsonl", "archive.keys"):
        (tmp_path / file).touch()
    words = shlex.split(line.replace("<(", "").partition(" | ")[0].partition(" > ")[0].rstrip(")"))
    rest = words[words.index("mindstream") + 1 :]
    command, context = PROGRAM, PROGRAM.make_context("mindstream", list(rest))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        # It parses, and runs nothing; what it does not know it refuses.
        context = command.make_context(name, list(rest), parent=context)


def test_examples_name_what_there_is() -> None:
    from bootstrap.views import VIEWS
    from bootstrap.wiring.reacting import REACTIONS

    names = {
        "projections": {each.name for each in VIEWS},
        "reactions": {each.name for each in REACTIONS},
    }
    for command, lines in teaching.EXAMPLES.items():
        for word in (word for line, _ in lines for word in line.split(" | ")[0].split()):
            if re.fullmatch(r"[a-z]+\.[a-z_]+", word) and command.split()[0] in names:
                assert word in names[command.split()[0]], command


def test_what_prints_prints_json_and_what_asks_takes_yes() -> None:
    without_json = {"run", "psql", "pg", "completion"}
    options = {
        name: {flag for option in command.params for flag in option.opts}
        for name, command in COMMANDS.items()
    }
    assert {name for name, flags in options.items() if "--json" not in flags} == without_json
    for name in ("subjects erase", "quarantine discard", "projections rollback", "migrate"):
        assert {"--yes", "--dry-run"} <= options[name]


def complete(line: str, shell: str = "bash") -> list[str]:
    said = subprocess.run(
        [sys.executable, "-m", "bootstrap.cli"],
        env={
            **os.environ,
            cli.COMPLETE_VARIABLE: f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.split()


def test_a_shell_completes_commands_and_names() -> None:
    assert complete("mindstream proj") == ["projections"]
    assert "journal.entries" in complete("mindstream projections rebuild jour")
    assert complete("mindstream jobs list --state can") == ["cancelled"]


def test_a_shell_takes_the_script_that_is_printed() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "bootstrap.cli", "completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = subprocess.run(
        ["bash", "-c", f"{said.stdout}\ncomplete -p mindstream"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert loaded.returncode == 0, loaded.stderr
    assert "_mindstream_completion" in loaded.stdout


def test_a_slip_of_the_finger_is_understood() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "bootstrap.cli", "projecions"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 2
    assert "Did you mean 'projections'" in said.stderr
