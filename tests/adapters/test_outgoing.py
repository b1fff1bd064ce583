"""Calls to addresses that somebody else chose reach the open network and nothing of ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from adapters.outgoing import Failed, Outgoing, Refused, TooLarge, is_open

pytestmark = pytest.mark.anyio

LOOPBACK = ("127.0.0.0/8",)


class Names(AbstractResolver):
    """Names as a test wants them: each look-up takes the next of a name's addresses."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {f"{name}.test": addresses for name, addresses in names.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        addresses = self.names[host]
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            {
                "hostname": host, "host": address, "port": port, "family": kind,
                "proto": 0, "flags": socket.AI_NUMERICHOST,
            }
        ]  # fmt: skip

    async def close(self) -> None:
        pass


class Receiver:
    """A server on loopback, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0
        self.slow = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path} {await request.text()}".strip())
        if request.path == "/away":
            raise web.HTTPFound(f"http://127.0.0.1:{self.port}/inner")
        if request.path == "/large":
            return web.Response(body=b"x" * 5000)
        if request.path == "/never":
            await self.slow.wait()
        return web.Response(text="ok", headers={"X-Said": "yes", "Set-Cookie": "a=b"})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    runner = web.ServerRunner(web.Server(found.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    found.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield found
    found.slow.set()
    await runner.cleanup()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255"),
        *("198.18.0.1", "192.0.2.1", "203.0.113.7", "::", "::1", "fe80::1", "fe80::1%eth0"),
        *("fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
        *("::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1", "nonsense"),
    ],
)
def test_addresses_that_are_not_on_the_open_network(address: str) -> None:
    assert not is_open(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "172.32.0.1"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_open(address)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    ],
)
async def test_every_spelling_of_this_machine_is_refused(receiver: Receiver, host: str) -> None:
    async with Outgoing().opened() as calls:
        for scheme in ("http", "https"):
            with pytest.raises((Refused, Failed)):
                await calls.call("POST", f"{scheme}://{host}:{receiver.port}/x", body=b"secret")
    assert receiver.asked == []


async def test_a_name_that_stands_for_this_machine_is_refused(receiver: Receiver) -> None:
    names = Names(evil=["127.0.0.1"], mapped=["::ffff:127.0.0.1"])
    async with Outgoing(resolver=names).opened() as calls:
        for name in ("evil", "mapped"):
            with pytest.raises(Refused):
                await calls.call("GET", f"https://{name}.test:{receiver.port}/")
    assert receiver.asked == []


async def test_a_name_that_changes_its_mind_is_refused(receiver: Receiver) -> None:
    """Rebinding: harmless when somebody looks, this machine when it is called."""
    names = Names(rebound=["93.184.215.14", "127.0.0.1"])
    looked = await names.resolve("rebound.test")
    assert is_open(looked[0]["host"])
    async with Outgoing(resolver=names).opened() as calls:
        with pytest.raises(Refused):
            await calls.call("GET", f"https://rebound.test:{receiver.port}/")
    assert receiver.asked == []


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "gopher://x/", "ftp://example.org/", "https://", "//x", "x"),
        *("https://user:word@example.org/", "https://example.org:99999/", "https://["),
    ],
)
async def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    async with Outgoing().opened() as calls:
        with pytest.raises(Refused):
            await calls.call("GET", url)


async def test_calls_without_encryption_go_to_allowed_networks_alone(receiver: Receiver) -> None:
    names = Names(open=["93.184.215.14"])
    async with Outgoing(LOOPBACK, resolver=names).opened() as calls:
        with pytest.raises(Refused):
            await calls.call("GET", "http://open.test/")


async def test_an_allowed_network_is_called(receiver: Receiver) -> None:
    async with Outgoing(LOOPBACK).opened() as calls:
        url = f"http://127.0.0.1:{receiver.port}/hook"
        answer = await calls.call("POST", url, headers={"X-Id": "1"}, body=b"{}")
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers["x-said"] == "yes"
    assert receiver.asked == ["POST /hook {}"]


async def test_a_redirect_is_an_answer_and_not_followed(receiver: Receiver) -> None:
    async with Outgoing(LOOPBACK).opened() as calls:
        answer = await calls.call("GET", f"http://127.0.0.1:{receiver.port}/away")
    assert answer.status == 302
    assert receiver.asked == ["GET /away"]


async def test_an_answer_has_a_limit_of_size_and_of_time(receiver: Receiver) -> None:
    async with Outgoing(LOOPBACK, seconds=0.3, most_bytes=4096).opened() as calls:
        with pytest.raises(TooLarge):
            await calls.call("GET", f"http://127.0.0.1:{receiver.port}/large")
        with pytest.raises(Failed):
            await calls.call("GET", f"http://127.0.0.1:{receiver.port}/never")


async def test_the_environments_proxy_is_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{receiver.port}")
    names = Names(evil=["127.0.0.1"])
    async with Outgoing(resolver=names).opened() as calls:
        with pytest.raises(Refused):
            await calls.call("GET", "https://evil.test/")
    assert receiver.asked == []
