"""Feature flags over HTTP: as operators see them, and as one has them oneself."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.conditional import etag, not_modified
from adapters.http.context import principal_of, require
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok, unchanged
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from domain.flags.flag import Flag, is_name
from projections.flags import definitions
from projections.flags.definitions import (
    Definitions,
    Evaluated,
    FlagDocument,
    document_of,
    evaluated,
)
from projections.reading import Freshness, Reader
from read_api.fresh import fresh

AnyRequest = Request[Any, Any, Any]

PERMISSION = "ops:read"
FLAGS = Definitions.name
_OPERATORS = "/v1/ops/feature-flags"
_OWN = "/v1/feature-flags"


class FlagsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the lists."""

    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


def routes(reader: Reader, freshness: Freshness, cursors: Cursors) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def page(request: AnyRequest, endpoint: str) -> tuple[list[Flag], PageMeta, int]:
        user_id = principal_of(request).user_id
        asked = query(request, FlagsQuery)
        position = await fresh(request, freshness, FLAGS)
        after = ""
        if asked.cursor is not None:
            kind: Any = tuple[str]
            [after] = cursors.open(endpoint, user_id, asked.cursor, kind=kind)
        found, end = await definitions.flags(reader, user_id, after=after, limit=asked.limit)
        cursor = None if end is None else cursors.seal(endpoint, user_id, (end,))
        return found, PageMeta(cursor, asked.limit), position

    @get(
        _OPERATORS,
        opt={
            "operation": Operation(
                summary="Feature flags by the page",
                tags=("Operators",),
                response=FlagDocument,
                page=True,
                query=FlagsQuery,
                permission=PERMISSION,
                fresh=True,
                operation_id="list_flags",
            )
        },
    )
    async def list_flags(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        found, meta, position = await page(request, _OPERATORS)
        shown = [document_of(flag) for flag in found]
        return ok(request, shown, message="Feature flags", token=position, meta=meta)

    @get(
        f"{_OPERATORS}/{{name:str}}",
        opt={
            "operation": Operation(
                summary="One feature flag",
                tags=("Operators",),
                response=FlagDocument,
                statuses=(200, 304),
                query=NoQuery,
                permission=PERMISSION,
                fresh=True,
                operation_id="get_flag",
            )
        },
    )
    async def get_flag(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        position = await fresh(request, freshness, FLAGS)
        name: str = request.path_params["name"]
        if not is_name(name):
            raise Problem("NOT_FOUND")
        found = await definitions.flag(reader, user_id, name)
        if found is None:
            raise Problem("NOT_FOUND")
        query(request, NoQuery)
        if not_modified(request, etag(found.version)):
            return unchanged(request, etag=found.version, token=position)
        return ok(
            request,
            document_of(found),
            message="Feature flag",
            etag=found.version,
            token=position,
        )

    @get(
        _OWN,
        opt={
            "operation": Operation(
                summary="Which features one has oneself",
                description="Every flag with whether it is on for the caller: the same at each"
                " asking, until an operator changes the flag or the caller's tier changes.",
                tags=("Feature flags",),
                response=Evaluated,
                page=True,
                query=FlagsQuery,
                fresh=True,
                keys=True,
                operation_id="list_own_flags",
            )
        },
    )
    async def list_own_flags(request: AnyRequest) -> Answer:
        principal = principal_of(request)
        found, meta, position = await page(request, _OWN)
        shown = evaluated(found, principal.user_id, principal.tier)
        return ok(request, shown, message="Your features", token=position, meta=meta)

    return [list_flags, get_flag, list_own_flags]
