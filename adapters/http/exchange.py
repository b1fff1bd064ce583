"""One request and its answer on their way through the outermost layer.

Owns the headers that every answer has. It decides nothing about the request: ``conventions`` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from adapters.http.context import RequestContext
from adapters.http.problems import MEDIA_TYPE, Problem, render

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeader = tuple[bytes, bytes]

DEFAULT_CSP = b"default-src 'none'; frame-ancestors 'none'"

NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_REFERRER = (b"referrer-policy", b"no-referrer")
NO_STORE = (b"cache-control", b"no-store")
REVALIDATE = (b"cache-control", b"private, no-cache")
FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
"""For what has another address once its content is another; the one choice that a handler has."""
_CSP = (b"content-security-policy", DEFAULT_CSP)
_OURS = frozenset((b"cache-control", b"x-request-id"))


class Exchange:
    """``status`` is 0 until the answer has begun.

    ``limited`` has the headers of rate limits, and ``shared`` those for pages of other origins;
    ``always`` are those that every answer has, whatever it is.
    """

    __slots__ = ("_send", "always", "context", "head", "limited", "method", "shared", "status")

    def __init__(
        self,
        context: RequestContext,
        method: str,
        send: Send,
        always: tuple[RawHeader, ...] = (NOSNIFF, NO_REFERRER),
    ) -> None:
        self.context = context
        self.method = method
        self.head = method == "HEAD"
        self.status = 0
        self.limited: tuple[RawHeader, ...] = ()
        self.shared: tuple[RawHeader, ...] = ()
        self.always = always
        self._send = send

    async def respond(self, message: Message) -> None:
        """Send a part of the answer, with the headers of every answer (an ASGI ``send``)."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._complete(message["headers"])
        elif self.head:
            message["body"] = b""
        await self._send(message)

    def _complete(self, given: list[RawHeader]) -> list[RawHeader]:
        caching = NO_STORE
        page = policy = False
        headers: list[RawHeader] = []
        for pair in given:
            name = pair[0]
            if name in _OURS:
                if pair == FOREVER:
                    caching = FOREVER
                continue
            if name == b"etag":
                if self.status < 400 and (self.method == "GET" or self.head):
                    caching = REVALIDATE
            elif name == b"content-type":
                page = pair[1].startswith(b"text/html")
            elif name == b"content-security-policy":
                policy = True
            headers.append(pair)
        headers += (
            (b"x-request-id", self.context.request_id.encode("ascii")),
            *self.always,
            caching,
            *self.limited,
            *self.shared,
        )
        if page and not policy:
            headers.append(_CSP)
        return headers

    async def fail(self, problem: Problem) -> None:
        """Answer with a problem."""
        context = self.context
        body = render(problem, context.request_id, context.scope["path"])
        headers = [
            (b"content-type", MEDIA_TYPE),
            (b"content-length", b"%d" % len(body)),
            *((k.encode("latin-1"), v.encode("latin-1")) for k, v in problem.headers.items()),
        ]
        await self.respond(
            {"type": "http.response.start", "status": problem.status, "headers": headers}
        )
        await self.respond({"type": "http.response.body", "body": body, "more_body": False})

    async def offer(self, methods: frozenset[str]) -> None:
        """Answer OPTIONS.

        Raises:
            Problem: 404 for a path without methods.
        """
        if not methods:
            raise Problem("NOT_FOUND")
        await self.empty([(b"allow", ", ".join(sorted(methods)).encode("ascii"))])

    async def empty(self, headers: list[RawHeader]) -> None:
        """Answer 204."""
        await self.respond({"type": "http.response.start", "status": 204, "headers": headers})
        await self.respond({"type": "http.response.body", "body": b"", "more_body": False})
