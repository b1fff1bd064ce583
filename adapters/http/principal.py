"""Who asks, and the port that finds out.

Owns the shape of a principal. ``adapters/authentication.py`` implements the port, ``conventions``
calls it before any handler runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import msgspec

from domain.accounts.events import Conditions
from domain.accounts.key import holds

Headers = Mapping[bytes, bytes]
"""A request's headers: names in lower case, as ASGI has them (``headers.get(b"x-api-key")``)."""


class Quota(Protocol):
    """How many calls of a month are left; counted in memory, and kept by whoever made it."""

    limit: int

    def left(self, now: float) -> int:
        """Calls that may still be made this month."""
        ...

    def reset_seconds(self, now: float) -> int:
        """Seconds until the month is over, in UTC."""
        ...


class KeyRules(msgspec.Struct, frozen=True):
    """What binds an API key beyond its permissions.

    Limits are numbers of requests, None where none is set. ``conditional`` has the permissions
    that hold only under one of their conditions. ``used`` notes one request; it never waits.
    """

    per_minute: int | None
    per_hour: int | None
    quota: Quota | None
    origins: frozenset[bytes]
    conditional: Mapping[str, tuple[Conditions, ...]]
    used: Callable[[], None]

    def allows(self, permission: str, method: str, path: str, now: float) -> bool:
        """Whether one of the permission's conditions holds for this call."""
        at = datetime.fromtimestamp(now, UTC)
        return any(holds(one, method, path, at) for one in self.conditional[permission])


class Principal(msgspec.Struct, frozen=True):
    """A person, by one of their logins or API keys (the other of the two ids is None).

    ``permissions`` are those that hold without conditions. ``key`` is there for an API key only.
    """

    user_id: UUID
    tenant_id: UUID
    login_id: UUID | None
    api_key_id: UUID | None
    tier: str
    permissions: frozenset[str]
    key: KeyRules | None = None

    @property
    def actor(self) -> str:
        """How events and the audit log name the principal."""
        if self.api_key_id is not None:
            return f"key:{self.api_key_id}"
        return f"user:{self.user_id}"


class Authenticator(Protocol):
    """Tells who sent a request by its credentials."""

    def cached(self, headers: Headers) -> Principal | None:
        """The principal where it is known without any waiting, else None; must be fast (~2 µs)."""
        ...

    async def authenticate(self, headers: Headers, client: str | None) -> Principal:
        """Verify the credentials; ``client`` is the client's address, None over a Unix socket.

        Raises:
            Problem: 401 where there are none or they are not valid, 403 where they are valid and
                may not be used from here.
        """
        ...
