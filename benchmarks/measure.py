"""Turns and medians: how two things are compared on a machine that is never quite at rest.

Whatever else the machine does in a minute meets both sides, since they take turns; the median
leaves out the turn that it met.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Mapping


def interleave(
    sides: Mapping[str, Callable[[], float]],
    *,
    rounds: int = 3,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, list[float]]:
    """Run each side once a round, in order; all the figures by the side's name."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, run in sides.items():
            gc.collect()
            value = run()
            figures[name].append(value)
            tell(f"{name}, run {number} of {rounds}: {value:,.1f}")
    return figures


def medians(figures: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each side."""
    return {name: statistics.median(values) for name, values in figures.items()}


def percentile(values: list[float], share: float) -> float:
    """The smallest value that ``share`` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
