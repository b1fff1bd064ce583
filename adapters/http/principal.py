"""Who asks, and the port that finds out.

Owns the shape of a principal. ``adapters/authentication.py`` implements the port, ``conventions``
calls it before any handler runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

import msgspec

Headers = Mapping[bytes, bytes]
"""A request's headers: names in lower case, as ASGI has them (``headers.get(b"x-api-key")``)."""


class Principal(msgspec.Struct, frozen=True):
    """A person, by one of their logins or API keys (the other of the two ids is None)."""

    user_id: UUID
    tenant_id: UUID
    login_id: UUID | None
    api_key_id: UUID | None
    tier: str
    permissions: frozenset[str]

    @property
    def actor(self) -> str:
        """How events and the audit log name the principal."""
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
