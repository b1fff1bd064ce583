"""The house keeps its rules: imports point one way, contexts talk through events alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "adapters",
    "benchmarks",
    "bootstrap",
    "commands",
    "domain",
    "projections",
    "read_api",
    "workers",
    "write_api",
)
CONTEXTS = {
    path.name for path in (ROOT / "domain").iterdir() if path.is_dir() and path.name[0] != "_"
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def context_of(module: str) -> str | None:
    """The context that a module belongs to: ``domain.journal.entry`` to ``journal``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in CONTEXTS else None


def test_layers_and_forbidden_imports() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_context_imports_of_another_its_events_alone(graph: grimp.ImportGraph) -> None:
    wrong = []
    # Adapters and the composition root serve all contexts; the rule binds what belongs to one.
    for module in graph.modules:
        own = context_of(module)
        for imported in graph.find_modules_directly_imported_by(module) if own else ():
            other = context_of(imported)
            if other not in (None, own) and not re.fullmatch(r"domain\.\w+\.events", imported):
                wrong.append(f"{module} imports {imported}")
    assert wrong == []


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text(encoding="utf-8"))
    }
    assert readers == {"bootstrap/settings.py"}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert silent == []
