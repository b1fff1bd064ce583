from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.upped import Up

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(up: Up) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=up.gateway) as session:
        yield session


def headers_of(seen: dict[str, Any]) -> dict[str, str]:
    return dict(seen["headers"])


@pytest.mark.parametrize(
    ("method", "api"),
    [
        ("GET", "read"),
        ("OPTIONS", "read"),
        ("POST", "write"),
        ("PUT", "write"),
        ("PATCH", "write"),
        ("DELETE", "write"),
    ],
)
async def test_reads_and_writes_part(client: aiohttp.ClientSession, method: str, api: str) -> None:
    async with client.request(method, "/v1/a%2Fb?q=%20x&q=2", json={"a": 1}) as answer:
        seen = await answer.json()

    assert (seen["api"], seen["method"]) == (api, method)
    assert (seen["path"], seen["query"]) == ("/v1/a%2Fb", "q=%20x&q=2")
    assert seen["bytes"] == len('{"a": 1}')
    assert answer.headers["Consistency-Token"] == "abc"


async def test_a_get_that_logs_in_goes_to_the_write_api(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/auth/github/callback?code=x") as answer:
        seen = await answer.json()
    assert (seen["api"], seen["query"]) == ("write", "code=x")


async def test_head_keeps_the_length_and_has_no_body(client: aiohttp.ClientSession) -> None:
    async with client.head("/v1/x") as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 0
        assert await answer.read() == b""


async def test_not_modified_passes_with_its_etag(client: aiohttp.ClientSession) -> None:
    async with client.get("/nothing") as answer:
        assert (answer.status, answer.headers["ETag"]) == (304, '"1"')


async def test_the_clients_own_forwarded_address_does_not_count(
    client: aiohttp.ClientSession, up: Up
) -> None:
    lies = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Host": "elsewhere.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=6.6.6.6",
        "Connection": "keep-alive, x-private",
        "X-Private": "for the next hop only",
    }
    async with client.get("/v1/x", headers=lies) as answer:
        headers = headers_of(await answer.json())

    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-host"] == headers["host"] == f"127.0.0.1:{up.port}"
    assert headers["x-forwarded-proto"] == "http"
    assert "forwarded" not in headers
    assert "x-private" not in headers


async def test_a_long_upload_streams(client: aiohttp.ClientSession) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b"x" * 10_000

    async with client.post("/v1/import", data=lines()) as answer:
        assert (await answer.json())["bytes"] == 3_000_000
    async with client.post("/v1/import", data=io.BytesIO(b"x" * 3_000_000)) as answer:
        assert (await answer.json())["bytes"] == 3_000_000


async def test_a_long_answer_streams(client: aiohttp.ClientSession) -> None:
    async with client.get("/long") as answer:
        assert len(await answer.json()) == 3_000_000


async def test_events_arrive_as_they_are_sent(client: aiohttp.ClientSession) -> None:
    async with client.get("/stream") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        async with asyncio.timeout(5):
            assert await answer.content.readuntil(b"\n\n") == b"id: 0\n\n"
            assert await answer.content.readuntil(b"\n\n") == b"id: 1\n\n"


async def test_a_body_that_the_api_refuses_is_not_asked_for(up: Up) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
    writer.write(
        b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_body_without_expect_is_refused_at_once_too(up: Up) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
    writer.write(b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\nabc")
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_websocket_passes_both_ways_with_its_protocol_and_close_code(
    client: aiohttp.ClientSession,
) -> None:
    async with client.ws_connect("/v1/ws", protocols=("bearer", "token")) as socket_:
        assert socket_.protocol == "bearer"
        await socket_.send_str("hello")
        assert await socket_.receive_str(timeout=5) == "echo hello"
        await socket_.send_str("bye")
        closed = await socket_.receive(timeout=5)
        assert closed.type == aiohttp.WSMsgType.CLOSE
        assert closed.data == 4001


async def test_a_refused_websocket_is_a_problem(client: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/v1/ws", headers={"Origin": "http://elsewhere.example"})
    assert refused.value.status == 403


async def test_a_restarting_api_is_waited_for(client: aiohttp.ClientSession, up: Up) -> None:
    os.kill(up.processes()["write-api"]["pid"], signal.SIGKILL)

    # The dying process may have taken the request: its key makes it safe to send again.
    async with client.post("/v1/x", data=b"{}", headers={"Idempotency-Key": "1"}) as answer:
        assert answer.status == 200


async def test_a_write_that_kills_its_api_is_not_repeated(
    client: aiohttp.ClientSession, up: Up
) -> None:
    async with client.post("/crash") as answer:
        problem = json.loads(await answer.read())

    assert answer.status == 503
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-Id"] == problem["requestId"]
    assert (problem["code"], problem["status"], problem["success"]) == ("UNAVAILABLE", 503, False)
    assert problem["instance"] == "/crash"
    # No API could count it.
    async with client.get("/metrics") as metrics:
        counted = 'http_requests_total{process="gateway",method="POST",route="-",'
        assert f'{counted}service="gateway",status="503"}} 1.0' in await metrics.text()
    async with client.post("/v1/x") as answer:
        assert answer.status == 200
        assert (await answer.json())["pid"] == up.processes()["write-api"]["pid"]


async def test_one_page_has_every_process_s_metrics(client: aiohttp.ClientSession, up: Up) -> None:
    async with client.get("/metrics") as answer:
        page = await answer.text()

    assert answer.headers["Content-Type"].startswith("text/plain")
    for name in set(up.processes()) - {"postgres", "valkey"}:
        assert f'process_resident_memory_bytes{{process="{name}"}}' in page
    assert page.count("# TYPE process_resident_memory_bytes gauge") == 1


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x00nonsense", 400, "MALFORMED_REQUEST"),
        (b"garbage", 400, "MALFORMED_REQUEST"),
        (b"G@T / HTTP/1.1", 400, "MALFORMED_REQUEST"),
        (b"BREW /v1/me?q=a HTTP/1.1", 405, "METHOD_NOT_ALLOWED"),
        (b"get /v1/me HTTP/1.0", 405, "METHOD_NOT_ALLOWED"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1", 414, "URI_TOO_LONG"),
        (b"GET /v1/me HTTP/1.1\r\nA: " + b"a" * 9000, 431, "HEADERS_TOO_LARGE"),
        (b"GET /v1/me HTTP/1.1" + b"\r\nA: a" * 500, 431, "HEADERS_TOO_LARGE"),
    ],
)
async def test_what_cannot_be_read_as_a_request_gets_a_problem(
    up: Up, sent: bytes, status: int, code: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", up.port)
    writer.write(sent + b"\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert f" {status} ".encode() in head.splitlines()[0]
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    headers = {line.partition(":")[0].lower() for line in head.decode().splitlines()}
    assert {"x-request-id", "cache-control", "x-content-type-options"} <= headers
    assert b"content-type: application/problem+json" in head.lower()
    assert ("allow" in headers) == (status == 405)
    assert problem.get("instance") == ("/v1/me" if status == 405 else None)


async def test_it_listens_on_loopback_only(up: Up) -> None:
    with socket.socket() as elsewhere:
        # The same port on another loopback address is still free.
        elsewhere.bind(("127.0.0.2", up.port))
