"""What a series is asked for: the parameters, and what stands in for those that are not given.

Both bounds are dates, or times with or without an offset, read in the zone. Without ``to`` a series
goes through today, without ``from`` it has as many buckets as ``SPANS`` says. With ``from`` alone,
later than today, it has as many from there on.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from adapters.http.problems import invalid
from domain.accounts.profile import time_zones
from domain.faults import Fault
from projections.buckets import LAST_DAY, Moment, Width, Zone, first_day_of, later, zone
from projections.journal.series import Group

SPANS: Mapping[Width, int] = {"hour": 2, "day": 30, "week": 12, "month": 12, "year": 10}
"""How many buckets there are where a bound is not given; of hours, how many days of them."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_NAMES = {"begin": "from", "end": "to"}
_Bound = Annotated[str, Meta(max_length=40)]


class SeriesQuery(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES
):
    """Parameters of every series: ``from`` inclusive, ``to`` exclusive, both read in ``tz``."""

    begin: _Bound | None = None
    end: _Bound | None = None
    bucket: Width = "day"
    tz: Annotated[str, Meta(max_length=64)] | None = None
    user_id: UUID | None = None
    tenant_id: UUID | None = None


class GroupedQuery(
    SeriesQuery, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_NAMES
):
    """Parameters of series of entries, which can be told apart by mood or tag."""

    group_by: Group | None = None


def range_of(asked: SeriesQuery, name: str, now: datetime.datetime) -> tuple[Zone, Moment, Moment]:
    """The zone of that name, where the range begins, and where it ends.

    Raises:
        Problem: 422 with every fault of the three parameters.
    """
    faults: list[Fault] = []
    if name not in time_zones():
        faults.append(Fault("tz", "not_allowed", "This is no time zone that is known here."))
        name = "UTC"  # the bounds are looked at all the same
    place = zone(name)
    begin = _bound(place, "from", asked.begin, faults)
    end = _bound(place, "to", asked.end, faults)
    if faults:
        raise invalid(*faults)
    begin, end = _completed(asked, place, begin, end, now)
    if (begin.instant, begin.day) >= (end.instant, end.day):
        raise invalid(Fault("to", "too_small", "This must be later than `from`."))
    return place, begin, end


def _bound(place: Zone, field: str, text: str | None, faults: list[Fault]) -> Moment | None:
    if text is None:
        return None
    found = place.moment(text)
    if found is None:
        faults.append(
            Fault(field, "invalid_format", "This must be a date or a time, such as 2026-03-01.")
        )
    return found


def _completed(
    asked: SeriesQuery,
    place: Zone,
    begin: Moment | None,
    end: Moment | None,
    now: datetime.datetime,
) -> tuple[Moment, Moment]:
    """Both bounds."""
    span = SPANS[asked.bucket]
    if end is None:
        instant = (now - _EPOCH) // datetime.timedelta(microseconds=1)
        tomorrow = place.day_of(instant) + 1
        if begin is not None and begin.day >= tomorrow:
            tomorrow = later(asked.bucket, first_day_of(asked.bucket, begin.local), span)
        end = _day(place, min(tomorrow, LAST_DAY))
    if begin is None:
        # The bucket in which the range ends is one of them.
        last = first_day_of(asked.bucket, max(end.day - 1, 1))
        begin = _day(place, later(asked.bucket, last, 1 - span))
    return begin, end


def _day(place: Zone, day: int) -> Moment:
    found = place.moment(datetime.date.fromordinal(day).isoformat())
    assert found is not None
    return found
