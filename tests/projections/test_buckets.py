"""Buckets of local time are what the clocks and calendars of random places say."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.buckets import DAY, HOUR, Buckets, TooManyBuckets, Width, Zone, buckets, later

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu"),
    *("Australia/Lord_Howe", "America/Havana", "America/Sao_Paulo", "Pacific/Apia", "Asia/Beirut"),
    *("Pacific/Chatham", "America/Nuuk", "Africa/Casablanca", "Antarctica/Troll"),
)
WIDTHS: tuple[Width, ...] = ("hour", "day", "week", "month", "year")


def made(name: str, width: Width, begin: str, end: str, most: int = 20_000) -> Buckets:
    zone = Zone(name)
    first, last = zone.moment(begin), zone.moment(end)
    assert first is not None
    assert last is not None
    return buckets(name, width, first, last, most)


def key(local: datetime, width: Width) -> tuple[object, ...]:
    """What a clock says of a bucket: the offset tells the hours of a long day apart."""
    if width == "hour":
        return local.date(), local.hour, local.utcoffset()
    if width == "week":
        return (local.date() - timedelta(days=local.weekday()),)
    parts = (local.year, local.month, local.day)
    return parts[: {"day": 3, "month": 2, "year": 1}[width]]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(WIDTHS),
    st.datetimes(datetime(1975, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - hypothesis adds none
    st.integers(1, 12),
)
def test_every_quarter_of_an_hour_is_in_the_bucket_that_a_clock_shows(
    name: str, width: Width, begin: datetime, days: int
) -> None:
    at = begin.replace(tzinfo=UTC, microsecond=0, second=0, minute=begin.minute // 15 * 15)
    end = at + timedelta(days=days)
    found = made(name, width, at.isoformat(), end.isoformat())
    assert list(found.starts) == sorted(found.starts)
    counted: Counter[tuple[object, ...]] = Counter()
    while at < end:
        number = bisect_right(found.starts, (at - EPOCH) // timedelta(microseconds=1)) - 1
        counted[key(at.astimezone(ZoneInfo(name)), width)] += 1
        shown = datetime.fromisoformat(found.labels[number])
        assert key(shown, width) == key(at.astimezone(ZoneInfo(name)), width), (at, shown)
        assert shown <= at
        at += timedelta(minutes=15)
    # None is missing, and none is there that has no moment, but for days that were skipped whole.
    keys = {key(datetime.fromisoformat(label), width) for label in found.labels}
    skipped = {at for at, next_ in pairwise(found.starts) if at == next_}
    assert len(keys) == len(found.labels)
    assert len(keys - set(counted)) <= len(skipped)


@settings(deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(WIDTHS), st.dates(), st.dates())
def test_days_are_in_the_bucket_of_their_date(
    name: str, width: Width, one: date, other: date
) -> None:
    begin, end = min(one, other), max(one, other)
    try:
        found = made(name, width, begin.isoformat(), end.isoformat(), 2_000)
    except TooManyBuckets:
        length = {"hour": 1 / 24, "day": 1, "week": 7, "month": 28, "year": 365}[width]
        assert (end - begin).days / length > 1_990
        return
    assert (found.first_day, found.last_day) == (begin.toordinal(), end.toordinal() - 1)
    if width == "hour":
        return
    for day in range(found.first_day, min(found.first_day + 400, found.last_day + 1)):
        number = bisect_right(found.days, day) - 1
        first = date.fromordinal(found.days[number])
        on = date.fromordinal(day)
        wanted = {
            "day": on,
            "week": on - timedelta(days=on.weekday()) if on.toordinal() > 6 else date.min,
            "month": on.replace(day=1),
            "year": on.replace(month=1, day=1),
        }[width]
        assert first == wanted
        assert found.labels[number].startswith(
            (first.isoformat(), (first + timedelta(1)).isoformat())
        )


@pytest.mark.parametrize(
    ("name", "width", "begin", "end", "labels"),
    [
        # Before standard time: an offset of -75 seconds.
        ("Europe/London", "year", "1660-01-01", "1661-01-01", ["1660-01-01T00:00:00-00:01"]),
        # The clock skips midnight.
        (
            *("America/Sao_Paulo", "day", "2018-11-03", "2018-11-05"),
            ["2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00"],
        ),
        # It skipped half an hour around midnight.
        (
            *("America/Toronto", "day", "1919-03-30", "1919-04-01"),
            ["1919-03-30T00:00:00-05:00", "1919-03-31T00:30:00-04:00"],
        ),
        # A whole day was skipped.
        (
            *("Pacific/Apia", "day", "2011-12-29", "2012-01-01"),
            [
                "2011-12-29T00:00:00-10:00",
                "2011-12-30T00:00:00-10:00",
                "2011-12-31T00:00:00+14:00",
            ],
        ),
        # Half an hour comes twice.
        (
            *("Australia/Lord_Howe", "hour", "2026-04-05T01:00:00", "2026-04-05T03:00:00"),
            [
                "2026-04-05T01:00:00+11:00",
                "2026-04-05T01:30:00+10:30",
                "2026-04-05T02:00:00+10:30",
            ],
        ),
        # The first day of all was a Monday, and the last one is a Friday.
        (
            *("Asia/Kolkata", "week", "0001-01-01", "0001-01-09"),
            ["0001-01-01T00:00:00+05:53", "0001-01-08T00:00:00+05:53"],
        ),
        (
            *("Asia/Kolkata", "week", "9999-12-26", "9999-12-31T12:00"),
            ["9999-12-20T00:00:00+05:30", "9999-12-27T00:00:00+05:30"],
        ),
        # A bound within a bucket leaves the label as it is.
        (
            *("Europe/Berlin", "week", "2026-01-01T10:20:00Z", "2026-01-05T00:00:00 01:00"),
            ["2025-12-29T00:00:00+01:00"],
        ),
    ],
)
def test_labels(name: str, width: Width, begin: str, end: str, labels: list[str]) -> None:
    assert list(made(name, width, begin, end).labels) == labels


def test_days_of_23_and_25_hours() -> None:
    spring = made("Europe/Berlin", "hour", "2026-03-29", "2026-03-30")
    assert len(spring.labels) == 23
    assert spring.labels[1:3] == ("2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00")
    autumn = made("Europe/Berlin", "hour", "2026-10-25", "2026-10-26")
    assert len(autumn.labels) == 25
    assert autumn.labels[2:4] == ("2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00")
    assert autumn.starts[-1] + HOUR - autumn.starts[0] == DAY + HOUR


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-13-01", "2026-02-30", "2026-01-01T25:00", "2026-01-01T10:00+24:00",
             "0000-01-01", "2026-01-01T10:00:00.1234567Z", "٢٠٢٦-01-01", "0001-01-01T00:00+14:00"],
)  # fmt: skip
def test_what_is_no_moment(text: str) -> None:
    assert Zone("America/New_York").moment(text) is None


def test_no_more_buckets_than_asked_for() -> None:
    assert len(made("UTC", "hour", "2026-01-01", "2026-01-02", 24).labels) == 24
    for width, end in (("hour", "2026-01-02"), ("hour", "9999-12-31"), ("day", "9999-12-31")):
        with pytest.raises(TooManyBuckets):
            made("UTC", width, "2026-01-01", end, 23)


def test_later_goes_no_further_than_days_do() -> None:
    day = date(2026, 1, 31).toordinal()
    assert date.fromordinal(later("month", day, 1)) == date(2026, 2, 1)
    assert date.fromordinal(later("year", day, -30)) == date(1996, 1, 1)
    assert later("year", day, -3000) == 1
    assert date.fromordinal(later("month", day, 200_000)) == date.max
