"""The journal at a glance over HTTP: tags, calendar, streak.

Owns the translation between requests and the readers of ``projections.journal.days`` and ``tags``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import require
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.responses import Answer, ok
from adapters.http.validation import DEFAULT_LIMIT, Limit, check, query
from projections.journal import days
from projections.journal import tags as tags_view
from projections.journal.days import CalendarDay, Streak
from projections.journal.tags import Tag
from projections.reading import Freshness, Reader
from read_api.fresh import fresh
from read_api.journal import PERMISSION, TAGS

AnyRequest = Request[Any, Any, Any]

DAYS = days.Days.name
TAGGED = tags_view.Tags.name
PEOPLE = "accounts.people"
"""The projection that knows a person's time zone."""

_TAGS = "/v1/journal/tags"
_SUGGEST = "/v1/journal/tags/suggest"


class TagsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the list of tags."""

    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class SuggestQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of completion: how the tags begin, in any case."""

    prefix: Annotated[str, msgspec.Meta(max_length=50)] = ""
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Month(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A month of the calendar, as a path names it."""

    year: Annotated[int, msgspec.Meta(ge=1, le=9999)]
    month: Annotated[int, msgspec.Meta(ge=1, le=12)]


def routes(
    reader: Reader,
    freshness: Freshness,
    cursors: Cursors,
    clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> list[HTTPRouteHandler]:
    """The handlers; ``clock`` tells the time in UTC."""

    @get(
        _TAGS,
        opt={
            "operation": Operation(
                summary="Tags with counts",
                description="Most used first, then by alphabet.",
                tags=TAGS,
                response=Tag,
                page=True,
                query=TagsQuery,
                problems=("INVALID_CURSOR",),
                permission=PERMISSION,
                fresh=True,
                operation_id="list_tags",
            )
        },
    )
    async def list_tags(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        asked = query(request, TagsQuery)
        return await tag_page(request, _TAGS, "", asked.cursor, asked.limit)

    @get(
        _SUGGEST,
        opt={
            "operation": Operation(
                summary="Tags that begin so",
                description="Most used first, then by alphabet.",
                tags=TAGS,
                response=Tag,
                page=True,
                query=SuggestQuery,
                problems=("INVALID_CURSOR",),
                permission=PERMISSION,
                fresh=True,
                operation_id="suggest_tags",
            )
        },
    )
    async def suggest_tags(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        asked = query(request, SuggestQuery)
        prefix = asked.prefix.lstrip().lower()
        return await tag_page(request, _SUGGEST, prefix, asked.cursor, asked.limit)

    async def tag_page(
        request: AnyRequest, endpoint: str, prefix: str, cursor: str | None, limit: int
    ) -> Answer:
        user_id = require(request, PERMISSION).user_id
        after: Tag | None = None
        if cursor is not None:
            kind: Any = tuple[int, str]
            count, tag = cursors.open(endpoint, user_id, cursor, prefix, kind)
            after = Tag(tag, count)
        position = await fresh(request, freshness, TAGGED)
        found, end = await tags_view.tags(reader, user_id, prefix=prefix, after=after, limit=limit)
        ended = None
        if end is not None:
            ended = cursors.seal(endpoint, user_id, (end.count, end.tag), prefix)
        meta = PageMeta(ended, limit)
        return ok(request, found, message="Tags", token=position, meta=meta)

    @get(
        "/v1/journal/calendar/{year:str}/{month:str}",
        opt={
            "operation": Operation(
                summary="Every day of a month",
                tags=TAGS,
                response=list[CalendarDay],
                query=NoQuery,
                permission=PERMISSION,
                fresh=True,
                operation_id="calendar",
            )
        },
    )
    async def calendar(request: AnyRequest) -> Answer:
        year: str = request.path_params["year"]
        month: str = request.path_params["month"]
        user_id = require(request, PERMISSION).user_id
        asked = check({"year": _number(year), "month": _number(month)}, Month)
        query(request, NoQuery)
        position = await fresh(request, freshness, DAYS)
        found = await days.month(reader, user_id, asked.year, asked.month)
        meta = PageMeta(None, len(found))
        return ok(request, found, message="Calendar", token=position, meta=meta)

    @get(
        "/v1/journal/streak",
        opt={
            "operation": Operation(
                summary="Days written in a row",
                description="In the person's time zone; current through the day after the last.",
                tags=TAGS,
                response=Streak,
                query=NoQuery,
                permission=PERMISSION,
                fresh=True,
                operation_id="streak",
            )
        },
    )
    async def streak(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        query(request, NoQuery)
        position = await fresh(request, freshness, DAYS, PEOPLE)
        today = today_in(await days.timezone(reader, user_id), clock())
        found, _ = await days.streak_and_statistics(reader, user_id, today)
        return ok(request, found, message="Streak", token=position)

    return [list_tags, suggest_tags, calendar, streak]


def today_in(timezone: str, now: datetime.datetime) -> datetime.date:
    """The date in a time zone; in UTC where this machine does not know the zone (any more)."""
    try:
        return now.astimezone(ZoneInfo(timezone)).date()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return now.astimezone(datetime.UTC).date()


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else text
