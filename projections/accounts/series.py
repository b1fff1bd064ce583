"""Series of activity: what people did, counted by buckets of the time at which it was recorded.

Counts by quarters of an hour make the buckets. Where ``from`` or ``to`` cuts a quarter, the part
is counted one by one, as long as single activities are kept; older ones are counted by the quarter,
as if the bound were the next one's beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from projections.accounts.activity import ACTIVITIES, KEEP_DAYS, kept_since
from projections.buckets import MINUTE, SECOND, Buckets
from projections.reading import Query, SeriesReader

QUARTER = 15 * MINUTE

# Thresholds are seconds since 1970: local midnights of the year 1 are none that a timestamp has.
COUNTS = Query(
    "accounts_series_counts",
    """
    SELECT width_bucket(extract(epoch FROM quarter)::int8, $4), event_type, sum(events)
    FROM accounts_activity_counts
    WHERE user_id = ANY ($1) AND quarter >= $2 AND quarter < $3
    GROUP BY 1, 2
    """,
    ("uuid[]", "timestamptz", "timestamptz", "int8[]"),
)
SINGLE = Query(
    "accounts_series_single",
    """
    SELECT width_bucket(floor(extract(epoch FROM time))::int8, $4), event_type, count(*)
    FROM user_activity_events
    WHERE user_id = ANY ($1) AND time >= $2 AND time < $3
    GROUP BY 1, 2
    """,
    ("uuid[]", "timestamptz", "timestamptz", "int8[]"),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) - QUARTER


class ActivityPoint(msgspec.Struct, frozen=True, gc=False):
    """A bucket's activity: all of it, and of each type."""

    bucket: str
    events: int
    by_type: dict[str, int]


async def series(
    reader: SeriesReader,
    user_ids: Sequence[UUID],
    buckets: Buckets,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    keep_days: int = KEEP_DAYS,
) -> list[tuple[str | None, list[Any]]]:
    """One series, with the key None; ``keep_days`` is how long single activities are kept.

    Raises:
        ReadUnavailable: the database does not answer.
    """
    totals: list[dict[str, int]] = [dict.fromkeys(ACTIVITIES, 0) for _ in buckets.labels]
    # Nothing was recorded before 1970.
    begin, end = max(buckets.begin, 0), min(buckets.end, _LATEST)
    if begin < end and user_ids:
        thresholds = [start // SECOND for start in buckets.starts]
        kept = (kept_since(keep_days, now) - _EPOCH) // timedelta(microseconds=1)
        results = await asyncio.gather(
            *(
                reader.rows_of(
                    query, list(user_ids), _time(first), _time(last), thresholds, user_ids=user_ids
                )
                for query, first, last in parts(begin, end, kept)
            )
        )
        for number, kind, events in (row for rows in results for row in rows):
            totals[number - 1][kind] += int(events)
    return [
        (
            None,
            [
                ActivityPoint(label, sum(by_type.values()), by_type)
                for label, by_type in zip(buckets.labels, totals, strict=True)
            ],
        )
    ]


def parts(begin: int, end: int, kept: int) -> list[tuple[Query, int, int]]:
    """What to ask for which part of a range: whole quarters by counts, what is cut one by one.

    All are instants; single activities are kept from ``kept`` on, the beginning of a quarter.
    """
    # The part of a quarter that is no longer kept one by one goes by its beginning.
    if begin < kept:
        begin = _up(begin)
    if end < kept:
        end = _up(end)
    if begin >= end:
        return []
    first, last = _up(begin), end - end % QUARTER
    if first > last:
        return [(SINGLE, begin, end)]
    found = [(SINGLE, begin, first), (COUNTS, first, last), (SINGLE, last, end)]
    return [part for part in found if part[1] < part[2]]


def _up(instant: int) -> int:
    return instant + -instant % QUARTER


def _time(instant: int) -> datetime:
    return _EPOCH + timedelta(microseconds=instant)
