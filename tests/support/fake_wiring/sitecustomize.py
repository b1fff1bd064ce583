"""A stand-in for ``bootstrap.wiring``, for tests of what runs the roles and not of the roles.

Put this folder on PYTHONPATH: Python imports this module at its start, and it takes the place of
the composition root in that process and in its children.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import types


async def _body(receive) -> int:
    total = 0
    while True:
        message = await receive()
        total += len(message.get("body", b""))
        if not message.get("more_body"):
            return total


async def _answer(send, status: int, value: object, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps(value).encode()
    sent = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*sent, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _stream(send) -> None:
    sent = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": sent})
    for number in range(1_000_000):
        event = b"id: %d\n\n" % number
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(0.05)


async def _lifespan(receive, send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _socket(scope, receive, send) -> None:
    await receive()
    headers = dict(scope["headers"])
    if headers.get(b"origin") == b"http://elsewhere.example":
        await send({"type": "websocket.close", "code": 1008})
        return
    chosen = scope["subprotocols"][0] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "too slow"})
            return
        await send({"type": "websocket.send", "text": f"echo {message['text']}"})


def _application(name: str):
    async def application(scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] == "websocket":
            await _socket(scope, receive, send)
            return
        path = scope["path"]
        if path == "/crash":
            os._exit(7)
        if path == "/stream":
            await _stream(send)
        elif path == "/nothing":
            await send(
                {"type": "http.response.start", "status": 304, "headers": [(b"etag", b'"1"')]}
            )
            await send({"type": "http.response.body", "body": b""})
        elif path == "/refused":
            await _answer(send, 413, {"code": "PAYLOAD_TOO_LARGE"})
        elif path == "/long":
            await _answer(send, 200, "x" * 3_000_000)
        else:
            headers = [[key.decode(), value.decode("latin-1")] for key, value in scope["headers"]]
            seen = {
                "api": name,
                "pid": os.getpid(),
                "method": scope["method"],
                "path": scope["raw_path"].decode(),
                "query": scope["query_string"].decode(),
                "headers": headers,
                "bytes": await _body(receive),
            }
            await _answer(send, 200, seen, (b"consistency-token", b"abc"))

    return application


async def _until(settings, stop, share=None) -> None:
    await stop.wait()


async def _nothing(settings) -> None:
    return None


async def _login(settings) -> dict[str, str]:
    return {"email": "ada@example.org", "password": "correct horse"}


def _write_api(settings):
    if (settings.home / "broken").exists():
        raise RuntimeError("this version has a fault")
    return _application("write")


_module = types.ModuleType("bootstrap.wiring")
_module.write_api_app = _write_api
_module.read_api_app = lambda settings: _application("read")
_module.projector = _until
_module.scheduler = _until
_module.worker = lambda settings: threading.Event().wait()
_module.setup = _nothing
_module.demo = _login
sys.modules["bootstrap.wiring"] = _module
