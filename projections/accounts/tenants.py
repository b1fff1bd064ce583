"""Tenants, as their members see them.

One row for each tenant; its document is the tenant as the aggregate's own fold tells it, and
``members`` is what row-level security goes by.

Owns the table ``accounts_tenants`` and the representation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.accounts.events import (
    MemberAdded,
    MemberRemoved,
    MemberRoleChanged,
    Role,
    SharingRevised,
    TenantCreated,
    TenantDeleted,
    TenantReactivated,
    TenantRenamed,
    TenantState,
    TenantSuspended,
)
from domain.accounts.tenant import Tenant
from domain.event import Event, Recorded
from projections.engine.view import RowView
from projections.reading import Query, Reader

PAGE = Query(
    "accounts_tenants_page",
    """
    SELECT document, created_at, tenant_id FROM accounts_tenants
    WHERE members @> ARRAY[$1] AND state <> 'deleted'
      AND ($2 IS NULL OR (created_at, tenant_id) > ($2, $3))
    ORDER BY created_at, tenant_id LIMIT $4
    """,
    ("uuid", "timestamptz", "uuid", "int8"),
)

IN_COMMON = Query(
    "accounts_tenants_in_common",
    "SELECT tenant_id FROM accounts_tenants WHERE members @> ARRAY[$1, $2] AND state = 'active'"
    " ORDER BY tenant_id",
    ("uuid", "uuid"),
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Tenant).decode

Keyset = tuple[datetime, UUID]


class TenantRow(msgspec.Struct, frozen=True):
    """A row of ``accounts_tenants``; ``document`` is JSON of ``Tenant``."""

    tenant_id: UUID
    members: list[UUID]
    state: str
    created_by: UUID
    created_at: datetime
    version: int
    document: str


class Tenants(RowView[TenantRow]):
    """The view ``accounts.tenants``."""

    name: ClassVar[str] = "accounts.tenants"
    takes: ClassVar[tuple[type[Event], ...]] = (
        TenantCreated,
        TenantRenamed,
        MemberAdded,
        MemberRoleChanged,
        SharingRevised,
        MemberRemoved,
        TenantSuspended,
        TenantReactivated,
        TenantDeleted,
    )
    table: ClassVar[str] = "accounts_tenants"
    erases: ClassVar[str | None] = None
    refolds: ClassVar[str | None] = "created_by"  # whose word its name is
    row: ClassVar[type[msgspec.Struct]] = TenantRow
    key: ClassVar[tuple[str, ...]] = ("tenant_id",)
    personal: ClassVar[tuple[str, ...]] = ("document",)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The tenant's stream."""
        return Tenant.stream(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The tenant."""
        return ((recorded.event.tenant_id,),)  # type: ignore[attr-defined]  # all have it

    def user_of(self, row: TenantRow) -> UUID:
        """Who began it: no answer about tenants is cached."""
        return row.created_by

    def fold(
        self, key: tuple[Any, ...], row: TenantRow | None, recorded: Recorded
    ) -> TenantRow | None:
        """The row after one more event of the tenant."""
        after = Tenant.evolve(None if row is None else _decode(row.document), recorded)
        return TenantRow(
            tenant_id=after.id,
            members=[member.user_id for member in after.members],
            state=after.state,
            created_by=after.user_id,
            created_at=after.created_at,
            version=after.version,
            document=_encode(after).decode(),
        )


class TenantDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as the API shows it to one person: ``role`` is theirs, null for an operator."""

    id: UUID
    name: str | None
    personal: bool
    state: TenantState
    role: Role | None
    permissions: tuple[str, ...]
    member_count: int
    created_at: datetime
    version: int


class MemberDocument(msgspec.Struct, frozen=True):
    """A member; ``version`` is the tenant's, which their role is part of."""

    user_id: UUID
    role: Role
    since: datetime
    version: int
    shares_analytics: bool


def document_of(tenant: Tenant, user_id: UUID) -> TenantDocument:
    """The representation for this person."""
    member = tenant.member(user_id)
    return TenantDocument(
        id=tenant.id,
        name=tenant.name,
        personal=tenant.personal,
        state=tenant.state,
        role=None if member is None else member.role,
        permissions=tenant.permissions_of(user_id),
        member_count=len(tenant.members),
        created_at=tenant.created_at,
        version=tenant.version,
    )


def members_of(tenant: Tenant) -> list[MemberDocument]:
    """All members, those first who came first."""
    return [
        MemberDocument(
            member.user_id, member.role, member.since, tenant.version, member.shares_analytics
        )
        for member in tenant.members
    ]


async def tenants(
    reader: Reader, user_id: UUID, *, after: Keyset | None = None, limit: int
) -> tuple[list[Tenant], Keyset | None]:
    """A page of a person's tenants, first the oldest, and where it ended if there are more."""
    at, tenant_id = after if after is not None else (None, None)
    rows = await reader.rows(PAGE, user_id, at, tenant_id, limit + 1, user_id=user_id)
    found = [_decode(row[0]) for row in rows[:limit]]
    end = (rows[limit - 1][1], rows[limit - 1][2]) if len(rows) > limit else None
    return found, end


async def in_common(reader: Reader, user_id: UUID, other: UUID) -> list[UUID]:
    """The open tenants that both belong to, read as ``user_id``."""
    rows = await reader.rows(IN_COMMON, user_id, other, user_id=user_id)
    return [tenant_id for (tenant_id,) in rows]
