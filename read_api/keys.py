"""One's API keys over HTTP: one, and by the page. The keys themselves are never shown again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.conditional import etag, not_modified
from adapters.http.context import principal_of
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.problems import Problem
from adapters.http.responses import Answer, ok, unchanged
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from projections.accounts import keys
from projections.accounts.keys import KeyDocument, Keys, Keyset, document_of
from projections.reading import Freshness, Reader
from read_api.fresh import fresh

AnyRequest = Request[Any, Any, Any]

TAGS = ("API keys",)
KEYS = Keys.name
_LIST = "/v1/api-keys"


class KeysQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the list."""

    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class LastUses(Protocol):
    """Knows when keys were last used; ``adapters.keys.PostgresKeys`` does."""

    async def last_used(self, user_id: UUID, ids: list[UUID]) -> dict[UUID, datetime]:
        """When each of this person's keys was last used; those that never were are left out."""
        ...


def routes(
    reader: Reader,
    freshness: Freshness,
    cursors: Cursors,
    uses: LastUses,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[HTTPRouteHandler]:
    """The handlers; ``clock`` tells the time in UTC."""

    @get(
        _LIST,
        opt={
            "operation": Operation(
                summary="One's API keys by the page",
                description="Newest first; deleted ones are not listed.",
                tags=TAGS,
                response=KeyDocument,
                page=True,
                query=KeysQuery,
                fresh=True,
                operation_id="list_api_keys",
            )
        },
    )
    async def list_api_keys(request: AnyRequest) -> Answer:
        user_id = principal_of(request).user_id
        asked = query(request, KeysQuery)
        position = await fresh(request, freshness, KEYS)
        after: Keyset | None = None
        if asked.cursor is not None:
            after = cursors.open(_LIST, user_id, asked.cursor, kind=tuple[datetime, UUID])
        found, end = await keys.keys(reader, user_id, after=after, limit=asked.limit)
        last = await uses.last_used(user_id, [one.id for one in found])
        now = clock()
        shown = [document_of(one, last_used_at=last.get(one.id), now=now) for one in found]
        cursor = None if end is None else cursors.seal(_LIST, user_id, end)
        meta = PageMeta(cursor, asked.limit)
        return ok(request, shown, message="API keys", token=position, meta=meta)

    @get(
        f"{_LIST}/{{key_id:str}}",
        opt={
            "operation": Operation(
                summary="One API key",
                description="`ETag` is its version; `last_used_at` and a state `expired` may change"
                " under it.",
                tags=TAGS,
                response=KeyDocument,
                statuses=(200, 304),
                query=NoQuery,
                fresh=True,
                operation_id="get_api_key",
            )
        },
    )
    async def get_api_key(request: AnyRequest) -> Answer:
        user_id = principal_of(request).user_id
        try:
            key_id = UUID(request.path_params["key_id"])
        except ValueError:
            raise Problem("NOT_FOUND") from None
        position = await fresh(request, freshness, KEYS)
        found = await keys.key(reader, user_id, key_id)
        if found is None:
            raise Problem("NOT_FOUND")
        query(request, NoQuery)
        if not_modified(request, etag(found.version)):
            return unchanged(request, etag=found.version, token=position)
        last = await uses.last_used(user_id, [key_id])
        shown = document_of(found, last_used_at=last.get(key_id), now=clock())
        return ok(
            request,
            shown,
            message="API key",
            etag=found.version,
            token=position,
            headers=_NO_STORE,
        )

    return [list_api_keys, get_api_key]


_NO_STORE = {"cache-control": "no-store"}
