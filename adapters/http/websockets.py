"""What is particular to the opening of a WebSocket: a browser's credentials, and a refusal."""

from __future__ import annotations

from urllib.parse import urlsplit

from adapters.http.exchange import NO_STORE, NOSNIFF, Exchange, Message, Receive, Send
from adapters.http.problems import MEDIA_TYPE, Problem, render

_EXTENSION = "websocket.http.response"


def with_subprotocol_credentials(headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Headers in which the subprotocols ``bearer, <token>`` stand as ``Authorization``.

    A browser cannot set headers on a WebSocket, so it names its token as a subprotocol.
    """
    offered = [p.strip() for p in headers.get(b"sec-websocket-protocol", b"").split(b",")]
    if b"authorization" in headers or len(offered) < 2 or offered[0] != b"bearer":
        return headers
    return {**headers, b"authorization": b"Bearer " + offered[1]}


class Upgrade:
    """An ASGI ``send`` that knows how the opening was answered: 101, a refusal, or 0 (not yet)."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if not self.status:
            kind = message["type"]
            if kind == "websocket.accept":
                self.status = 101
            elif kind == f"{_EXTENSION}.start":
                self.status = message["status"]
            elif kind == "websocket.close":
                self.status = 403
        await self._send(message)


def is_own(origin: bytes, host: bytes | None) -> bool:
    """Whether an Origin is the host that was asked, which a page cannot choose.

    The scheme does not matter: behind a proxy that ends TLS it is another one here.
    """
    if host is None:
        return False
    try:
        parts = urlsplit(origin.decode("ascii").lower())
        port = parts.port
    except (UnicodeDecodeError, ValueError):
        return False
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    if usual is None or not parts.hostname or parts.path:
        return False
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    asked = host.decode("latin-1").lower()
    return asked == f"{name}:{port or usual}" or (port in (None, usual) and asked == name)


async def refuse(exchange: Exchange, receive: Receive, send: Send, problem: Problem) -> None:
    """Refuse the upgrade: with the problem where the server can, else with a bare 403."""
    context = exchange.context
    if _EXTENSION not in (context.scope.get("extensions") or {}):
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 4000 + problem.status, "reason": ""})
        return
    body = render(problem, context.request_id, context.scope["path"])
    headers = [
        (b"content-type", MEDIA_TYPE),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", context.request_id.encode("ascii")),
        NOSNIFF,
        NO_STORE,
        *exchange.limited,
        *((k.encode("latin-1"), v.encode("latin-1")) for k, v in problem.headers.items()),
    ]
    await send({"type": f"{_EXTENSION}.start", "status": problem.status, "headers": headers})
    await send({"type": f"{_EXTENSION}.body", "body": body})
