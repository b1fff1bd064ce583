"""What the command line says of operations on projections that did not succeed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from bootstrap import cli
from bootstrap.cli.projections.telling import complained, differences
from domain.operation import REBUILD, Failure, Operation

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def ended(error: Failure | None, result: Any = None, state: Any = "failed") -> Operation:
    return Operation(
        id=UUID(int=1),
        kind=REBUILD,
        state=state,
        progress=1.0,
        eta_seconds=None,
        detail=None,
        result=result,
        error=error,
        created_at=NOW,
        finished_at=NOW,
    )


def test_only_fields_that_differ_are_told_and_long_values_are_cut() -> None:
    sealed = {"sealed": True, "digest": "ab"}
    rows = [
        {"key": "a", "live": {"x": 1, "y": "same"}, "expected": {"x": None, "y": "same"}},
        {"key": "b", "live": {"t": "w" * 90}, "expected": {"t": ["w"]}},
        {"key": "c", "live": {"s": sealed}, "expected": {"s": {**sealed, "digest": "cd"}}},
        {"key": "d", "live": None, "expected": {"x": 1}},
        {"key": "e", "live": {"x": 1}, "expected": None},
    ]
    assert differences(rows) == [
        ("a", "x 1 → null"),
        ("b", f't {"w" * 39}… → ["w"]'),
        ("c", "s (sealed, ab) → (sealed, cd)"),
        ("d", "is missing"),
        ("e", "should not be there"),
    ]


def test_poison_names_the_projection_and_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    item = {"position": 7, "stream_id": "s-1", "topic": "x.Y.v1", "error": "ValueError in Tags"}
    failed = ended(
        Failure("POISON_MET", "5 events cannot be folded; nothing was swapped."),
        {"poisoned": [item] * 5},
    )
    assert complained(failed, "journal.tags") == cli.FAILED
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "journal.tags: 5 events cannot be folded; nothing was swapped."
    assert told[1] == "  event 7 (x.Y.v1) of s-1: ValueError in Tags"
    assert told[4:] == ["  and 2 more"]


def test_one_that_was_cancelled_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert complained(ended(None, state="cancelled"), "journal.search") == cli.FAILED
    assert capsys.readouterr().err == "journal.search: it was cancelled.\n"
