"""A small application behind the conventions, with a known token, for tests of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
from litestar.types import ControllerRouterHandler

from adapters.http.app import application
from adapters.http.context import RequestContext, unauthenticated
from adapters.http.conventions import Conventions
from adapters.http.limits import RateLimiter
from adapters.http.principal import Headers, Principal

ANNA = Principal(
    UUID("018f2f2e-7c1e-7000-8000-00000000000a"),
    UUID("018f2f2e-7c1e-7000-8000-0000000000ff"),
    UUID("018f2f2e-7c1e-7000-8000-0000000000aa"),
    None,
    "free",
    frozenset({"journal:read"}),
)
TOKEN = {"authorization": "Bearer anna"}


class KnownTokens:
    """Knows ``anna`` at once and ``slow`` after a look; everybody else is a stranger."""

    def cached(self, headers: Headers) -> Principal | None:
        return ANNA if headers.get(b"authorization") == b"Bearer anna" else None

    async def authenticate(self, headers: Headers, client: str | None) -> Principal:
        if headers.get(b"authorization") == b"Bearer slow":
            return ANNA
        raise unauthenticated()


def conventions(handlers: Sequence[ControllerRouterHandler], **options: Any) -> Conventions:
    """The layer around an application of these handlers."""
    options.setdefault("limiter", RateLimiter(600))
    options.setdefault("authenticator", KnownTokens())
    return Conventions(
        application(handlers, errors=options.pop("errors", None)), service="test", **options
    )


def client(app: Any, address: str = "192.0.2.1") -> httpx.AsyncClient:
    """A client of an ASGI application, as seen from ``address``."""
    transport = httpx.ASGITransport(app, client=(address, 1234), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


class FakeRequest:
    """A request as far as the functions of ``adapters.http`` look at one."""

    def __init__(
        self,
        *headers: tuple[str, str],
        method: str = "GET",
        path: str = "/v1/x",
        query: str | bytes = b"",
        principal: Principal | None = ANNA,
    ) -> None:
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode() if isinstance(query, str) else query,
            "headers": raw,
            "client": ("192.0.2.1", 1234),
        }
        self.scope["mindstream"] = RequestContext("req_test0001", dict(raw), self.scope, principal)
