"""The cache that processes share: all kinds of answers that are in it, and who tells it of events.

A new kind of answer is a line in ``KINDS``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.cache import RedisCache
from adapters.ending import end
from adapters.event_store.happened import PostgresHappenings
from bootstrap.settings import Settings
from bootstrap.wiring.databases import PROJECT, cache_of, write_dsn_of
from projections.accounts.profile import PROFILE
from projections.caching import Kind
from projections.invalidation import Invalidator
from projections.journal.recent import RECENT
from projections.journal.trend import TREND

KINDS: tuple[Kind, ...] = (PROFILE, RECENT, TREND)


@asynccontextmanager
async def invalidating(settings: Settings) -> AsyncIterator[None]:
    """Tell the cache what happens as long as the context lasts."""
    client = cache_of(settings)
    events = PostgresHappenings(write_dsn_of(settings), role=PROJECT)
    task = asyncio.create_task(Invalidator(events, RedisCache(client, KINDS), KINDS).run())
    try:
        yield
    finally:
        await end(task)
        await events.close()
        await client.aclose()
