"""What is asked of a rebuild, what comes of it, and the ways in which it can be refused.

The tree of refusals::

    RebuildRefused
    ├── AlreadyRebuilding     another process is at it
    ├── NothingKept           there is no older generation to go back to
    ├── RangeNotSupported     rows of this view are not of one stream each
    ├── UnknownKey            the text is no key of this view
    ├── PoisonMet             events could not be folded
    └── Differences           the new rows differ, and nobody said that this is meant
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from projections.engine.comparison import Difference


class RebuildRefused(Exception):
    """Nothing was swapped, and the live rows are as they were."""


class AlreadyRebuilding(RebuildRefused):
    """Another process rebuilds, verifies or rolls back this projection."""


class NothingKept(RebuildRefused):
    """There is no older generation to go back to, or its version's code is gone."""


class RangeNotSupported(RebuildRefused):
    """Rows of this view are not of one stream each, so that none belongs to a time."""


class UnknownKey(RebuildRefused):
    """The text is no key of this view."""


class PoisonMet(RebuildRefused):
    """Events could not be folded; nothing was swapped. ``items`` says which."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        super().__init__(f"{len(items)} event{'s' if len(items) > 1 else ''} cannot be folded")
        self.items = items


class Differences(RebuildRefused):
    """The new generation is not what the live one is, and nobody said that this is meant."""

    def __init__(self, report: Report, differences: list[Difference]) -> None:
        super().__init__(f"{report.projection} differs from a fold of its events")
        self.report = report
        self.differences = differences


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild is asked for; ``max_lag_seconds`` is what live projections may lag."""

    key: str | None = None
    from_: datetime | None = None
    to: datetime | None = None
    partitions: int | None = None
    max_lag_seconds: float | None = None
    accept_differences: bool = False
    """Swap whatever differs; events that cannot be folded are then in quarantine."""


class Report(msgspec.Struct, frozen=True):
    """What a rebuild or a rollback did: the API's result of it."""

    projection: str
    generation: int
    position: int
    rows: int
    events: int
    seconds: float
    checksum_live: str | None
    checksum_shadow: str | None
    equal: bool | None
    swapped: bool


class Verified(msgspec.Struct, frozen=True):
    """What a verification found."""

    projection: str
    position: int
    rows_live: int
    rows_expected: int
    equal: bool
    differences: list[Difference]
