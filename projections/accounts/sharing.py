"""Whom the analysts of each tenant may count: its members who say so.

For analysts' own SQL, whose views join it with the series; it lies in the same store as these. The
API asks the tenant's stream instead, so that what somebody takes back holds at once there.

Owns the table ``accounts_sharing``.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.accounts.events import (
    MemberRemoved,
    SharingRevised,
    TenantCreated,
    TenantDeleted,
    TenantReactivated,
    TenantSuspended,
)
from domain.accounts.tenant import Tenant
from domain.event import Event, Recorded
from projections.engine.view import RowView


class SharingRow(msgspec.Struct, frozen=True):
    """A row of ``accounts_sharing``: a tenant's members who share; ``open`` unless it is closed."""

    tenant_id: UUID
    members: list[UUID]
    open: bool


class Sharing(RowView[SharingRow]):
    """The view ``accounts.sharing``."""

    name: ClassVar[str] = "accounts.sharing"
    store: ClassVar[str] = "timeseries"
    takes: ClassVar[tuple[type[Event], ...]] = (
        TenantCreated,
        SharingRevised,
        MemberRemoved,
        TenantSuspended,
        TenantReactivated,
        TenantDeleted,
    )
    table: ClassVar[str] = "accounts_sharing"
    row: ClassVar[type[msgspec.Struct]] = SharingRow
    key: ClassVar[tuple[str, ...]] = ("tenant_id",)
    erases: ClassVar[str | None] = None  # ids alone, and of erased people there is nothing to count

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The tenant's stream."""
        return Tenant.stream(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The tenant."""
        return ((recorded.event.tenant_id,),)  # type: ignore[attr-defined]  # all have it

    def user_of(self, row: SharingRow) -> UUID:
        """Nobody: no answer is made of it that could be cached."""
        return row.tenant_id

    def fold(
        self, key: tuple[Any, ...], row: SharingRow | None, recorded: Recorded
    ) -> SharingRow | None:
        """The row after one more event of the tenant."""
        event = recorded.event
        if isinstance(event, TenantCreated):
            return SharingRow(event.tenant_id, [], True)
        if row is None:
            raise ValueError(f"{recorded.stream_id} does not begin with TenantCreated")
        if isinstance(event, SharingRevised | MemberRemoved):
            members = [one for one in row.members if one != event.user_id]
            if isinstance(event, SharingRevised) and event.analytics:
                members.append(event.user_id)
            return msgspec.structs.replace(row, members=members)
        return msgspec.structs.replace(row, open=isinstance(event, TenantReactivated))
