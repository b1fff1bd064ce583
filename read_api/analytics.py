"""Series over HTTP: moods, activity, words and entries by buckets of local time.

Owns the calls. Parameters are in ``analytics_range``, who may see whom in ``analytics_rights``, how
it looks in ``analytics_forms``. The store of time series may be away: then these calls answer 503,
and all others go on.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.accept import wanted
from adapters.http.context import require
from adapters.http.fresh import token
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.principal import Principal
from adapters.http.problems import Problem, register, retry_after
from adapters.http.responses import Answer, bare, ok
from adapters.http.validation import query as parameters
from domain.accounts.profile import time_zones
from projections.accounts import series as activity
from projections.accounts.activity import Activities, ActivityCounts
from projections.accounts.series import ActivityPoint
from projections.buckets import Buckets, TooManyBuckets, Zone, buckets
from projections.caching import Place
from projections.journal import series as journal
from projections.journal.daily import Daily
from projections.journal.days import timezone
from projections.journal.series import EntriesPoint, Group, Metric, MoodPoint, WordsPoint
from projections.journal.trend import TREND, MoodTrend
from projections.reading import Freshness, Query, Reader, ReadUnavailable, SeriesReader
from read_api.analytics_forms import (
    ARROW,
    CSV,
    JSON,
    Series,
    SeriesDocument,
    as_arrow,
    as_csv,
    columns,
)
from read_api.analytics_range import GroupedQuery, SeriesQuery, range_of
from read_api.analytics_rights import Audience, Streams, audience
from read_api.fresh import fresh
from read_api.shared import Form, Shared

AnyRequest = Request[Any, Any, Any]
Found = list[tuple[str | None, list[Any]]]

TAGS = ("Analytics",)
PERMISSION = "journal:read"
"""Everybody has it; of API keys it says which of them may read a diary, in numbers too."""
MOST = 20_000
"""Points in one answer, of all groups together."""
PEOPLE, TENANTS = "accounts.people", "accounts.tenants"
"""The projections that know a person's time zone, and who belongs together."""

register(
    "TOO_MANY_BUCKETS",
    422,
    "That is too many points",
    f"An answer has at most {MOST:,} points, over all groups. Ask for longer buckets, or for less"
    " time.",
)
register(
    "ANALYTICS_UNAVAILABLE",
    503,
    "The store of time series does not answer",
    "Everything else works, and nothing is lost. Repeat the request after `Retry-After`.",
)

# The first of all events that are not counted yet.
NEXT = Query(
    "analytics_next",
    "SELECT recorded_at FROM events WHERE position > $1 ORDER BY position LIMIT 1",
    ("int8",),
)

_DESCRIPTION = """\
Without `user_id` and `tenant_id` one's own series, which needs no right. Another person's, or that
of all who share in a tenant, needs `analytics:read` in a tenant that both belong to, by one's role
there or by one's token, and that the person shares (`PUT /v1/tenants/{tenant_id}/sharing`). Of
others, private entries do not count, and nothing can be told apart by tag.

`from` is inclusive and `to` exclusive: dates, or times with or without an offset, read in `tz`,
which is one's own where it is not given. Without `to` the series goes through today; without `from`
it has 2 days of hours, 30 days, 12 weeks, 12 months or 10 years. Weeks begin on Monday. Every
bucket is there, if only with zeros. A first bucket that `from` cuts keeps its full start and counts
only from `from`.

`X-As-Of` says up to when everything is counted."""
_OF_ENTRIES = """\
Entries count on their own date, in its first hour. By mood, entries without one have the key null;
by tag, an entry counts in each of its tags."""
_OF_ACTIVITY = """\
Counted by the time at which it was recorded. `from` and `to` may be any moment within the last six
months; before that they count as the beginning of the next quarter of an hour."""


class Asked(NamedTuple):
    """What is to be counted, and of whom."""

    query: SeriesQuery
    audience: Audience
    zone: Zone
    buckets: Buckets
    bounds: tuple[str, str]

    @property
    def group(self) -> Group | None:
        """By what the series is told apart."""
        return self.query.group_by if isinstance(self.query, GroupedQuery) else None


_TREND = Form(MoodTrend)


def _part_of_trend(asked: Asked) -> str | None:
    """How many days up to today are asked for, if that is what processes share."""
    days = str(len(asked.buckets.labels))
    query = asked.query
    usual = query.bucket == "day" and query.end is None and asked.group is None
    return days if usual and asked.audience.own and days in TREND.parts else None


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of series: the parameters, the points, where they are from, and who reads them."""

    name: str
    summary: str
    description: str = _OF_ENTRIES
    query: type[SeriesQuery] = GroupedQuery
    point: type[Any]
    views: tuple[str, ...] = (Daily.name,)
    read: Callable[[Asked], Awaitable[Found]]


def routes(
    reader: Reader,
    store: SeriesReader,
    events: Reader,
    freshness: Freshness,
    streams: Streams,
    shared: Shared,
    clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> list[HTTPRouteHandler]:
    """The handlers.

    ``reader`` reads people and tenants, ``store`` the time series, ``events`` the store of events;
    ``shared`` is what processes share, ``clock`` tells the time in UTC.
    """

    def counting(metric: Metric) -> Callable[[Asked], Awaitable[Found]]:
        async def read(asked: Asked) -> Found:
            return await journal.series(
                *(store, asked.audience.user_ids, metric, asked.zone, asked.buckets),
                group=asked.group,
                private=asked.audience.own,
                most=MOST,
            )

        return read

    count_moods = counting("mood")

    async def read_moods(asked: Asked) -> Found:
        if (part := _part_of_trend(asked)) is None:
            return await count_moods(asked)

        async def load() -> MoodTrend:
            [(_, points)] = await count_moods(asked)
            return MoodTrend(asked.zone.name, asked.bounds, points)

        trend = await shared.read(
            Place(TREND, asked.audience.user_ids[0], part),
            freshness.position(Daily.name),
            load,
            _TREND,
            good=lambda kept: (kept.zone, kept.bounds) == (asked.zone.name, asked.bounds),
        )
        return [(None, list(trend.points))]

    async def read_activity(asked: Asked) -> Found:
        return await activity.series(store, asked.audience.user_ids, asked.buckets, clock)

    answering = _Answering(reader, events, freshness, streams, clock)
    kinds = (
        Kind(name="mood", summary="How one felt", point=MoodPoint, read=read_moods),
        Kind(name="words", summary="How much one wrote", point=WordsPoint, read=counting("words")),
        Kind(
            name="entries",
            summary="How often one wrote",
            point=EntriesPoint,
            read=counting("entries"),
        ),
        Kind(
            name="activity",
            summary="What one did",
            description=_OF_ACTIVITY,
            query=SeriesQuery,
            point=ActivityPoint,
            views=(ActivityCounts.name, Activities.name),
            read=read_activity,
        ),
    )
    return [_route(kind, answering) for kind in kinds]


def _route(kind: Kind, answering: _Answering) -> HTTPRouteHandler:
    response: Any = SeriesDocument[kind.point]  # type: ignore[name-defined]  # by its points
    operation = Operation(
        summary=kind.summary,
        description=f"{_DESCRIPTION}\n\n{kind.description}",
        tags=TAGS,
        response=response,
        other_media_types=(CSV, ARROW),
        query=kind.query,
        problems=(
            *("FORBIDDEN", "NOT_FOUND", "NOT_SHARED", "NOT_ACCEPTABLE"),
            *("TOO_MANY_BUCKETS", "ANALYTICS_UNAVAILABLE"),
        ),
        permission=PERMISSION,
        fresh=True,
        operation_id=f"{kind.name}_series",
    )

    @get(f"/v1/analytics/{kind.name}", opt={"operation": operation})
    async def series(request: AnyRequest) -> Answer:
        return await answering.answer(request, kind)

    return series


class _Answering:
    """What all kinds have in common."""

    def __init__(
        self,
        reader: Reader,
        events: Reader,
        freshness: Freshness,
        streams: Streams,
        clock: Callable[[], datetime.datetime],
    ) -> None:
        self._reader = reader
        self._events = events
        self._freshness = freshness
        self._streams = streams
        self._clock = clock

    async def answer(self, request: AnyRequest, kind: Kind) -> Answer:
        """The series that the request asks for, in the form that it asks for."""
        principal = require(request, PERMISSION)
        form = wanted(request, (JSON, CSV, ARROW))
        query = parameters(request, kind.query)
        views = list(kind.views)
        if query.tz is None:
            views.append(PEOPLE)
        if query.tenant_id is not None or query.user_id not in (None, principal.user_id):
            views.append(TENANTS)
        now = self._clock()
        position = await fresh(request, self._freshness, *views)
        try:
            asked = await self._understood(principal, query, now)
            series = [Series(key, points) for key, points in await kind.read(asked)]
        except TooManyBuckets as error:
            detail = f"That would be some {error.count:,} points; {MOST:,} are the most."
            raise Problem("TOO_MANY_BUCKETS", detail) from None
        except ReadUnavailable:
            raise Problem("ANALYTICS_UNAVAILABLE", headers=retry_after(5)) from None
        as_of = await self._as_of(position, now, principal.user_id)
        if form == JSON:
            document: SeriesDocument[Any] = SeriesDocument(
                bucket=query.bucket,
                tz=asked.zone.name,
                begin=asked.bounds[0],
                end=asked.bounds[1],
                as_of=as_of,
                position=position,
                people=len(asked.audience.user_ids),
                series=series,
            )
            headers = {"x-as-of": as_of, "vary": "Accept"}
            return ok(request, document, message="Series", token=position, headers=headers)
        table = columns(kind.point, series, grouped=asked.group is not None)
        ending = "csv" if form == CSV else "arrows"
        return bare(
            as_csv(table) if form == CSV else as_arrow(table, asked.buckets.starts),
            f"{CSV}; charset=utf-8" if form == CSV else form,
            content_disposition=f'attachment; filename="{kind.name}-by-{query.bucket}.{ending}"',
            consistency_token=token(position),
            x_as_of=as_of,
            vary="Accept",
        )

    async def _understood(
        self, principal: Principal, query: SeriesQuery, now: datetime.datetime
    ) -> Asked:
        """What is asked for.

        Raises:
            Problem: 403, 404, or 422 with every fault.
            TooManyBuckets, ReadUnavailable.
        """
        reader, streams = self._reader, self._streams
        whose = await audience(principal, query.user_id, query.tenant_id, reader, streams)
        name = query.tz
        if name is None:
            name = await timezone(reader, principal.user_id)
            if name not in time_zones():
                name = "UTC"  # this machine does not know it (any more)
        zone, begin, end = range_of(query, name, now)
        made = buckets(name, query.bucket, begin, end, MOST)
        asked = Asked(query, whose, zone, made, (begin.text, end.text))
        if asked.group == "tag" and not whose.own:
            raise Problem("FORBIDDEN", "Tags are a person's own: nobody else is shown them.")
        return asked

    async def _as_of(self, position: int, now: datetime.datetime, user_id: UUID) -> str:
        """Up to when everything that was recorded is among the first ``position`` events."""
        rows = await self._events.rows(NEXT, position, user_id=user_id)
        moment: datetime.datetime = min(now, rows[0][0]) if rows else now
        return moment.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
