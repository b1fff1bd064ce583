"""The reference says what the code says, and leaves nothing out."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from bootstrap import reference

PAGES = reference.pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_up_to_date(name: str) -> None:
    written = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name], "run `make reference`"


def test_there_is_no_other_page() -> None:
    assert {path.name for path in reference.FOLDER.iterdir()} == set(PAGES)


def test_what_processes_count_is_there() -> None:
    for part in ("background", "reacting", "reading", "writing"):
        importlib.import_module(f"bootstrap.wiring.{part}")
    known = {metric.name.removesuffix("_total") for metric in reference.metrics()}
    found = {family.name for family in REGISTRY.collect() if family.name.startswith("mindstream_")}
    assert found <= known
    assert len(found) > 20


def test_a_metric_whose_name_is_made_is_refused() -> None:
    tree = reference.ast.parse("Counter(f'{prefix}_x', 'What it counts')")
    with pytest.raises(ValueError, match="a name that is made"):
        list(reference._declared(tree, Path("x.py")))
