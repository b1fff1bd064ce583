"""Who comes in: the parts by which both APIs tell who sent a request, and keep that up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from adapters.authentication import EndedLogins, TokenAuthenticator
from adapters.credentials import PostgresCredentials
from adapters.event_store.store import PostgresEventStore
from adapters.key_authentication import KeyAuthenticator
from adapters.keys import KeyOrigins, PostgresKeys, Uses
from adapters.postgres.pipeline import Pipeline
from adapters.standing import Standing
from adapters.tokens import KeyRing


class Entrance:
    """Checks tokens and API keys, and hears which of them, and which tenants, are good no more.

    ``events`` is connected to the write database and ``views`` to the read models; ``dsn`` and
    ``role`` are for connections of its own to the former.
    """

    def __init__(
        self,
        credentials: PostgresCredentials,
        ring: KeyRing,
        streams: PostgresEventStore,
        *,
        events: Pipeline,
        views: Pipeline,
        dsn: str,
        role: str,
    ) -> None:
        keys = PostgresKeys(events)
        self._ended = EndedLogins(credentials, ring, dsn=dsn, role=role)
        self._uses = Uses(keys)
        self.standing = Standing(events, KeyOrigins(views).origins, dsn=dsn, role=role)
        api_keys = KeyAuthenticator(keys, streams, self._uses, self.standing.closed)
        self._forget: list[Callable[[UUID], None]] = [api_keys.forget]
        self.standing.moved = self._moved
        self.authenticator = TokenAuthenticator(
            ring, self._ended, api_keys=api_keys, closed=self.standing.closed
        )

    def tells(self, forget: Callable[[UUID], None]) -> None:
        """Have this called as well with every key or person that has changed."""
        self._forget.append(forget)

    def _moved(self, subject: UUID) -> None:
        for forget in self._forget:
            forget(subject)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Up to date as long as the context lasts; the pipelines must be open."""
        stop = asyncio.Event()
        await self._ended.start()
        writing = None
        try:
            await self.standing.start()
            writing = asyncio.create_task(self._uses.run(stop))
            yield
        finally:
            stop.set()
            if writing is not None:
                await asyncio.wait({writing}, timeout=6)
            await self.standing.close()
            await self._ended.close()
