"""What tells that something was appended: NOTIFY and Redis pub/sub, whichever comes first.

Only positions travel, and only as a hint: what happened is read from the store, and whoever waits
here also polls. Either of the two may be away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from adapters.event_store.recorder import CHANNEL
from adapters.postgres.listening import heed
from adapters.postgres.signals import REDIS_CHANNEL

log = structlog.get_logger()

_AGAIN = 0.5
"""Seconds before another attempt to hear Redis."""
_PATIENCE = 5.0
"""Seconds that one look at Redis takes while nothing is said."""


async def heed_postgres(dsn: str, role: str, woken: Callable[[], None]) -> None:
    """Call ``woken`` at each notification, until cancelled."""
    # At the beginning too: something may have been appended before we listened.
    await heed(dsn, CHANNEL, lambda _: woken(), role=role, name="live", begun=woken)


async def heed_redis(cache: redis.Redis, woken: Callable[[], None]) -> None:
    """Call ``woken`` at each message, until cancelled."""
    while True:
        try:
            async with cache.pubsub() as channel:
                await channel.subscribe(REDIS_CHANNEL)
                while True:
                    said = await channel.get_message(
                        ignore_subscribe_messages=True, timeout=_PATIENCE
                    )
                    if said is not None:
                        woken()
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("redis_not_heeded", reason=type(error).__name__)
        await asyncio.sleep(_AGAIN)
