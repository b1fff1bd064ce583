"""What is known about a request besides its content, and how handlers get at it.

``conventions`` puts one ``RequestContext`` into each request's scope. It is made lazily where a
handler runs without that layer, as in unit tests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import uuid_utils

from adapters.http.addresses import Addresses
from adapters.http.principal import Authenticator, Headers, Principal
from adapters.http.problems import Problem

if TYPE_CHECKING:  # it brings Litestar along, which the gateway can start without
    from adapters.http.routes import Routes

KEY = "mindstream"
"""Where the context stands in the ASGI scope."""

_SANE = re.compile(rb"[A-Za-z0-9._:+/=@~-]{1,128}")
_PRINTABLE = re.compile(r"[^\x20-\x7e]")


class HasScope(Protocol):
    """A Litestar ``Request`` or ``WebSocket``, as far as these conventions need it."""

    @property
    def scope(self) -> Any:
        """The ASGI scope."""
        ...


class RequestContext(msgspec.Struct, gc=False):
    """``principal`` is None on open paths; ``headers`` has the last of repeated headers.

    ``head`` says that only the headers of the answer are wanted.
    """

    request_id: str
    headers: Headers
    scope: Any
    principal: Principal | None = None
    authenticator: Authenticator | None = None
    addresses: Addresses | None = None
    routes: Routes | None = None
    head: bool = False

    @property
    def client_address(self) -> str | None:
        """The client's address: the peer's, or the forwarded one if the peer is a known proxy."""
        peer = self.scope.get("client")
        addresses = self.addresses or _NO_PROXIES
        return addresses.of(peer[0] if peer else None, self.headers.get(b"x-forwarded-for"))

    @property
    def behind_proxy(self) -> bool:
        """Whether the request came by a known proxy, whose word on the client counts."""
        peer = self.scope.get("client")
        return (self.addresses or _NO_PROXIES).trusts(peer[0] if peer else None)

    @property
    def client_version(self) -> str | None:
        """``X-Client-Version``, printable and at most 64 characters long."""
        raw = self.headers.get(b"x-client-version")
        return None if raw is None else _PRINTABLE.sub("?", raw.decode("latin-1"))[:64]

    @property
    def user_agent(self) -> str | None:
        """``User-Agent``, printable and at most 256 characters long."""
        raw = self.headers.get(b"user-agent")
        return None if raw is None else _PRINTABLE.sub("?", raw.decode("latin-1"))[:256]


_NO_PROXIES = Addresses(())


def new_request_id(given: bytes | None) -> str:
    """The client's own request id if it is a sane one, else a new ``req_…``."""
    if given is not None and _SANE.fullmatch(given):
        return given.decode("ascii")
    return "req_" + uuid_utils.uuid7().hex


def context_of(request: HasScope) -> RequestContext:
    """The context of this request."""
    scope = request.scope
    context: RequestContext | None = scope.get(KEY)
    if context is None:
        headers = dict(scope["headers"])
        context = RequestContext(new_request_id(headers.get(b"x-request-id")), headers, scope)
        scope[KEY] = context
    return context


def header(request: HasScope, name: bytes) -> str | None:
    """A header by its lower-case name, None where it is absent.

    Lines of a repeated header are joined by commas, as HTTP defines it.
    """
    scope = request.scope
    if context_of(request).headers.get(name) is None:
        return None
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def principal_of(request: HasScope) -> Principal:
    """Who asks.

    Raises:
        Problem: 401 on an open path, where nobody was asked for credentials.
    """
    principal = context_of(request).principal
    if principal is None:
        raise unauthenticated()
    return principal


async def identify(request: HasScope) -> Principal:
    """Who asks, on an open path too: for calls such as logout that verify the bearer themselves.

    Raises:
        Problem: 401 or 403, as the authenticator says.
    """
    context = context_of(request)
    if context.principal is None:
        if context.authenticator is None:
            raise unauthenticated()
        context.principal = context.authenticator.cached(
            context.headers
        ) or await context.authenticator.authenticate(context.headers, context.client_address)
    return context.principal


def require(request: HasScope, permission: str) -> Principal:
    """Who asks, if that principal has the permission (``ops:read``).

    Raises:
        Problem: 401 without a principal, 403 without the permission.
    """
    principal = principal_of(request)
    if permission not in principal.permissions:
        raise Problem("FORBIDDEN", f"This needs the permission {permission}.")
    return principal


def unauthenticated(code: str = "UNAUTHENTICATED", detail: str | None = None) -> Problem:
    """A 401 with its ``WWW-Authenticate`` (RFC 6750)."""
    challenge = 'Bearer error="invalid_token"' if code == "TOKEN_EXPIRED" else "Bearer"
    return Problem(code, detail, headers={"www-authenticate": challenge})
