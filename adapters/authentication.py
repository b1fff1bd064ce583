"""Who sent a request, by its access token or API key: ``adapters.http.principal.Authenticator``.

A token is verified once and remembered until it expires, so that the next request with it costs
two look-ups. What a signature cannot tell, that its login has ended meanwhile, ``EndedLogins``
knows on every process: told by NOTIFY at once, found by polling within ``POLL`` seconds where the
telling got lost. Keys are ``key_authentication``'s; which tenants are closed ``standing`` knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import UUID

import psycopg
import structlog

from adapters.credentials import CHANNEL
from adapters.ending import end
from adapters.http.context import unauthenticated
from adapters.http.principal import Authenticator, Headers, Principal
from adapters.http.problems import Problem
from adapters.postgres.listening import heed
from adapters.standing import Closed
from adapters.tokens import LIFETIME, Claims, Expired, KeyRing, Refused, UnknownKey

log = structlog.get_logger()

POLL = 1.0
"""Seconds between looks for logins that ended."""
_REMEMBERED = LIFETIME + 300
"""Seconds for which an ended login's tokens may still look good, and a margin."""
_KEYS = 5.0
"""Seconds between looks for new signing keys."""


class Endings(Protocol):
    """Knows which logins ended; ``adapters.credentials.PostgresCredentials`` does."""

    async def ended_within(self, seconds: float) -> list[UUID]:
        """The logins that ended in the last ``seconds``."""
        ...


class EndedLogins:
    """The logins that ended within the life of an access token; keeps a key ring fresh as well.

    ``dsn`` and ``role`` are for the connection that listens.
    """

    def __init__(self, endings: Endings, keys: KeyRing, *, dsn: str, role: str) -> None:
        self._endings = endings
        self._keys = keys
        self._dsn = dsn
        self._role = role
        self._ended: dict[UUID, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def __contains__(self, login_id: object) -> bool:
        """Whether this login has ended, as far as is known."""
        return login_id in self._ended

    def add(self, login_id: UUID) -> None:
        """Take note that this login has ended."""
        self._ended[login_id] = time.monotonic()

    async def start(self) -> None:
        """Look once, then keep looking until ``close``.

        Raises:
            psycopg.Error: the database does not answer.
        """
        await self.poll()
        listening = heed(self._dsn, CHANNEL, self._heard, role=self._role, name="logins")
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(listening)]

    async def close(self) -> None:
        """Stop looking."""
        await end(*self._tasks)
        self._tasks = []

    async def poll(self) -> None:
        """Look for ended logins, and now and then for new keys (often while there are none)."""
        await self._keys.load(unless_within=_KEYS if len(self._keys) else 0.0)
        for login_id in await self._endings.ended_within(_REMEMBERED):
            self._ended.setdefault(login_id, time.monotonic())
        horizon = time.monotonic() - _REMEMBERED
        self._ended = {login: at for login, at in self._ended.items() if at > horizon}

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            try:
                await self.poll()
            except (psycopg.Error, OSError) as error:
                log.warning("logins_not_polled", reason=type(error).__name__)

    def _heard(self, payload: str) -> None:
        with contextlib.suppress(ValueError):
            self.add(UUID(payload))


class TokenAuthenticator:
    """Checks ``Authorization: Bearer``; ``size`` verified tokens are remembered at most.

    Without that header the request is ``api_keys``' to check. ``closed`` are the tenants that are
    not open; it is asked each time, since it changes.
    """

    def __init__(
        self,
        keys: KeyRing,
        ended: EndedLogins,
        *,
        api_keys: Authenticator | None = None,
        closed: Mapping[UUID, Closed] | None = None,
        size: int = 20_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._ended = ended
        self._api_keys = api_keys
        self._closed = {} if closed is None else closed
        self._size = size
        self._clock = clock
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def cached(self, headers: Headers) -> Principal | None:
        """The principal of a token that was verified before and is still good."""
        raw = headers.get(b"authorization")
        if raw is None:
            return None if self._api_keys is None else self._api_keys.cached(headers)
        found = self._verified.get(raw)
        if found is None:
            return None
        expires, principal = found
        if (
            expires <= self._clock()
            or principal.login_id in self._ended
            or (self._closed and principal.tenant_id in self._closed)
        ):
            del self._verified[raw]
            return None
        self._verified.move_to_end(raw)
        return principal

    async def authenticate(self, headers: Headers, client: str | None) -> Principal:
        """Verify the token or key; ``client`` matters to API keys only.

        Raises:
            Problem: 401 without a good token, 403 while its tenant is suspended.
        """
        raw = headers.get(b"authorization")
        if raw is None:
            if self._api_keys is not None and b"x-api-key" in headers:
                return await self._api_keys.authenticate(headers, client)
            raise unauthenticated()
        scheme, _, token = raw.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated(detail="Authorization takes the form `Bearer <access token>`.")
        claims = await self._claims(token)
        if claims.sid in self._ended:
            raise unauthenticated(detail="This login has ended.")
        check_open(self._closed, claims.tenant)
        principal = Principal(
            user_id=claims.sub,
            tenant_id=claims.tenant,
            login_id=claims.sid,
            api_key_id=None,
            tier=claims.tier,
            permissions=frozenset(claims.permissions),
        )
        self._verified[raw] = (claims.exp, principal)
        while len(self._verified) > self._size:
            self._verified.popitem(last=False)
        return principal

    async def _claims(self, token: str) -> Claims:
        try:
            try:
                return self._keys.verify(token, self._clock())
            except UnknownKey:  # it may have been made a moment ago
                await self._keys.load(unless_within=1.0)
                return self._keys.verify(token, self._clock())
        except Expired:
            raise unauthenticated("TOKEN_EXPIRED") from None
        except Refused:
            raise unauthenticated(detail="The access token is not valid.") from None


def check_open(closed: Mapping[UUID, Closed], tenant_id: UUID) -> None:
    """Pass if the tenant is open.

    Raises:
        Problem: 403 ``TENANT_SUSPENDED``, 401 where it is deleted.
    """
    state = closed.get(tenant_id)
    if state == "suspended":
        raise Problem("TENANT_SUSPENDED")
    if state == "deleted":
        raise unauthenticated(detail="This account is gone.")
