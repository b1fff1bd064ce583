"""One address for clients: reads go to the read API, everything else to the write API.

Owns forwarding: bodies stream both ways, WebSockets pass through, a restarting API is waited for.
It decides nothing about requests: who may do what, limits and formats belong to the APIs. Its own
answers are ``/metrics`` and the problem that an API does not answer.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any, cast

import aiohttp
import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict
from prometheus_client import REGISTRY
from yarl import URL

from adapters.http.context import new_request_id
from adapters.http.metrics import HttpMetrics
from adapters.http.problems import Problem, retry_after
from bootstrap import metrics
from bootstrap.connections import OWN_HEADERS, Connection, Server, answer_of
from bootstrap.machine import Machine
from bootstrap.places import Places, addresses
from bootstrap.settings import Settings
from bootstrap.stopping import DRAIN_SECONDS, LINGER_SECONDS, Stop
from bootstrap.tunnel import answering, carry, close_going, refusal
from bootstrap.upstreams import Upstream

READS = frozenset({"GET", "HEAD", "OPTIONS"})
WRITTEN = "/v1/auth/"
"""What begins so changes something even where it is a GET, as a login at another site is."""
WHOLE_BYTES = 65_536
"""Bodies up to this length are passed on in one piece, longer ones as they come."""
ANSWER_SECONDS = 75.0
"""How long an API may think before its first byte; no wait in the contract is as long."""
CLOSE_SECONDS = 3.0
BACKLOG = 1024
"""How many connections may wait to be accepted."""
IDLE_SECONDS = 75.0
"""How long a connection may be open without a whole request on it, slow headers included."""

_HOP = frozenset(
    """
    connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer
    transfer-encoding upgrade expect content-length
    forwarded x-forwarded-for x-forwarded-host x-forwarded-proto
    """.split()
)
_SOCKET = "sec-websocket-"
_log = structlog.get_logger("gateway")


def reads(method: str, path: str) -> bool:
    """Whether a request goes to the read API."""
    return method in READS and not path.startswith(WRITTEN)


class Gateway:
    """Forwards what it is asked for; ``handle`` is a handler for ``aiohttp.web.Server``."""

    def __init__(self, settings: Settings, places: Places) -> None:
        self._places = places
        self._proxies = settings.proxies
        self._body_timeout = settings.body_timeout
        self._read = Upstream("read-api", addresses("read-api", settings, places))
        self._write = Upstream("write-api", addresses("write-api", settings, places))
        self._endless: set[aiohttp.ClientResponse] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self._ending = False
        self.own = HttpMetrics("gateway")
        """Answers that no API gave, since none could; others are counted where they come from."""

    async def open(self) -> None:
        """Make the connection pools."""
        await self._read.open()
        await self._write.open()

    async def close(self) -> None:
        """Close the connection pools."""
        await self._read.close()
        await self._write.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        response = await self._answer(request)
        if self._ending:
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = new_request_id(
            request.headers.get("X-Request-Id", "").encode("utf-8", "replace") or None
        )
        began = time.perf_counter()
        try:
            if not request.raw_path.startswith("/"):
                raise Problem("MALFORMED_REQUEST", "The target must be a path.")
            if request.path == "/metrics" and request.method in READS:
                return await self._metrics(request_id)
            upstream = self._read if reads(request.method, request.path) else self._write
            if "websocket" in request.headers.get(hdrs.UPGRADE, "").lower():
                return await self._tunnel(request, upstream, request_id)
            return await self._forward(request, upstream)
        except Problem as problem:
            own = problem
        except UnicodeError:
            own = Problem("MALFORMED_REQUEST", "A header is not text.")
        if own.status >= 500:
            method = request.method if request.method in hdrs.METH_ALL else "OTHER"
            self.own.observe(method, "-", own.status, time.perf_counter() - began)
        return answer_of(own, request.path, request_id)

    async def _metrics(self, request_id: str) -> web.Response:
        body = await metrics.collect(self._places, "gateway")
        headers = {
            "Content-Type": metrics.CONTENT_TYPE,
            "X-Request-Id": request_id,
            **OWN_HEADERS,
        }
        return web.Response(body=body, headers=headers)

    async def _forward(self, request: web.BaseRequest, upstream: Upstream) -> web.StreamResponse:
        length = request.content_length
        streamed = request.can_read_body and (length is None or length > WHOLE_BYTES)
        headers = self._headers(request)
        whole: bytes | None = None
        if streamed:
            if length is not None:
                headers[hdrs.CONTENT_LENGTH] = str(length)
        elif request.can_read_body:
            _continue(request)
            try:
                async with asyncio.timeout(self._body_timeout):
                    whole = await request.read()
            except TimeoutError:
                raise Problem("REQUEST_TIMEOUT", headers={"connection": "close"}) from None
        answer = await self._ask(
            request, upstream, headers, lambda: _upload(request) if streamed else whole, streamed
        )
        async with answer:
            return await self._pass_on(request, answer)

    async def _ask(
        self,
        request: web.BaseRequest,
        upstream: Upstream,
        headers: CIMultiDict[str],
        body: Callable[[], Any],
        streamed: bool,
    ) -> aiohttp.ClientResponse:
        """The API's answer as far as its headers; raises ``Problem`` if there is none."""
        # A write whose connection broke may have been done; only its key makes it safe to repeat.
        repeatable = request.method in READS or (
            not streamed and "Idempotency-Key" in request.headers
        )
        async for session, origin in upstream.choices():
            try:
                async with asyncio.timeout(None if streamed else ANSWER_SECONDS):
                    return await session.request(
                        request.method,
                        URL(origin + request.raw_path, encoded=True),
                        headers=headers,
                        data=body(),
                        # The API decides on the headers alone whether it wants a long body.
                        expect100=streamed,
                        allow_redirects=False,
                    )
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientConnectionError, TimeoutError) as error:
                _log.warning("no answer", upstream=upstream.name, error=type(error).__name__)
                if isinstance(error, TimeoutError) or not repeatable:
                    detail = (
                        "The request may have been carried out or not. Repeat it with the same "
                        "Idempotency-Key, if it has one; else look first."
                    )
                    raise Problem("UNAVAILABLE", detail, headers=retry_after(2)) from None
        _log.warning("not reachable", upstream=upstream.name)
        raise Problem(
            "UNAVAILABLE", "The API is not running at the moment.", headers=retry_after(2)
        )

    async def _pass_on(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers: CIMultiDict[str] = CIMultiDict()
        dropped = {
            name.strip().lower() for name in answer.headers.get(hdrs.CONNECTION, "").split(",")
        }
        for name, value in answer.headers.items():
            low = name.lower()
            if low == "content-length" or (low not in _HOP and low not in dropped):
                headers.add(name, value)
        headers["Server"] = "mindstream"
        length = answer.content_length
        bodiless = request.method == "HEAD" or answer.status in (204, 304)
        if bodiless or (length is not None and length <= WHOLE_BYTES):
            whole = b"" if bodiless else await answer.read()
            response: web.StreamResponse = web.Response(
                status=answer.status, reason=answer.reason, headers=headers, body=whole or None
            )
            if not request.content.is_eof():
                response.force_close()
            return response
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        if self._ending or not request.content.is_eof():
            response.force_close()
        await response.prepare(request)
        endless = answer.content_type == "text/event-stream"
        # Else it would be noticed with the next bytes only that nobody reads any more.
        connection = cast("Connection", request.protocol)
        connection.when_lost = answer.close
        if request.transport is None:  # it went while the answer was being asked for
            answer.close()
        if endless:
            self._endless.add(answer)
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        except aiohttp.ClientError:
            if not (endless and self._ending):
                raise
        finally:
            connection.when_lost = None
            self._endless.discard(answer)
        await response.write_eof()
        return response

    async def end(self) -> None:
        """End event streams and WebSockets, and from now on each connection with its answer."""
        self._ending = True
        for answer in list(self._endless):
            answer.close()
        await asyncio.gather(*(close_going(each) for each in list(self._sockets)))

    async def _tunnel(
        self, request: web.BaseRequest, upstream: Upstream, request_id: str
    ) -> web.StreamResponse:
        """Carry a WebSocket; a refusal before the upgrade is passed on as one."""
        wanted = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
        protocols = tuple(part.strip() for part in wanted.split(",") if part.strip())
        headers = self._headers(request)
        headers["X-Request-Id"] = request_id
        for name in [name for name in headers if name.lower().startswith(_SOCKET)]:
            headers.popall(name, None)
        async for session, origin in upstream.choices():
            try:
                there = await session.ws_connect(
                    URL(origin + request.raw_path, encoded=True),
                    headers=headers,
                    protocols=protocols,
                    autoclose=False,
                    autoping=False,
                    max_msg_size=0,
                )
            except aiohttp.WSServerHandshakeError as error:
                raise refusal(error) from None
            except aiohttp.ClientConnectionError:
                continue
            here = answering(there)
            self._sockets.add(here)
            try:
                await here.prepare(request)
                await carry(here, there)
            finally:
                self._sockets.discard(here)
                await there.close()
            return here
        raise Problem(
            "UNAVAILABLE", "The API is not running at the moment.", headers=retry_after(2)
        )

    def _headers(self, request: web.BaseRequest) -> CIMultiDict[str]:
        """The client's headers less what concerns only this connection, plus who it is."""
        dropped = {
            name.strip().lower()
            for line in request.headers.getall(hdrs.CONNECTION, ())
            for name in line.split(",")
        }
        headers: CIMultiDict[str] = CIMultiDict()
        for name, value in request.headers.items():
            low = name.lower()
            if low not in _HOP and low not in dropped:
                headers.add(name, value)
        peer = _peer(request)
        trusted = self._trusts(peer)
        before = request.headers.getall("X-Forwarded-For", []) if trusted else []
        headers["X-Forwarded-For"] = ", ".join([*before, peer])
        headers["X-Forwarded-Host"] = (
            request.headers.get("X-Forwarded-Host") if trusted else None
        ) or request.host
        headers["X-Forwarded-Proto"] = (
            request.headers.get("X-Forwarded-Proto") if trusted else None
        ) or request.scheme
        return headers

    def _trusts(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


async def serve(
    settings: Settings, stop: Stop, listener: int | None, ready: Callable[[], None]
) -> None:
    """Run the gateway until ``stop`` is set; ``ready`` is called when it answers.

    It listens on its loopback port, or on the socket whose file descriptor is ``listener``. Others
    may listen on that one too: what is not accepted here is left to them.
    """
    gateway = Gateway(settings, Places(settings.home))
    Machine(settings.home, REGISTRY)
    REGISTRY.register(gateway.own)
    await gateway.open()
    server = Server(gateway.handle, access_log=None, keepalive_timeout=IDLE_SECONDS)
    # Answers under way get that long in haste; in good order they have been waited for.
    runner = web.ServerRunner(server, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    site: web.BaseSite
    if listener is None:
        site = web.TCPSite(runner, "127.0.0.1", settings.port, backlog=BACKLOG)
    else:
        site = web.SockSite(runner, socket.socket(fileno=listener), backlog=BACKLOG)
    try:
        await site.start()
        _log.info("listening", port=settings.port)
        ready()
        await stop.wait()
        if listener is not None:
            await site.stop()
        await gateway.end()
        await stop.grants(server.emptied(), LINGER_SECONDS)
        await stop.grants(server.answered(), DRAIN_SECONDS)
    finally:
        await runner.cleanup()
        await gateway.close()


def _peer(request: web.BaseRequest) -> str:
    found = request.transport.get_extra_info("peername") if request.transport else None
    return str(found[0]) if isinstance(found, tuple) and found else "unknown"


def _continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _upload(request: web.BaseRequest) -> AsyncIterator[bytes]:
    _continue(request)
    async for chunk in request.content.iter_any():
        yield chunk
