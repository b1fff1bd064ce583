"""Tenants over HTTP: one's own by the page, one of them, and its members.

A tenant that one does not belong to is not there, but for operators (``ops:read``). One alone is
folded from its stream, so that operators need no way around row-level security.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
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
from domain.accounts.tenant import Tenant
from domain.event import Recorded
from projections.accounts import tenants
from projections.accounts.tenants import (
    Keyset,
    MemberDocument,
    TenantDocument,
    Tenants,
    document_of,
    members_of,
)
from projections.reading import Freshness, Reader
from read_api.fresh import fresh

AnyRequest = Request[Any, Any, Any]

TAGS = ("Tenants",)
TENANTS = Tenants.name
_LIST = "/v1/tenants"
_OPERATOR = frozenset({"ops:read", "ops:write"})


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the lists."""

    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Streams(Protocol):
    """Reads streams; ``adapters.event_store.store.PostgresEventStore`` does."""

    async def read(self, stream_id: str, *, after: int = 0) -> Sequence[Recorded]:
        """The stream's events in order."""
        ...


def routes(
    reader: Reader, freshness: Freshness, streams: Streams, cursors: Cursors
) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get(
        _LIST,
        opt={
            "operation": Operation(
                summary="One's tenants by the page",
                description="The personal one first, then the shared ones that one belongs to.",
                tags=TAGS,
                response=TenantDocument,
                page=True,
                query=PageQuery,
                fresh=True,
                operation_id="list_tenants",
            )
        },
    )
    async def list_tenants(request: AnyRequest) -> Answer:
        user_id = principal_of(request).user_id
        asked = query(request, PageQuery)
        position = await fresh(request, freshness, TENANTS)
        after: Keyset | None = None
        if asked.cursor is not None:
            after = cursors.open(_LIST, user_id, asked.cursor, kind=tuple[datetime, UUID])
        found, end = await tenants.tenants(reader, user_id, after=after, limit=asked.limit)
        shown = [document_of(tenant, user_id) for tenant in found]
        cursor = None if end is None else cursors.seal(_LIST, user_id, end)
        meta = PageMeta(cursor, asked.limit)
        return ok(request, shown, message="Tenants", token=position, meta=meta)

    @get(
        f"{_LIST}/{{tenant_id:str}}",
        opt={
            "operation": Operation(
                summary="One tenant",
                description="With the caller's role and what it allows there. Operators see all.",
                tags=TAGS,
                response=TenantDocument,
                statuses=(200, 304),
                query=NoQuery,
                fresh=True,
                operation_id="get_tenant",
            )
        },
    )
    async def get_tenant(request: AnyRequest) -> Answer:
        tenant = await _known(request, streams)
        query(request, NoQuery)
        position = await fresh(request, freshness, TENANTS)
        if not_modified(request, etag(tenant.version)):
            return unchanged(request, etag=tenant.version, token=position)
        shown = document_of(tenant, principal_of(request).user_id)
        return ok(request, shown, message="Tenant", etag=tenant.version, token=position)

    @get(
        f"{_LIST}/{{tenant_id:str}}/members",
        opt={
            "operation": Operation(
                summary="A tenant's members by the page",
                tags=TAGS,
                response=MemberDocument,
                page=True,
                query=PageQuery,
                fresh=True,
                operation_id="list_members",
            )
        },
    )
    async def list_members(request: AnyRequest) -> Answer:
        user_id = principal_of(request).user_id
        tenant = await _known(request, streams)
        asked = query(request, PageQuery)
        position = await fresh(request, freshness, TENANTS)
        page, cursor = _page(tenant, user_id, asked, cursors)
        meta = PageMeta(cursor, asked.limit)
        return ok(request, page, message="Members", token=position, meta=meta)

    return [list_tenants, get_tenant, list_members]


async def _known(request: AnyRequest, streams: Streams) -> Tenant:
    """The tenant in the path.

    Raises:
        Problem: 404 where it is none of the caller's, 403 while it is suspended.
    """
    principal = principal_of(request)
    try:
        tenant_id = UUID(request.path_params["tenant_id"])
    except ValueError:
        raise Problem("NOT_FOUND") from None
    tenant: Tenant | None = None
    for recorded in await streams.read(Tenant.stream(tenant_id)):
        tenant = Tenant.evolve(tenant, recorded)
    if tenant is None:
        raise Problem("NOT_FOUND")
    if principal.permissions & _OPERATOR:
        return tenant
    if tenant.member(principal.user_id) is None or tenant.state == "deleted":
        raise Problem("NOT_FOUND")
    if tenant.state == "suspended":
        raise Problem("TENANT_SUSPENDED")
    return tenant


def _page(
    tenant: Tenant, user_id: UUID, asked: PageQuery, cursors: Cursors
) -> tuple[list[MemberDocument], str | None]:
    """A page of members, and the cursor behind it if there are more."""
    endpoint, binding = f"{_LIST}/members", str(tenant.id)
    members = sorted(members_of(tenant), key=_place)
    if asked.cursor is not None:
        kind: Any = tuple[datetime, UUID]
        last: Keyset = cursors.open(endpoint, user_id, asked.cursor, binding, kind)
        members = [one for one in members if _place(one) > last]
    page = members[: asked.limit]
    if len(members) == len(page):
        return page, None
    return page, cursors.seal(endpoint, user_id, _place(page[-1]), binding)


def _place(member: MemberDocument) -> Keyset:
    return member.since, member.user_id
