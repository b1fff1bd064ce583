"""Homes for those who registered before tenants had streams.

Since then a personal tenant's stream begins with its person's. Owns what is appended for the ones
before, once, at a start.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from commands.ports import Append, Context, EventStore, VersionConflict
from domain.accounts.tenant import Tenant

_ACTOR = "system:homes"


class Unhoused(msgspec.Struct, frozen=True):
    """Somebody whose personal tenant has no stream."""

    user_id: UUID
    tenant_id: UUID


class Homeless(Protocol):
    """Knows whose tenant has no stream; ``adapters.homes.PostgresHomeless`` does."""

    async def some(self) -> Sequence[Unhoused]:
        """Some of them; none when all have one."""
        ...


async def give_homes(
    homeless: Homeless, store: EventStore, now: datetime, correlation_id: str
) -> int:
    """Begin the streams that are missing; how many were begun here."""
    begun = 0
    while found := await homeless.some():
        for one in found:
            context = Context(
                user_id=one.user_id,
                tenant_id=one.tenant_id,
                actor=_ACTOR,
                now=now,
                correlation_id=correlation_id,
            )
            events = Tenant.create(tenant_id=one.tenant_id, user_id=one.user_id)
            try:
                await store.append(context, Append(Tenant.stream(one.tenant_id), 0, events))
            except VersionConflict:  # another start was first
                continue
            begun += 1
    return begun
