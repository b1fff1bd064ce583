"""WebSockets through the gateway: one to the client, one to the API, and messages both ways.

Owns what becomes of closing codes, and that a client that is gone is noticed. Which API a WebSocket
goes to is ``gateway``'s to say; what is said on it concerns neither.
"""

from __future__ import annotations

import asyncio
from typing import cast

import aiohttp
from aiohttp import web

from adapters.http.problems import Problem

HEARTBEAT = 30.0
"""Seconds of silence after which a client is pinged; half of that it has to answer."""
LONGEST = 1 << 16
"""Bytes of a message that a client may send; what an API takes is less."""
_FAREWELL = 2.0
"""Seconds that a client has to close its end."""


def answering(there: aiohttp.ClientWebSocketResponse) -> web.WebSocketResponse:
    """The client's end of a connection that the API has accepted, with the protocol it chose."""
    chosen = (there.protocol,) if there.protocol else ()
    return web.WebSocketResponse(
        protocols=chosen,
        autoclose=False,
        autoping=False,
        heartbeat=HEARTBEAT,
        max_msg_size=LONGEST,
        timeout=_FAREWELL,
    )


async def close_going(here: web.WebSocketResponse) -> None:
    """Close a client's end because we go away."""
    await here.close(code=1001, message=b"restarting; come back")


def refusal(error: aiohttp.WSServerHandshakeError) -> Problem:
    """The API's refusal of an upgrade; its body is lost in the client library, its code is not."""
    codes = {
        401: "UNAUTHENTICATED",
        403: "FORBIDDEN",
        404: "NOT_FOUND",
        422: "VALIDATION_FAILED",
        429: "RATE_LIMITED",
    }
    kept = {
        name.lower(): value
        for name, value in (error.headers or {}).items()
        if name.lower() in ("www-authenticate", "retry-after")
    }
    return Problem(codes.get(error.status, "UNAVAILABLE"), headers=kept)


async def carry(here: web.WebSocketResponse, there: aiohttp.ClientWebSocketResponse) -> None:
    """Messages both ways until one side closes; its code reaches the other."""
    tasks = {
        asyncio.create_task(_one_way(here, there)),
        asyncio.create_task(_one_way(there, here)),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _one_way(source: _Socket, target: _Socket) -> None:
    while True:
        message = await source.receive()
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                await target.send_str(cast("str", message.data))
            case aiohttp.WSMsgType.BINARY:
                await target.send_bytes(cast("bytes", message.data))
            case aiohttp.WSMsgType.PING:
                await target.ping(cast("bytes", message.data))
            case aiohttp.WSMsgType.PONG:
                await target.pong(cast("bytes", message.data))
            case aiohttp.WSMsgType.CLOSE:
                reason = (message.extra or "").encode()
                await target.close(code=message.data or 1000, message=reason)
                await source.close(code=message.data or 1000)
                return
            case _:
                # The connection broke: 1001 says that this end is going away.
                await target.close(code=1001)
                return
