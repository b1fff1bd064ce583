"""Calls to addresses that somebody else chose: webhooks, pictures, whatever a person may name.

The danger is that they name us: a service on this machine or network, or the address from which a
cloud gives out credentials. So every connection is looked at when it is made, by the address that
is connected to and not by the name: what a name stood for a moment ago does not count, which is
how names are rebound, and every spelling of an address comes to the same one. Redirects are not
followed, proxies of the environment are not used, cookies are not kept; the whole call has a limit
of time and the answer one of size.

Owns those rules. What is sent, and whether it is tried again, is the caller's.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import aiohttp
import msgspec
from yarl import URL

SECONDS = 10.0
MOST_BYTES = 1024 * 1024

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_FOR_US = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32"),
        *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
"""Addresses that are no machine's on the open network: IANA's registries of special purpose."""
_NAT64 = ip_network("64:ff9b::/96")
_6TO4 = ip_network("2002::/16")
_COMPATIBLE = ip_network("::/96")


class Refused(Exception):
    """The call may not be made: the address, the scheme or the like is not for outgoing calls."""


class TooLarge(Exception):
    """The answer is longer than what is read of one."""


class Failed(Exception):
    """No answer: not reached, broken off, or too slow."""


class Answered(msgspec.Struct, frozen=True):
    """An answer; a redirect is one like any other. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def meant(address: Address) -> Address:
    """The address that is reached by it: IPv4 within IPv6 is IPv4."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _6TO4:
            return IPv4Address(int.from_bytes(address.packed[2:6], "big"))
        if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
            return IPv4Address(int.from_bytes(address.packed[12:], "big"))
    return address


def is_open(address: str) -> bool:
    """Whether an address is one of the open network."""
    try:
        found = meant(ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    return found.is_global and not any(found in network for network in _NOT_FOR_US)


class Outgoing:
    """Makes calls to the open network.

    ``allow`` are networks of our own that may be called all the same, plain HTTP included: for
    tests, and for a receiver that stands on the same network on purpose.
    """

    def __init__(
        self,
        allow: Iterable[str] = (),
        *,
        seconds: float = SECONDS,
        most_bytes: int = MOST_BYTES,
        resolver: aiohttp.abc.AbstractResolver | None = None,
    ) -> None:
        """Take the networks that are allowed.

        Raises:
            ValueError: one of them is neither an address nor a CIDR.
        """
        self._allowed = tuple(ip_network(text, strict=False) for text in allow)
        self._seconds = seconds
        self._most = most_bytes
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Outgoing]:
        """Ready for calls as long as the context lasts."""
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,
            force_close=True,
            socket_factory=self._socket,
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,  # a small answer must not become a large one
            timeout=aiohttp.ClientTimeout(total=self._seconds),
        ) as session:
            self._session = session
            try:
                yield self
            finally:
                self._session = None

    async def call(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answered:
        """Make one call and read its answer.

        Raises:
            Refused: it is not allowed; nothing was sent.
            TooLarge: the answer is; it was sent.
            Failed: there was no answer; it may have been sent.
        """
        target = self._checked(url)
        _plain.set(target.scheme == "http")
        assert self._session is not None, "calls are made while it is opened"
        try:
            async with self._session.request(
                method, target, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                return Answered(
                    answer.status,
                    {name.lower(): value for name, value in answer.headers.items()},
                    await self._read(answer),
                )
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _Closed):
                raise Refused("this address is not on the open network") from None
            raise Failed(type(error).__name__) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Failed(type(error).__name__) from None

    def _checked(self, url: str) -> URL:
        try:
            target = URL(url)
            port, host = target.port, target.host
        except ValueError:
            raise Refused("this is no URL") from None
        if target.scheme not in ("https", "http") or not host or port is None:
            raise Refused("only https is called")
        if target.user is not None or target.password is not None:
            raise Refused("credentials do not belong into a URL")
        return target

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in answer.content.iter_chunked(65_536):
            size += len(part)
            if size > self._most:
                raise TooLarge(f"more than {self._most} bytes")
            parts.append(part)
        return b"".join(parts)

    def _socket(self, info: Any) -> socket.socket:
        """A socket for one address, the very one that will be connected to."""
        family, kind, protocol, _, address = info
        bare = ip_address(address[0].partition("%")[0])
        allowed = any(bare in network for network in self._allowed)
        if not allowed and (_plain.get() or not is_open(address[0])):
            raise _Closed("not on the open network")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


_plain: ContextVar[bool] = ContextVar("plain", default=True)
"""Whether the call that is being made is not encrypted: such calls go to allowed networks alone."""


class _Closed(OSError):
    """No connection is made to this address."""
