"""What is particular to the opening of a WebSocket: a browser's credentials, and a refusal."""

from __future__ import annotations

from adapters.http.exchange import NO_STORE, NOSNIFF, Exchange, Receive, Send
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
