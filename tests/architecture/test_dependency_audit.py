"""The dependency audit tells what a report says, and what was accepted is no reason to fail."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dependency_audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(*ids: str) -> dict[str, Any]:
    vulns = [{"id": each, "aliases": [f"CVE-{each}"], "fix_versions": ["2"]} for each in ids]
    return {"dependencies": [{"name": "a", "version": "1", "vulns": vulns}, {"name": "b"}]}


def test_each_vulnerability_is_told(audit: ModuleType) -> None:
    assert audit.found_in(report()) == []
    assert audit.found_in(report("X-1")) == ["a 1: X-1, mended by 2"]


def test_accepted_ones_are_left_out_by_any_name(audit: ModuleType) -> None:
    audit.ACCEPTED["CVE-X-1"] = "not reached from here"
    assert audit.found_in(report("X-1", "X-2")) == ["a 1: X-2, mended by 2"]
