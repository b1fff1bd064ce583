"""How one felt over the last days, as a page shows it again and again: kept for all processes.

Owns what is kept and how it is named. The points are counted by ``projections.journal.series``.
"""

from __future__ import annotations

import msgspec

from projections.caching import Kind
from projections.journal.daily import Daily
from projections.journal.series import MoodPoint

TREND = Kind(
    name="trend",
    key="mood:user:{user}:trend:{part}",
    lifetime=15 * 60,
    views=(Daily.name,),
    takes=Daily.takes,
    parts=("7", "30", "90", "365"),
    cheap=True,
)
"""Its parts are the numbers of days, the last of which is today."""


class MoodTrend(msgspec.Struct, frozen=True, array_like=True):
    """A person's own moods by days, and for which zone and bounds these are."""

    zone: str
    bounds: tuple[str, str]
    points: list[MoodPoint]
