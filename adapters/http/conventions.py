"""The outermost layer of both APIs: what holds for every request and every answer.

Owns, in this order: the request's id, authentication, rate limits, the body's limit, HEAD, the
headers that every answer has, the last resort for errors, metrics and the access log. It is one
ASGI application around another, since layers upon layers cost more than the work they do; it
waits for nothing but an authentication that is not cached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from adapters.http.access_log import AccessLog
from adapters.http.addresses import Addresses, counted_as
from adapters.http.context import KEY, RequestContext, new_request_id, unauthenticated
from adapters.http.doors import UNLIMITED, canonical, is_open
from adapters.http.errors import report
from adapters.http.limits import WINDOW, Decision, RateLimiter
from adapters.http.metrics import HttpMetrics
from adapters.http.principal import Authenticator, Principal
from adapters.http.problems import MEDIA_TYPE, Problem, render, retry_after
from adapters.http.websockets import refuse, with_subprotocol_credentials

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DEFAULT_CSP = b"default-src 'none'; frame-ancestors 'none'"

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_REVALIDATE = (b"cache-control", b"private, no-cache")
_CSP = (b"content-security-policy", DEFAULT_CSP)
_NO_BODY = frozenset((204, 304))
_CHUNKED = b"transfer-encoding"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Conventions:
    """An ASGI application that holds the contract's conventions around ``app``.

    ``service`` names the series of metrics. ``body_limits`` has the limits (bytes) of canonical
    paths that take more than ``max_body_bytes``.
    """

    def __init__(
        self,
        app: App,
        *,
        service: str,
        authenticator: Authenticator,
        limiter: RateLimiter,
        max_body_bytes: int = 1024 * 1024,
        body_limits: Mapping[str, int] | None = None,
        trusted_proxies: Iterable[str] = (),
        metrics: HttpMetrics | None = None,
        access_log: AccessLog | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Wrap ``app``; without ``metrics`` or ``access_log`` nothing is counted or written."""
        self._app = app
        self._service = service
        self._authenticator = authenticator
        self._limiter = limiter
        self._max_body = max_body_bytes
        self._body_limits = dict(body_limits or {})
        self._addresses = Addresses(trusted_proxies)
        self._metrics = metrics or HttpMetrics(service)
        self._access_log = access_log
        self._clock = clock
        self._policies: dict[int, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        context = RequestContext(
            new_request_id(headers.get(b"x-request-id")),
            headers,
            scope,
            None,
            self._authenticator,
            self._addresses,
        )
        scope[KEY] = context
        method: str = scope["method"]
        scope["path"] = path = canonical(scope["path"])
        head = method == "HEAD"
        if head:
            scope["method"] = "GET"
        status = 0
        limited: list[tuple[bytes, bytes]] = []
        request_id = (b"x-request-id", context.request_id.encode("ascii"))

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer: list[tuple[bytes, bytes]] = []
                caching = _NO_STORE
                page = policy = False
                for pair in message["headers"]:
                    name = pair[0]
                    if name == b"etag":
                        if head or method == "GET":
                            caching = _REVALIDATE
                    elif name == b"content-type":
                        page = pair[1].startswith(b"text/html")
                    elif name == b"content-security-policy":
                        policy = True
                    elif name == b"cache-control" or name == b"x-request-id":
                        continue
                    answer.append(pair)
                if status >= 400:
                    caching = _NO_STORE
                answer.append(request_id)
                answer.append(_NOSNIFF)
                answer.append(caching)
                answer.extend(limited)
                if page and not policy:
                    answer.append(_CSP)
                message["headers"] = answer
            elif head:
                message["body"] = b""
            await send(message)

        try:
            try:
                if method not in _METHODS:
                    raise Problem("METHOD_NOT_ALLOWED", headers={"allow": _allowed()})
                if is_open(path):
                    if path not in UNLIMITED:
                        self._count(self._address_key(context), limited)
                else:
                    await self._authenticate(context, limited)
                if method != "GET" or b"content-length" in headers or _CHUNKED in headers:
                    receive = self._bounded(path, headers, receive)
                await self._app(scope, receive, respond)
            except Problem as problem:
                if status:
                    raise
                await _refuse(problem, context, respond)
        except asyncio.CancelledError:
            status = status or 499  # the client has gone
            raise
        except Exception as error:
            report(error, context.request_id, scope.get("path_template"))
            if status:
                # Too late for another answer; the server must break this one off.
                raise ConnectionAbortedError(f"request {context.request_id} failed") from None
            await _refuse(Problem("INTERNAL_ERROR"), context, respond)
        finally:
            seconds = time.perf_counter() - began
            route = scope.get("path_template") or "-"
            known = method if method in _METHODS else "OTHER"
            self._metrics.observe(known, route, status, seconds)
            log = self._access_log
            if log is not None and log.wants(status, seconds, headers.get(b"x-client-version")):
                principal = context.principal
                log.add(
                    self._service,
                    context.request_id,
                    known,
                    route,
                    status,
                    seconds,
                    None if principal is None else str(principal.user_id),
                    context.client_version,
                )

    async def _authenticate(
        self, context: RequestContext, limited: list[tuple[bytes, bytes]]
    ) -> None:
        """Find the principal, and count the request to it; failures count to the address."""
        headers = context.headers
        principal = self._authenticator.cached(headers)
        if principal is None:
            address = self._address_key(context)
            if b"authorization" not in headers and b"x-api-key" not in headers:
                self._count(address, limited)
                raise unauthenticated()
            seen = self._limiter.peek(address, self._clock())
            if not seen.allowed:
                self._say(seen, limited)
                raise _too_many(seen)
            try:
                principal = await self._authenticator.authenticate(headers, context.client_address)
            except Problem as problem:
                if problem.status in (401, 403):
                    self._count(address, limited)
                    if problem.status == 401:
                        problem.headers.setdefault("www-authenticate", "Bearer")
                raise
        context.principal = principal
        self._count(_key_of(principal), limited)

    def _count(self, key: str, limited: list[tuple[bytes, bytes]]) -> None:
        decision = self._limiter.check(key, self._clock())
        self._say(decision, limited)
        if not decision.allowed:
            raise _too_many(decision)

    def _say(self, decision: Decision, limited: list[tuple[bytes, bytes]]) -> None:
        policy = self._policies.get(decision.limit)
        if policy is None:
            policy = b'"default";q=%d;w=%d' % (decision.limit, WINDOW)
            self._policies[decision.limit] = policy
        limited.append((b"ratelimit-policy", policy))
        limited.append(
            (b"ratelimit", b'"default";r=%d;t=%d' % (decision.remaining, decision.reset_seconds))
        )

    def _address_key(self, context: RequestContext) -> str:
        return "address:" + counted_as(context.client_address)

    def _bounded(self, path: str, headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
        """``receive`` that refuses a body over the limit, as soon as it is announced or come."""
        most = self._body_limits.get(path, self._max_body)
        announced = headers.get(b"content-length")
        if announced is not None:
            if not announced.isdigit():
                raise Problem("MALFORMED_REQUEST", "Content-Length is no number.")
            if len(announced) > 18 or int(announced) > most:
                raise _too_large(most)
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > most:
                    raise _too_large(most)
            return message

        return bounded

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate before the upgrade; nothing else applies to an open connection."""
        headers = with_subprotocol_credentials(dict(scope["headers"]))
        context = RequestContext(
            new_request_id(headers.get(b"x-request-id")),
            headers,
            scope,
            None,
            self._authenticator,
            self._addresses,
        )
        scope[KEY] = context
        scope["path"] = path = canonical(scope["path"])
        limited: list[tuple[bytes, bytes]] = []
        try:
            if is_open(path):
                self._count(self._address_key(context), limited)
            else:
                await self._authenticate(context, limited)
        except Problem as problem:
            await refuse(scope, receive, send, problem, context.request_id, limited)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            report(error, context.request_id, scope.get("path_template"))
            raise ConnectionAbortedError(f"connection {context.request_id} failed") from None


def _key_of(principal: Principal) -> str:
    if principal.api_key_id is not None:
        return f"key:{principal.api_key_id}"
    return f"user:{principal.user_id}"


async def _refuse(problem: Problem, context: RequestContext, send: Send) -> None:
    body = render(problem, context.request_id, context.scope["path"])
    headers = [(b"content-type", MEDIA_TYPE), (b"content-length", b"%d" % len(body))]
    headers.extend((k.encode("latin-1"), v.encode("latin-1")) for k, v in problem.headers.items())
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _too_many(decision: Decision) -> Problem:
    seconds = decision.reset_seconds
    return Problem(
        "RATE_LIMITED",
        f"The limit of {decision.limit} requests a minute is used up for {seconds} s.",
        headers=retry_after(seconds),
    )


def _too_large(most: int) -> Problem:
    return Problem(
        "PAYLOAD_TOO_LARGE",
        f"This takes at most {most} bytes.",
        extra={"max_bytes": most},
        headers={"connection": "close"},
    )


def _allowed() -> str:
    return ", ".join(sorted(_METHODS))
