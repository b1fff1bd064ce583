"""Headers that every answer has, and bodies that do not come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from litestar import Request, get, post
from litestar.response import Response

from adapters.http.bodies import body_of
from tests.support.http_app import TOKEN, client, conventions

pytestmark = pytest.mark.anyio


@get("/page", media_type="text/html")
async def page() -> str:
    return "<p>"


@get("/v1/thing")
async def thing() -> Response[dict[str, int]]:
    return Response({"a": 1}, headers={"etag": '"1"'})


@post("/v1/thing")
async def take(request: Request[Any, Any, Any]) -> dict[str, int]:
    return {"length": len(await body_of(request))}


HANDLERS = [page, thing, take]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/page", {}),
        ("GET", "/v1/thing", TOKEN),
        ("GET", "/v1/thing", {}),
        ("GET", "/nowhere", {}),
        ("POST", "/v1/thing", {**TOKEN, "content-length": "99999999"}),
        ("DELETE", "/v1/thing", TOKEN),
    ],
)
async def test_every_answer_has_the_headers(
    method: str, path: str, headers: dict[str, str]
) -> None:
    async with client(conventions(HANDLERS, hsts_seconds=600)) as api:
        answer = await api.request(method, path, headers=headers)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
    assert answer.headers["strict-transport-security"] == "max-age=600; includeSubDomains"
    if answer.headers["content-type"].startswith("text/html"):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_tls_is_insisted_on_only_where_it_is_said_to_be_there() -> None:
    async with client(conventions(HANDLERS)) as api:
        assert "strict-transport-security" not in (await api.get("/page")).headers


class Conversation:
    """One request as a server would give it, its body piece by piece."""

    def __init__(self, pieces: list[bytes], *, announced: int | None = None) -> None:
        self.pieces = pieces
        self.sent: list[Any] = []
        headers = [(b"authorization", b"Bearer anna")]
        if announced is not None:
            headers.append((b"content-length", b"%d" % announced))
        else:
            headers.append((b"transfer-encoding", b"chunked"))
        self.scope = {
            "type": "http", "method": "POST", "path": "/v1/thing", "raw_path": b"/v1/thing",
            "query_string": b"", "headers": headers, "client": ("192.0.2.1", 1),
            "server": ("test", 80), "scheme": "http", "http_version": "1.1", "root_path": "",
            "asgi": {"version": "3.0"},
        }  # fmt: skip

    async def receive(self) -> Any:
        if not self.pieces:
            await asyncio.Event().wait()  # nothing comes any more
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status


async def test_a_body_that_stops_is_cut_off() -> None:
    app = conventions(HANDLERS, body_timeout=0.1)
    talk = Conversation([b"half"], announced=100)
    async with asyncio.timeout(5):
        await app(talk.scope, talk.receive, talk.send)
    assert talk.status == 408
    assert b"REQUEST_TIMEOUT" in talk.sent[1]["body"]
    assert (b"connection", b"close") in talk.sent[0]["headers"]


async def test_what_comes_earns_time_and_what_is_too_much_is_cut_off_at_once() -> None:
    app = conventions(HANDLERS, body_timeout=0.1, max_body_bytes=4096)
    talk = Conversation([b"x" * 1000] * 5)
    async with asyncio.timeout(5):
        await app(talk.scope, talk.receive, talk.send)
    assert talk.status == 413
    announced = Conversation([], announced=5000)
    async with asyncio.timeout(5):
        await app(announced.scope, announced.receive, announced.send)
    assert announced.status == 413
