"""Who may see whose series.

One's own needs no right. Those of others are a tenant's: one belongs to it, has ``analytics:read``
there by one's role or by one's token, and each person who is counted has said that they share. What
others see leaves out private entries and every text. A person in no tenant of one's own is not
there (404), whatever one may elsewhere.

Tenants are found by their read model and judged by their streams, so that what somebody took back
holds at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import msgspec

from adapters.http.principal import Principal
from adapters.http.problems import Problem, register
from domain.accounts.tenant import Tenant
from domain.event import Recorded
from projections.accounts.tenants import in_common
from projections.reading import Reader

PERMISSION = "analytics:read"
_OPERATOR = frozenset({"ops:read", "ops:write"})

register(
    "NOT_SHARED",
    403,
    "This person does not share their numbers",
    "You may read the tenant's series, but each member says for themselves whether they are counted"
    " (`PUT /v1/tenants/{tenant_id}/sharing`).",
)


class Streams(Protocol):
    """Reads streams; ``adapters.event_store.store.PostgresEventStore`` does."""

    async def read(self, stream_id: str, *, after: int = 0) -> Sequence[Recorded]:
        """The stream's events in order."""
        ...


class Audience(msgspec.Struct, frozen=True):
    """Who is counted; ``own`` where that is the caller alone, who sees all that is theirs."""

    user_ids: tuple[UUID, ...]
    own: bool


async def audience(
    principal: Principal,
    user_id: UUID | None,
    tenant_id: UUID | None,
    reader: Reader,
    streams: Streams,
) -> Audience:
    """Whom a series of this person, in this tenant, is to count; without either, the caller.

    Raises:
        Problem: 404 for whom and what the caller has nothing to do with, 403 without the right.
    """
    me = principal.user_id
    if tenant_id is None:
        if user_id in (None, me):
            return Audience((me,), True)
        tenants = [
            tenant
            for found in await in_common(reader, me, user_id)
            if (tenant := await _tenant(streams, found)) is not None
            and tenant.state == "active"
            and tenant.member(me) is not None
            and tenant.member(user_id) is not None
        ]
    else:
        tenants = [await _known(principal, tenant_id, streams)]
        if user_id is not None and tenants[0].member(user_id) is None:
            raise Problem("NOT_FOUND")
        if user_id == me or (tenants[0].personal and tenants[0].member(me) is not None):
            return Audience((me,), True)
    if not tenants:
        raise Problem("NOT_FOUND")
    allowed = [tenant for tenant in tenants if _may(principal, tenant)]
    if not allowed:
        raise Problem("FORBIDDEN", f"This needs the permission {PERMISSION}.")
    shared = {
        member.user_id
        for tenant in allowed
        for member in tenant.members
        if member.shares_analytics and user_id in (None, member.user_id)
    }
    if user_id is not None and not shared:
        raise Problem("NOT_SHARED")
    return Audience(tuple(sorted(shared)), False)


def _may(principal: Principal, tenant: Tenant) -> bool:
    """Whether the caller may count this tenant's people.

    A key has no role: what it may is in it.
    """
    if PERMISSION in principal.permissions:
        return True
    by_role = tenant.permissions_of(principal.user_id)
    return principal.api_key_id is None and PERMISSION in by_role


async def _known(principal: Principal, tenant_id: UUID, streams: Streams) -> Tenant:
    """The tenant, if the caller belongs to it or is an operator, who sees all."""
    tenant = await _tenant(streams, tenant_id)
    if tenant is None:
        raise Problem("NOT_FOUND")
    if not principal.permissions & _OPERATOR:
        if tenant.member(principal.user_id) is None or tenant.state == "deleted":
            raise Problem("NOT_FOUND")
        if tenant.state == "suspended":
            raise Problem("TENANT_SUSPENDED")
    return tenant


async def _tenant(streams: Streams, tenant_id: UUID) -> Tenant | None:
    tenant: Tenant | None = None
    for recorded in await streams.read(Tenant.stream(tenant_id)):
        tenant = Tenant.evolve(tenant, recorded)
    return tenant
