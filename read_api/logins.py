"""Where one is logged in, over HTTP. A login is ended through ``write_api/leaving.py``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import principal_of
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.responses import Answer, ok
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from projections.accounts.open_logins import LoginDocument, page
from projections.accounts.people import People
from projections.reading import Freshness, Reader
from read_api.fresh import fresh

AnyRequest = Request[Any, Any, Any]

_LIST = "/v1/me/logins"


class LoginQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the list."""

    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


def routes(credentials: Reader, freshness: Freshness, cursors: Cursors) -> list[HTTPRouteHandler]:
    """The handlers; ``credentials`` reads where the logins lie, which is the write database."""

    @get(
        _LIST,
        opt={
            "operation": Operation(
                summary="Where one is logged in",
                description="Open logins, newest first; `current` marks the one that asks. It is"
                " read where logins are kept and includes every write.",
                tags=("Accounts",),
                response=LoginDocument,
                page=True,
                query=LoginQuery,
                problems=("INVALID_CURSOR",),
                fresh=True,
                operation_id="list_logins",
            )
        },
    )
    async def list_logins(request: AnyRequest) -> Answer:
        principal = principal_of(request)
        asked = query(request, LoginQuery)
        # Every write is in the answer; its token is for the reads that the client hands it on to.
        position = await fresh(request, freshness, People.name)
        after: UUID | None = None
        if asked.cursor is not None:
            [after] = cursors.open(_LIST, principal.user_id, asked.cursor, kind=tuple[UUID])
        logins, end = await page(
            credentials,
            principal.user_id,
            current=principal.login_id,
            after=after,
            limit=asked.limit,
        )
        cursor = None if end is None else cursors.seal(_LIST, principal.user_id, (end,))
        meta = PageMeta(cursor, asked.limit)
        return ok(request, logins, message="Logins", token=position, meta=meta)

    return [list_logins]
