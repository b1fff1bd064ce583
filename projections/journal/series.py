"""Series of moods, words and entries: the view ``journal.daily`` counted by buckets.

An entry counts on its own date, in the first hour of that day. Deleted ones count nowhere. Owns the
queries and the points; what buckets are is ``projections/buckets.py``'s, and who may ask about whom
``read_api/analytics_rights.py``'s.
"""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec

from projections.buckets import EPOCH_DAY, Buckets, TooManyBuckets, Zone
from projections.journal.daily import MOODS, TENTHS
from projections.reading import Query, SeriesReader

Metric = Literal["mood", "words", "entries"]
Group = Literal["mood", "tag"]

# The thresholds are the first days of the buckets, counted from 1970. Bucket and mood are one
# number: over 100,000 entries that saves two fifths of the time that two columns take to group by.
_EACH = len(MOODS) + 1
_MOOD = " ".join(f"WHEN '{mood}' THEN {number}" for number, mood in enumerate(MOODS, 1))
_SERIES = """
SELECT width_bucket(date - DATE '1970-01-01', $4) * {each} + {mood}, count(*), sum(words), {tag}
FROM journal_daily{source}
WHERE user_id = ANY ($1) AND active AND date >= $2 AND date <= $3 AND (NOT is_private OR $5)
GROUP BY {by}
"""
_TYPES = ("uuid[]", "date", "date", "int4[]", "bool")
QUERIES = {
    (by_mood, by_tag): Query(
        f"journal_series_{by_mood:d}{by_tag:d}",
        _SERIES.format(
            each=_EACH,
            mood=f"CASE mood {_MOOD} ELSE 0 END" if by_mood else "0",
            tag="tag" if by_tag else "NULL",
            source=", unnest(tags) AS tag" if by_tag else "",
            by="1, tag" if by_tag else "1",
        ),
        _TYPES,
    )
    for by_mood in (False, True)
    for by_tag in (False, True)
}
"""Whether moods are told apart, and whether tags are."""


class MoodPoint(msgspec.Struct, frozen=True, gc=False):
    """A bucket's moods: how many entries have one, their mean score (-1 to 1), and each mood."""

    bucket: str
    entries: int
    average_score: float | None
    moods: dict[str, int]


class WordsPoint(msgspec.Struct, frozen=True, gc=False):
    """A bucket's words, and the entries that they are in."""

    bucket: str
    words: int
    entries: int


class EntriesPoint(msgspec.Struct, frozen=True, gc=False):
    """A bucket's entries."""

    bucket: str
    entries: int


class _Count:
    """What one bucket of one group has, by mood."""

    __slots__ = ("moods", "words")

    def __init__(self) -> None:
        self.moods: dict[str | None, int] = {}
        self.words = 0


def _mood_point(bucket: str, count: _Count | None) -> MoodPoint:
    moods: dict[str, int] = dict.fromkeys(MOODS, 0)
    if count is None:
        return MoodPoint(bucket, 0, None, moods)
    tenths = 0
    for mood in MOODS:
        if found := count.moods.get(mood):
            moods[mood] = found
            tenths += found * TENTHS[mood]
    entries = sum(moods.values())
    return MoodPoint(bucket, entries, tenths / (10 * entries) if entries else None, moods)


def _words_point(bucket: str, count: _Count | None) -> WordsPoint:
    if count is None:
        return WordsPoint(bucket, 0, 0)
    return WordsPoint(bucket, count.words, sum(count.moods.values()))


def _entries_point(bucket: str, count: _Count | None) -> EntriesPoint:
    return EntriesPoint(bucket, 0 if count is None else sum(count.moods.values()))


_POINTS: dict[Metric, Callable[[str, _Count | None], Any]] = {
    "mood": _mood_point,
    "words": _words_point,
    "entries": _entries_point,
}


async def series(
    reader: SeriesReader,
    user_ids: Sequence[UUID],
    metric: Metric,
    zone: Zone,
    buckets: Buckets,
    *,
    group: Group | None = None,
    private: bool,
    most: int,
) -> list[tuple[str | None, list[Any]]]:
    """The points of each group by its key; without ``group`` one series, with the key None.

    By mood, entries without one are the group None, except where the metric is moods. By tag an
    entry counts in each of its tags. ``private`` says whether private entries count.

    Raises:
        TooManyBuckets: all groups together have more than ``most`` points.
        ReadUnavailable: the database does not answer.
    """
    counts: dict[str | None, dict[int, _Count]] = defaultdict(dict)
    if group is None:
        counts[None] = {}
    if buckets.first_day <= buckets.last_day and user_ids:
        days, places = _thresholds(zone, buckets)
        found = await reader.rows_of(
            QUERIES[metric == "mood" or group == "mood", group == "tag"],
            list(user_ids),
            datetime.date.fromordinal(buckets.first_day),
            datetime.date.fromordinal(buckets.last_day),
            days,
            private,
            user_ids=user_ids,
        )
        for place, entries, words, tag in found:
            number, which = divmod(place, _EACH)
            mood = MOODS[which - 1] if which else None
            if metric == "mood" and mood is None:
                continue
            key = tag if group == "tag" else mood if group == "mood" else None
            at = number - 1 if places is None else places[number - 1]
            count = counts[key].get(at)
            if count is None:
                count = counts[key][at] = _Count()
            count.moods[mood] = count.moods.get(mood, 0) + entries
            count.words += words
    if len(counts) * len(buckets.labels) > most:
        raise TooManyBuckets(len(counts) * len(buckets.labels))
    point = _POINTS[metric]
    return [
        (key, [point(label, counts[key].get(at)) for at, label in enumerate(buckets.labels)])
        for key in sorted(counts, key=_order)
    ]


def _order(key: str | None) -> tuple[int, str]:
    """Moods from the best to the worst as they are declared, tags by alphabet, None last."""
    if key is None:
        return len(MOODS) + 1, ""
    return MOODS.index(key) if key in MOODS else len(MOODS), key


def _thresholds(zone: Zone, buckets: Buckets) -> tuple[list[int], list[int] | None]:
    """The days with which buckets begin, counted from 1970.

    Where buckets are hours: all days, and for each the number of the hour with which it begins.
    """
    if buckets.days:
        return [day - EPOCH_DAY for day in buckets.days], None
    days = range(buckets.first_day, buckets.last_day + 1)
    places = [bisect_right(buckets.starts, zone.begin_of(day)[0]) - 1 for day in days]
    return [day - EPOCH_DAY for day in days], places
