"""An entry's past over HTTP: its versions, and the entry as it was at one of them.

Owns the translation between requests and ``projections.journal.history``, and the check of the
owner: the event store knows no row-level security.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.attachment_links import AttachmentLinks
from adapters.http.context import require
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from domain.journal.entry import stream_of
from projections.journal import history
from projections.journal.entries import document_of
from projections.journal.history import HistoryItem, Streams
from projections.reading import Freshness
from read_api.fresh import fresh
from read_api.journal import ENTRIES, PERMISSION, TAGS, id_of

AnyRequest = Request[Any, Any, Any]

_HISTORY = "/v1/journal/entries/{id}/history"


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of a history: with ``version`` the entry as it was, else a page of versions."""

    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


def routes(
    freshness: Freshness, streams: Streams, cursors: Cursors, links: AttachmentLinks
) -> list[HTTPRouteHandler]:
    """The handlers; ``streams`` reads the event store."""

    @get(
        "/v1/journal/entries/{entry_id:str}/history",
        opt={
            "operation": Operation(
                summary="What an entry was before",
                description="Its versions, oldest first; with version=n the entry as it was then."
                " A deleted entry has its history, too.",
                tags=TAGS,
                response=HistoryItem,
                page=True,
                query=HistoryQuery,
                problems=("NOT_FOUND", "INVALID_CURSOR"),
                permission=PERMISSION,
                fresh=True,
                operation_id="entry_history",
            )
        },
    )
    async def entry_history(request: AnyRequest) -> Answer:
        entry_id: str = request.path_params["entry_id"]
        user_id = require(request, PERMISSION).user_id
        known = id_of(entry_id)
        position = await fresh(request, freshness, ENTRIES)
        events = await streams.read(stream_of(known))
        if history.owner_of(events) != user_id:
            raise Problem("NOT_FOUND")
        asked = query(request, HistoryQuery)
        # The stream may be ahead of the projection; the token must not be behind what was shown.
        position = max(position, events[-1].position)
        if asked.version is not None:
            entry = history.as_it_was(events, asked.version)
            if entry is None:
                raise Problem("NOT_FOUND", "The entry has no such version.")
            shown = links.entry(request, document_of(entry))
            return ok(request, shown, message="Entry as it was", token=position)
        items = history.history(events)
        first = 0
        if asked.cursor is not None:
            kind: Any = tuple[int]
            first = cursors.open(_HISTORY, user_id, asked.cursor, entry_id, kind)[0]
        page = items[first : first + asked.limit]
        cursor = None
        if first + asked.limit < len(items):
            cursor = cursors.seal(_HISTORY, user_id, (first + asked.limit,), entry_id)
        meta = PageMeta(cursor, asked.limit)
        return ok(request, page, message="History", token=position, meta=meta)

    return [entry_history]
