"""A person's API keys, without the keys themselves, and the tenants that they belong to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.accounts.key import ApiKey
from domain.accounts.tenant import Tenant
from projections.accounts import keys as key_view
from projections.accounts import tenants as tenant_view
from projections.reading import Reader
from workers.exports.sources import Exported, Listing, Owner, Share, each

_PAGE = 200

LastUsed = Callable[[UUID, list[UUID]], Awaitable[dict[UUID, datetime]]]


class Access(Exported):
    """The source; ``last_used`` tells when which of a person's keys was used last."""

    projections: tuple[str, ...] = (key_view.Keys.name, tenant_view.Tenants.name)

    def __init__(self, reader: Reader, last_used: LastUsed) -> None:
        self._reader = reader
        self._last_used = last_used

    async def share(self, owner: Owner) -> Share:
        """Keys and tenants: few, so that they are read at once."""
        user_id, now = owner.user_id, owner.now
        keys: list[ApiKey] = [one async for one in self._all(key_view.keys, user_id)]
        tenants: list[Tenant] = [one async for one in self._all(tenant_view.tenants, user_id)]
        last = await self._last_used(user_id, [key.id for key in keys])
        key_documents = [
            key_view.document_of(key, last_used_at=last.get(key.id), now=now) for key in keys
        ]
        tenant_documents = [tenant_view.document_of(one, user_id) for one in tenants]
        return Share(
            parts=(
                Listing(
                    "accounts/api_keys.json",
                    "Your API keys, without the keys themselves.",
                    each(key_documents),
                ),
                Listing(
                    "accounts/tenants.json",
                    "The tenants that you belong to, and your role in each.",
                    each(tenant_documents),
                ),
            ),
            streams=[
                *(ApiKey.stream(key.id) for key in keys),
                *(Tenant.stream(tenant.id) for tenant in tenants),
            ],
            size=len(keys) + len(tenants),
        )

    async def _all(self, page: Callable[..., Awaitable[Any]], user_id: UUID) -> AsyncIterator[Any]:
        after = None
        while True:
            found, after = await page(self._reader, user_id, after=after, limit=_PAGE)
            for one in found:
                yield one
            if after is None:
                return
