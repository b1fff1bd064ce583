"""What the documents name exists: every path, every name in a file, every link."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PARTS = "adapters benchmarks bootstrap commands deploy docs domain projections read_api schema \
tests workers write_api .ci".split()

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(rf"(?:{'|'.join(map(re.escape, PARTS))})/[\w./*-]*")


def named(document: Path) -> Iterator[tuple[str, str]]:
    """Each path that the prose names, with the name in that file (or nothing): `path::name`."""
    for span in _CODE.findall(_FENCE.sub("", document.read_text(encoding="utf-8"))):
        path, _, name = span.partition("::")
        # A path with a <placeholder> is a pattern for paths to come.
        if _PATH.fullmatch(path):
            yield path, name


def links(document: Path) -> Iterator[str]:
    """Each link that leads to a file of this repository."""
    for target in _LINK.findall(_FENCE.sub("", document.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:|#", target):
            yield target.partition("#")[0]


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a Python file defines: functions, classes and constants, methods as `Class.method`."""
    found: set[str] = set()

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                # A handler inside `routes` goes by its own name.
                found.add(prefix + child.name)
                inner = ""
            elif isinstance(child, ast.ClassDef):
                found.add(prefix + child.name)
                inner = f"{prefix}{child.name}."
            elif isinstance(child, ast.Assign | ast.AnnAssign):
                targets = child.targets if isinstance(child, ast.Assign) else [child.target]
                found.update(prefix + t.id for t in targets if isinstance(t, ast.Name))
            walk(child, inner)

    walk(ast.parse(path.read_text(encoding="utf-8")), "")
    return frozenset(found)


def has(path: Path, name: str) -> bool:
    """Whether a file defines a name; in a file that is not Python, whether the word is there."""
    if path.suffix == ".py":
        return name in names_in(path)
    return re.search(rf"\b{re.escape(name)}\b", path.read_text(encoding="utf-8")) is not None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document: Path) -> None:
    wrong = [path for path, _ in named(document) if not list(ROOT.glob(path.rstrip("/")))]
    wrong += [
        f"{path}::{name}"
        for path, name in named(document)
        if name and path not in wrong and not has(ROOT / path, name)
    ]
    wrong += [target for target in links(document) if not (document.parent / target).exists()]
    assert wrong == []


def test_the_tour_leads_through_the_house() -> None:
    paths = {path for path, _ in named(ROOT / "docs" / "tour.md")}
    assert {path.partition("/")[0] for path in paths} >= set(PARTS) - {"benchmarks", "docs", ".ci"}
    assert {"domain/journal/events.py", "projections/journal/entries.py"} <= paths


def test_a_wrong_name_would_be_found(tmp_path: Path) -> None:
    document = tmp_path / "wrong.md"
    text = "`domain/nowhere.py` `domain/event.py::nothing` [x](nowhere.md) `domain/<x>/`"
    document.write_text(text)
    assert list(named(document)) == [("domain/nowhere.py", ""), ("domain/event.py", "nothing")]
    assert list(links(document)) == ["nowhere.md"]
    assert not has(ROOT / "domain/event.py", "nothing")
    assert has(ROOT / "domain/event.py", "Event")
    assert has(ROOT / "projections/journal/entries.py", "Entries.fold")
    assert has(ROOT / "write_api/journal.py", "write_entry")
