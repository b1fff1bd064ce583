"""The journal over HTTP: entries, one and by the page.

Owns the translation between requests and the readers of ``projections.journal.entries``. What an
entry was before is in ``read_api/journal_history.py``; calendar, streak and tags are in
``read_api/journal_overview.py``.
"""

from __future__ import annotations

import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.attachment_links import AttachmentLinks
from adapters.http.conditional import etag, not_modified
from adapters.http.context import require
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok, unchanged
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from domain.journal.events import Mood
from projections.caching import Place
from projections.journal import entries
from projections.journal.entries import EntryDocument, EntryFilter, Keyset
from projections.journal.recent import RECENT, RecentEntries
from projections.reading import Freshness, Reader
from read_api.fresh import fresh
from read_api.recent import Recent
from read_api.shared import Form, Shared

AnyRequest = Request[Any, Any, Any]

PERMISSION = "journal:read"
TAGS = ("Journal",)
ENTRIES = entries.Entries.name

_LIST = "/v1/journal/entries"


class EntryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the list: both dates inclusive, all of the tags."""

    date_from: datetime.date | None = None
    date_to: datetime.date | None = None
    mood: Mood | None = None
    tag: tuple[str, ...] = ()
    is_private: bool | None = None
    sort: Literal["date", "-date", "updated_at", "-updated_at"] = "-date"
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


_FIRST_PAGE = EntryQuery()
_FORM = Form(RecentEntries)


class _Pages:
    """Reads pages of entries."""

    def __init__(self, reader: Reader, cursors: Cursors, shared: Shared) -> None:
        self._reader = reader
        self._cursors = cursors
        self._shared = shared

    async def first(self, user_id: UUID, position: int) -> tuple[msgspec.Raw, PageMeta]:
        """The page that is asked for without parameters, which processes share."""

        async def load() -> RecentEntries:
            documents, meta = await self.read(user_id, _FIRST_PAGE)
            return RecentEntries(documents, meta.next_cursor)

        kept = await self._shared.read(Place(RECENT, user_id), position, load, _FORM)
        return kept.documents, PageMeta(kept.cursor, DEFAULT_LIMIT)

    async def read(self, user_id: UUID, asked: EntryQuery) -> tuple[msgspec.Raw, PageMeta]:
        """Any page."""
        binding = msgspec.structs.astuple(asked)[:-2]  # all but cursor and limit
        after: Keyset | None = None
        if asked.cursor is not None:
            kind: Any = tuple[datetime.date, UUID]
            if asked.sort.endswith("updated_at"):
                kind = tuple[datetime.datetime, UUID]
            after = self._cursors.open(_LIST, user_id, asked.cursor, binding, kind)
        documents, end = await entries.page(
            self._reader,
            user_id,
            EntryFilter(
                date_from=asked.date_from,
                date_to=asked.date_to,
                mood=asked.mood,
                tags=tuple(tag.strip().lower() for tag in asked.tag),
                is_private=asked.is_private,
            ),
            sort=asked.sort,
            after=after,
            limit=asked.limit,
        )
        cursor = self._cursors.seal(_LIST, user_id, end, binding) if end is not None else None
        return msgspec.Raw(b"[" + b",".join(documents) + b"]"), PageMeta(cursor, asked.limit)


def routes(
    reader: Reader,
    freshness: Freshness,
    cursors: Cursors,
    shared: Shared,
    links: AttachmentLinks,
) -> list[HTTPRouteHandler]:
    """The handlers of reading entries; the first page is shared with other processes.

    What is remembered has no links: they are made for who asks, at the address where they ask.
    """
    pages = _Pages(reader, cursors, shared)
    recent: Recent[tuple[bytes, str, bool]] = Recent(freshness)
    recent_pages: Recent[tuple[msgspec.Raw, PageMeta, bool]] = Recent(freshness)

    @get(
        "/v1/journal/entries/{entry_id:str}",
        opt={
            "operation": Operation(
                summary="One entry",
                tags=TAGS,
                response=EntryDocument,
                statuses=(200, 304),
                problems=("NOT_FOUND",),
                permission=PERMISSION,
                fresh=True,
                operation_id="get_entry",
            )
        },
    )
    async def get_entry(request: AnyRequest) -> Answer:
        entry_id: str = request.path_params["entry_id"]
        user_id = require(request, PERMISSION).user_id
        position = await fresh(request, freshness, ENTRIES)
        key = entry_id.encode("utf-8", "surrogatepass")
        found = recent.get(user_id, key)
        if found is None:
            epoch = recent.epoch(user_id)
            row = await entries.entry(reader, user_id, id_of(entry_id))
            if row is None:
                raise Problem("NOT_FOUND")
            found = row[0], etag(row[1]), entries.has_files(row[0])
            recent.put(user_id, key, epoch, found, len(row[0]))
        document, tag, has_files = found
        if not_modified(request, tag):
            return unchanged(request, etag=tag, token=position)
        if has_files:
            document = links.document(request, document)
        return ok(request, msgspec.Raw(document), message="Entry", etag=tag, token=position)

    @get(
        _LIST,
        opt={
            "operation": Operation(
                summary="Entries by the page",
                description="A repeated tag means all of them. Deleted entries are not listed.",
                tags=TAGS,
                response=EntryDocument,
                page=True,
                query=EntryQuery,
                problems=("INVALID_CURSOR",),
                permission=PERMISSION,
                fresh=True,
                operation_id="list_entries",
            )
        },
    )
    async def list_entries(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        asked = query(request, EntryQuery)
        position = await fresh(request, freshness, ENTRIES)
        key: bytes = request.scope.get("query_string", b"")
        found = recent_pages.get(user_id, key)
        if found is None:
            epoch = recent_pages.epoch(user_id)
            first = asked == _FIRST_PAGE
            page = pages.first(user_id, position) if first else pages.read(user_id, asked)
            documents, meta = await page
            found = documents, meta, entries.has_files(bytes(documents))
            recent_pages.put(user_id, key, epoch, found, len(memoryview(documents)))
        documents, meta, has_files = found
        if has_files:
            documents = msgspec.Raw(links.page(request, bytes(documents)))
        return ok(request, documents, message="Entries", token=position, meta=meta)

    return [get_entry, list_entries]


def id_of(text: str) -> UUID:
    """The id in a path.

    Raises:
        Problem: 404, since nothing has an id of another form.
    """
    try:
        return UUID(text)
    except ValueError:
        raise Problem("NOT_FOUND") from None
