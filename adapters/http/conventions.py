"""The outermost layer of both APIs: what holds for every request and every answer.

Owns, in this order: the request's id, preflights, authentication, rate limits, who may call what,
the body's limit, HEAD, the last resort for errors, metrics and the access log; ``exchange`` adds
what every answer has. It is one ASGI application around another, since layers upon layers cost more
than the work they do; it waits for nothing but an authentication that is not cached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Protocol

from adapters.http.access_log import About, AccessLog, Line
from adapters.http.addresses import Addresses, counted_as
from adapters.http.bodies import BodyLimits
from adapters.http.context import KEY, RequestContext, new_request_id, unauthenticated
from adapters.http.cors import Cors
from adapters.http.doors import UNLIMITED, Access, Rule, canonical, is_open
from adapters.http.errors import report
from adapters.http.exchange import (
    NO_REFERRER,
    NOSNIFF,
    Exchange,
    RawHeader,
    Receive,
    Send,
)
from adapters.http.limits import WINDOW, Decision, RateLimiter
from adapters.http.limits_of_keys import LimitReached, count_key
from adapters.http.metrics import HttpMetrics
from adapters.http.principal import Authenticator, Headers, Principal
from adapters.http.problems import Problem, retry_after
from adapters.http.routes import Routes
from adapters.http.websockets import Upgrade, is_own, refuse, with_subprotocol_credentials

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Witness = Callable[[str, str, Headers], Awaitable[Principal | None]]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_GONE = 499


class RequestLogging(Protocol):
    """Notes what was answered, without holding anything up; ``adapters.request_log`` does."""

    def add(
        self,
        at: float,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        principal: Principal | None,
        client_version: str | None,
        address: str | None,
        /,
    ) -> None:
        """Note one answer."""
        ...


class Conventions:
    """An ASGI application that holds the contract's conventions around ``app``.

    ``service`` names the series of metrics. ``body_limits`` has the limits (bytes) of paths that
    take more than ``max_body_bytes``, by their templates (``/v1/x/{id}``). ``trusted_proxies`` are
    addresses, networks or ``unix``. ``body_timeout`` is how many seconds a slow body has;
    ``hsts_seconds`` is for how long clients are to insist on TLS (0: they are not told). ``routes``
    knows the paths of both APIs, so that OPTIONS and 405 name all methods; without it each API
    knows its own. ``access`` is who may call what; without it the path alone says what is open.
    ``cors`` knows which other origins' pages may read answers. ``witness`` may know who asks for
    one path, by method, path and headers, where the credentials are not good any more. Without
    ``metrics``, ``access_log`` or ``request_log`` nothing is counted or written. ``clock`` gives
    Unix time in seconds.
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
        request_log: RequestLogging | None = None,
        routes: Routes | None = None,
        access: Access | None = None,
        cors: Cors | None = None,
        body_timeout: float = 30.0,
        hsts_seconds: int = 0,
        witness: Witness | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._service = service
        self._authenticator = authenticator
        self._limiter = limiter
        self._bodies = BodyLimits(max_body_bytes, body_limits or {}, body_timeout)
        self._addresses = Addresses(trusted_proxies)
        self._metrics = metrics
        self._access_log = access_log
        self._request_log = request_log
        self._always: tuple[RawHeader, ...] = (NOSNIFF, NO_REFERRER)
        if hsts_seconds:
            age = b"max-age=%d; includeSubDomains" % hsts_seconds
            self._always += ((b"strict-transport-security", age),)
        self._routes = routes
        self._access = access
        self._cors = cors or Cors()
        self._witness = witness
        self._clock = clock
        self.closing: list[Callable[[], Awaitable[None]]] = []
        """What ends answers that would go on, when the process is about to stop."""
        self._policies: dict[int, RawHeader] = {}
        self._under_way = 0
        self._idle: asyncio.Event | None = None

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
        self._under_way += 1
        context = self._context(scope, dict(scope["headers"]))
        exchange = Exchange(context, scope["method"], send, self._always)
        try:
            await self._serve(exchange, scope, receive)
        except asyncio.CancelledError:
            exchange.status = exchange.status or _CLIENT_GONE
            raise
        except Problem as problem:
            if exchange.status:
                raise _broken_off(context) from None
            if isinstance(problem, LimitReached):
                exchange.limited = problem.limited
            await exchange.fail(problem)
        except Exception as error:  # noqa: BLE001  the last resort
            report(error, context.request_id, scope.get("path_template"))
            if exchange.status:
                raise _broken_off(context) from None
            await exchange.fail(Problem("INTERNAL_ERROR"))
        finally:
            self._ended()
            self._account(exchange, time.perf_counter() - began)

    def _ended(self) -> None:
        self._under_way -= 1
        if self._idle is not None and not self._under_way:
            self._idle.set()

    def _context(self, scope: Scope, headers: dict[bytes, bytes]) -> RequestContext:
        scope["path"] = canonical(scope["path"])
        context = scope[KEY] = RequestContext(
            new_request_id(headers.get(b"x-request-id")),
            headers,
            scope,
            None,
            self._authenticator,
            self._addresses,
            self._routes,
        )
        return context

    async def _serve(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        context = exchange.context
        headers = context.headers
        path: str = scope["path"]
        method = exchange.method
        if method not in _METHODS:
            raise no_such_method()
        origin = headers.get(b"origin")
        if origin is not None:
            exchange.shared = self._cors.headers(origin)
            if method == "OPTIONS" and await self._preflight(exchange, path):
                return
        rule = None if self._access is None else self._access.of(method, path)
        if not (is_open(path) if rule is None else rule.open):
            # The usual case first, and without another coroutine.
            principal = self._authenticator.cached(headers)
            if principal is None:
                principal = await self._authenticate(exchange)
            context.principal = principal
            self._let_in(exchange, principal, rule, method, path)
        elif path not in UNLIMITED:
            self._count(_address_key(context), exchange)
        if rule is None and self._routes is not None:
            if method == "OPTIONS":
                await exchange.offer(self._routes.methods(path))
                return
            if self._access is not None and path in self._access.fixed:
                # Or the router would take its last part for an id that another call has there.
                raise not_here(self._routes.methods(path))
        if method == "HEAD":
            scope["method"] = "GET"
            context.head = True
        if method != "GET" or b"content-length" in headers or b"transfer-encoding" in headers:
            where = path if rule is None else rule.template
            receive = self._bodies.around(receive, where, headers.get(b"content-length"))
        await self._app(scope, receive, exchange.respond)

    def _let_in(
        self, exchange: Exchange, principal: Principal, rule: Rule | None, method: str, path: str
    ) -> None:
        """Count a request of somebody who is known, and see whether they may make it.

        Raises:
            Problem: 429 or 403.
        """
        now = self._clock()
        if principal.key is None:
            self._count(f"user:{principal.user_id}", exchange)
        else:
            origin = exchange.context.headers.get(b"origin")
            if origin is not None:
                exchange.shared = self._cors.headers(origin, principal.key.origins)
            exchange.limited = count_key(principal, self._limiter, now)
        if rule is None:
            return
        try:
            exchange.context.principal = rule.admit(principal, method, path, now)
        except Problem:
            # It gets no further than this, and is to be counted and logged with its route.
            exchange.context.scope["path_template"] = rule.template
            raise

    async def _preflight(self, exchange: Exchange, path: str) -> bool:
        """Answer a browser that asks whether a page may call this; it sends no credentials."""
        if self._routes is None:
            return False
        said = self._cors.preflight(exchange.context.headers, self._routes.methods(path))
        if said is None:
            return False
        exchange.shared = ()
        self._count(_address_key(exchange.context), exchange)
        await exchange.empty(said)
        return True

    async def _authenticate(self, exchange: Exchange) -> Principal:
        """Find out who asks; failures count to the address, successes to nobody but themselves.

        Raises:
            Problem: 401 or 403, 429 where this address has failed too often.
        """
        context = exchange.context
        headers = context.headers
        if b"authorization" not in headers and b"x-api-key" not in headers:
            self._count(_address_key(context), exchange)
            raise unauthenticated()
        try:
            return await self._authenticator.authenticate(headers, context.client_address)
        except Problem as problem:
            if problem.status == 401 and self._witness is not None:
                path = context.scope["path"]
                principal = await self._witness(exchange.method, path, headers)
                if principal is not None:
                    return principal
            if problem.status in (401, 403):
                self._count(_address_key(context), exchange)
            if problem.status == 401:
                problem.headers.setdefault("www-authenticate", "Bearer")
            raise

    def _count(self, key: str, exchange: Exchange) -> None:
        decision = self._limiter.check(key, self._clock())
        exchange.limited = self._said(decision)
        if not decision.allowed:
            raise _too_many(decision)

    def _said(self, decision: Decision) -> tuple[RawHeader, RawHeader]:
        policy = self._policies.get(decision.limit)
        if policy is None:
            policy = (b"ratelimit-policy", b'"default";q=%d;w=%d' % (decision.limit, WINDOW))
            self._policies[decision.limit] = policy
        left = b'"default";r=%d;t=%d' % (decision.remaining, decision.reset_seconds)
        return policy, (b"ratelimit", left)

    def _account(self, exchange: Exchange, seconds: float) -> None:
        """Count the answer, and log it if it is to be."""
        context = exchange.context
        status = exchange.status
        route = context.scope.get("path_template") or "-"
        method = exchange.method if exchange.method in _METHODS else "OTHER"
        if self._metrics is not None:
            self._metrics.observe(method, route, status, seconds)
        version = context.headers.get(b"x-client-version")
        requests = self._request_log
        if requests is not None and context.scope["path"] not in UNLIMITED:
            requests.add(
                self._clock(),
                context.request_id,
                method,
                route,
                status,
                seconds,
                context.principal,
                None if version is None else context.client_version,
                context.client_address,
            )
        log = self._access_log
        if log is not None and log.wants(status, seconds, version):
            principal = context.principal
            log.add(
                Line(
                    timestamp=datetime.fromtimestamp(self._clock(), UTC),
                    level="ERROR" if status >= 500 else "INFO",
                    service=self._service,
                    duration=round(seconds * 1000, 3),
                    context=About(
                        request_id=context.request_id,
                        method=method,
                        route=route,
                        status=status,
                        user_id=None if principal is None else principal.user_id,
                        client_version=None if version is None else context.client_version,
                    ),
                )
            )

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate before the upgrade; nothing else applies to an open connection."""
        began = time.perf_counter()
        self._under_way += 1
        context = self._context(scope, with_subprotocol_credentials(dict(scope["headers"])))
        upgrade = Upgrade(send)
        exchange = Exchange(context, "GET", upgrade.send, self._always)
        try:
            await self._upgrade(exchange, scope, receive, upgrade)
        finally:
            self._ended()
            exchange.status = upgrade.status or _CLIENT_GONE
            self._account(exchange, time.perf_counter() - began)

    async def _upgrade(
        self, exchange: Exchange, scope: Scope, receive: Receive, upgrade: Upgrade
    ) -> None:
        context = exchange.context
        try:
            if is_open(scope["path"]):
                self._count(_address_key(context), exchange)
            else:
                principal = self._authenticator.cached(context.headers)
                principal = principal or await self._authenticate(exchange)
                context.principal = principal
                path = scope["path"]
                rule = None if self._access is None else self._access.of("GET", path)
                self._let_in(exchange, principal, rule, "GET", path)
            self._check_origin(context)
        except Problem as problem:
            await refuse(exchange, receive, upgrade.send, problem)
            return
        try:
            await self._app(scope, receive, upgrade.send)
        except Exception as error:  # noqa: BLE001  what is raised on holds nothing private
            report(error, context.request_id, scope.get("path_template"))
            raise _broken_off(context) from None

    def _check_origin(self, context: RequestContext) -> None:
        """Let in pages of our own host and those that may read answers; others send no Origin.

        Raises:
            Problem: 403.
        """
        origin = context.headers.get(b"origin")
        if origin is None or is_own(origin, context.headers.get(b"host")):
            return
        key = None if context.principal is None else context.principal.key
        if not self._cors.admits(origin, () if key is None else key.origins):
            raise Problem("FORBIDDEN", "Pages of this origin may not open a WebSocket here.")

    def announce_closing(self) -> None:
        """From now on each answer ends its connection.

        So whoever keeps one learns that the server is about to stop before it does.
        """
        self._always += ((b"connection", b"close"),)

    async def begin_closing(self) -> None:
        """End what would not end by itself, before the server stops."""
        await asyncio.gather(*(end() for end in self.closing))

    async def drained(self) -> None:
        """Wait until nothing is under way."""
        self._idle = asyncio.Event()
        if self._under_way:
            await self._idle.wait()


def no_such_method() -> Problem:
    """405 for a method that no path has."""
    return not_here(_METHODS)


def not_here(methods: Iterable[str]) -> Problem:
    """405 where the path has these methods."""
    return Problem("METHOD_NOT_ALLOWED", headers={"allow": ", ".join(sorted(methods))})


def _address_key(context: RequestContext) -> str:
    return "address:" + counted_as(context.client_address)


def _broken_off(context: RequestContext) -> ConnectionAbortedError:
    """What the server is told when it is too late for another answer; it knows nothing private."""
    return ConnectionAbortedError(f"request {context.request_id} failed after its answer began")


def _too_many(decision: Decision) -> Problem:
    seconds = decision.reset_seconds
    return Problem(
        "RATE_LIMITED",
        f"The limit of {decision.limit} requests a minute is used up for {seconds} s.",
        headers=retry_after(seconds),
    )
