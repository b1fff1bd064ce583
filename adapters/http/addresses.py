"""Whose address a request has: the peer's, or the forwarded one where the peer is a known proxy.

Owns the reading of ``X-Forwarded-For``, which anybody can write: an entry counts only if the
proxy to its right is trusted.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

UNIX = "unix"
"""The name by which a setting trusts peers on a Unix socket."""


class Addresses:
    """Finds the client behind trusted proxies: addresses, networks, or ``unix``."""

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        """Take the proxies to trust.

        Raises:
            ValueError: one of them is neither an address, a network nor ``unix``.
        """
        names = tuple(trusted_proxies)
        self._unix = UNIX in names
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(name, strict=False) for name in names if name != UNIX
        )
        self._of = lru_cache(4096)(self._find)

    def of(self, peer: str | None, forwarded: bytes | None) -> str | None:
        """The client's address; None where only a Unix socket is known."""
        return self._of(peer or None, forwarded)

    def _find(self, peer: str | None, forwarded: bytes | None) -> str | None:
        client = peer
        hops = forwarded.decode("latin-1").split(",") if forwarded else []
        while hops and self.trusts(client):
            hop = _canonical(hops.pop().strip())
            if hop is None:
                break
            client = hop
        return client

    def trusts(self, peer: str | None) -> bool:
        """Whether this peer, by its address (None for a Unix socket), is a known proxy."""
        if not peer:
            return self._unix
        try:
            address = ip_address(peer)
        except ValueError:  # a Unix socket's path, as some servers give it
            return self._unix
        return any(address in network for network in self._networks)


def _canonical(text: str) -> str | None:
    """The address without a port or brackets; None where it is not one."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


@lru_cache(4096)
def counted_as(address: str | None) -> str:
    """What a rate limit counts: an IPv4 address, or the /64 that one IPv6 client has."""
    if address is None:
        return "local"
    try:
        parsed = ip_address(address)
    except ValueError:
        return "local"
    if parsed.version == 6:
        return str(ip_network((parsed, 64), strict=False))
    return address
