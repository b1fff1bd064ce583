"""Buckets of local time: hours, days, weeks, months and years as clocks and calendars have them.

Pure. Owns everything that series must know of time zones. Instants are whole microseconds since
1970 (UTC), since local midnights of the years 1 and 9999 lie outside of what ``datetime`` can say
in UTC; days are ordinals (``date.toordinal``), for which the same holds. Offsets from before
standard time, which have seconds, are rounded to the minute.

A local day begins at the first moment of its date: where a clock skips midnight that is later, and
where midnight comes twice it is the first. An hour begins where the clock shows a full one, or
where it was moved into the middle of one; so hours of a day with a change of the clock are told
apart by their offsets, and none is missing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

Width = Literal["hour", "day", "week", "month", "year"]
"""How long a bucket is."""

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH_DAY = date(1970, 1, 1).toordinal()
LAST_DAY = date.max.toordinal()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Within these any offset can be added to an instant.
_EARLIEST = (1 - EPOCH_DAY + 2) * DAY
_LATEST = (LAST_DAY - EPOCH_DAY - 2) * DAY
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)([Zz]|[+\- ]\d\d:\d\d)?", re.ASCII
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class TooManyBuckets(Exception):
    """More buckets than were to be made; there are ``count`` or so."""

    def __init__(self, count: int) -> None:
        super().__init__(f"some {count:,} buckets")
        self.count = count


class Moment(msgspec.Struct, frozen=True):
    """A bound of a range as it was given.

    ``instant`` is when it is. Days from ``day`` on begin at it or later. ``local`` is the day in
    which it is. ``text`` shows it: a date as it was given, a time with its offset in the zone.
    """

    instant: int
    day: int
    local: int
    text: str


class Buckets(msgspec.Struct, frozen=True):
    """The buckets of a range, in order; there is at least one where the range is not empty.

    ``labels`` are their local starts with offsets, ``starts`` the instants. The range goes from the
    instant ``begin`` to ``end``, exclusive, and has the days from ``first_day`` to ``last_day``,
    inclusive. ``days`` are those with which buckets begin, except where buckets are hours.
    """

    labels: tuple[str, ...]
    starts: tuple[int, ...]
    days: tuple[int, ...]
    begin: int
    end: int
    first_day: int
    last_day: int


class Zone:
    """A time zone by its IANA name, its offsets in whole minutes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._zone: tzinfo = ZoneInfo(name)

    def offset(self, instant: int) -> int:
        """Minutes by which clocks are ahead of UTC at this instant."""
        known = min(max(instant, _EARLIEST), _LATEST)
        utc = _EPOCH + timedelta(microseconds=known)
        return _minutes(utc.astimezone(self._zone).utcoffset())

    def instant_of(self, day: date, clock: time) -> int:
        """When clocks show this: the first time if twice; if never, as if they were not moved."""
        offset = _minutes(datetime.combine(day, clock, self._zone).utcoffset())
        return _shown(day, clock) - offset * MINUTE

    def begin_of(self, day: int) -> tuple[int, str]:
        """When a day begins, and what clocks show then, with their offset."""
        if day > LAST_DAY:
            last, _ = self.begin_of(LAST_DAY)
            return last + DAY, ""
        midnight = datetime.combine(date.fromordinal(day), time(), self._zone)
        offset = _minutes(midnight.utcoffset())
        shown = (day - EPOCH_DAY) * DAY
        instant = shown - offset * MINUTE
        after = self.offset(instant)
        if after > offset:
            # Clocks were moved forward over midnight; the day begins when they were.
            instant = self._since_when(instant - 26 * HOUR, instant, after)
            moved = instant + after * MINUTE
            if moved // DAY == shown // DAY:
                return instant, label(moved, after)
            # The whole day was skipped. It has no moment, and yet somebody may write of it.
        return instant, label(shown, offset)

    def hours_of(self, day: int) -> Iterator[tuple[int, str]]:
        """When each hour of a day begins, and what clocks show then."""
        at, text = self.begin_of(day)
        end, _ = self.begin_of(day + 1)
        offset = self.offset(at)
        shown = at + offset * MINUTE
        if shown % HOUR == 0 and end > at and self.offset(end - 1) == offset:
            for passed in range(0, end - at, HOUR):
                yield at + passed, label(shown + passed, offset)
            return
        while at < end:
            yield at, text
            offset = self.offset(at)
            shown = at + offset * MINUTE
            following = at + HOUR - shown % HOUR
            if self.offset(following - 1) != offset:
                following = self._until_when(at, following - 1, offset)
            at = following
            offset = self.offset(at)
            text = label(at + offset * MINUTE, offset)

    def day_of(self, instant: int) -> int:
        """The day in which an instant is; clocks may show the one before for a second time."""
        shown = instant + self.offset(instant) * MINUTE
        day = min(max(shown // DAY + EPOCH_DAY, 1), LAST_DAY)
        return day + 1 if day < LAST_DAY and self.begin_of(day + 1)[0] <= instant else day

    def moment(self, text: str) -> Moment | None:
        """A date, or a time with or without an offset; None where it is neither."""
        try:
            if _DATE.fullmatch(text):
                day = date.fromisoformat(text).toordinal()
                return Moment(self.begin_of(day)[0], day, day, text)
            found = _TIME.fullmatch(text)
            if found is None:
                return None
            on, clock = date.fromisoformat(found[1]), time.fromisoformat(found[2])
            if found[3] is None:
                instant = self.instant_of(on, clock)
            else:
                instant = _shown(on, clock) - _given(found[3]) * MINUTE
        except ValueError:
            return None
        offset = self.offset(instant)
        shown = instant + offset * MINUTE
        if not 1 <= shown // DAY + EPOCH_DAY <= LAST_DAY:
            return None
        day = self.day_of(instant)
        begins = self.begin_of(day)[0]
        return Moment(instant, day if begins >= instant else day + 1, day, label(shown, offset))

    def _since_when(self, before: int, at: int, offset: int) -> int:
        """The first second after ``before`` from which on the offset was that of ``at``."""
        while at - before > SECOND:
            middle = (before + at) // 2 // SECOND * SECOND
            if self.offset(middle) == offset:
                at = middle
            else:
                before = middle
        return at

    def _until_when(self, at: int, after: int, offset: int) -> int:
        """The first second after ``at`` at which the offset is another, as it is at ``after``."""
        low, high = at // SECOND, after // SECOND
        while high - low > 1:
            middle = (low + high) // 2
            if self.offset(middle * SECOND) == offset:
                low = middle
            else:
                high = middle
        return high * SECOND


def _minutes(offset: timedelta | None) -> int:
    assert offset is not None  # a zone of the database always knows
    return round(offset.total_seconds() / 60)


def _shown(day: date, clock: time) -> int:
    """A local time, counted as instants are."""
    return (datetime.combine(day, clock, UTC) - _EPOCH) // _MICROSECOND


def _given(text: str) -> int:
    """Minutes of an offset as clients send it; a plus sign may have become a space on its way."""
    if text in "Zz":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:])
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    return (-1 if text[0] == "-" else 1) * (hours * 60 + minutes)


def label(shown: int, offset: int) -> str:
    """A local time with its offset; ``shown`` is what clocks show, counted as instants are."""
    at = _EPOCH + timedelta(microseconds=shown)
    return at.replace(tzinfo=None).isoformat() + _suffix(offset)


@lru_cache(512)
def _suffix(offset: int) -> str:
    hours, minutes = divmod(abs(offset), 60)
    return f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"


@lru_cache(256)
def zone(name: str) -> Zone:
    """The zone of that name.

    Raises:
        KeyError, ValueError, OSError: this machine does not know it.
    """
    return Zone(name)


def first_day_of(width: Width, day: int) -> int:
    """The first day of the week, month or year of a day; itself for hours and days."""
    if width == "week":
        return day - (day - 1) % 7  # the first day of the year 1 was a Monday
    if width == "month":
        return date.fromordinal(day).replace(day=1).toordinal()
    if width == "year":
        return date(date.fromordinal(day).year, 1, 1).toordinal()
    return day


def later(width: Width, day: int, count: int) -> int:
    """The day that many buckets later, earlier if negative; no further than days go.

    Of hours that is counted by days.
    """
    if width in ("hour", "day", "week"):
        found = day + count * (7 if width == "week" else 1)
        return min(max(found, 1), LAST_DAY)
    at = date.fromordinal(day)
    months = at.year * 12 + at.month - 1 + count * (12 if width == "year" else 1)
    year, month = divmod(months, 12)
    if year < 1:
        return 1
    return LAST_DAY if year > 9999 else date(year, month + 1, 1).toordinal()


def _days(width: Width, first: int, last: int) -> list[int]:
    """The days with which buckets begin, from that of ``first`` to that of ``last``."""
    begin = first_day_of(width, first)
    if width in ("day", "week"):
        return list(range(begin, last + 1, 7 if width == "week" else 1))
    at = date.fromordinal(begin)
    step = 12 if width == "year" else 1
    found: list[int] = []
    months = at.year * 12 + at.month - 1
    while months < 120_000:
        day = date(months // 12, months % 12 + 1, 1).toordinal()
        if day > last:
            break
        found.append(day)
        months += step
    return found


_SHORTEST = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31, "year": 366}


@lru_cache(8)  # some megabytes each where there are many
def buckets(name: str, width: Width, begin: Moment, end: Moment, most: int) -> Buckets:
    """The buckets of a range in the zone of that name.

    Raises:
        TooManyBuckets: there would be more than ``most``.
    """
    place = zone(name)
    last = end.day - 1  # the last day that begins before the end
    until = max(last, end.local if end.instant > begin.instant else 0)
    if begin.instant >= end.instant and begin.day > last:
        return Buckets((), (), (), begin.instant, end.instant, begin.day, last)
    least = int((until - begin.local - 1) / _SHORTEST[width])
    if least > most + 1:
        raise TooManyBuckets(least)
    starts: list[int] = []
    labels: list[str] = []
    if width == "hour":
        for day in range(begin.local, until + 1):
            for at, text in place.hours_of(day):
                if at >= end.instant:
                    break
                starts.append(at)
                labels.append(text)
        cut = max(bisect_right(starts, begin.instant) - 1, 0)
        starts, labels = starts[cut:], labels[cut:]
        days: list[int] = []
    else:
        days = _days(width, begin.local, last)
        for day in days:
            at, text = place.begin_of(day)
            starts.append(at)
            labels.append(text)
    if len(starts) > most:
        raise TooManyBuckets(len(starts))
    return Buckets(
        *(tuple(labels), tuple(starts), tuple(days)),
        *(begin.instant, end.instant, begin.day, last),
    )
