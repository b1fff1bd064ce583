"""Who sent a request, by ``X-API-Key``: ``adapters.http.principal.Authenticator`` for keys.

A key acts for its maker: it may what both of them may. What is known of it is remembered by the
key's hash and forgotten when ``standing`` hears that its stream or its maker's has moved on. What
depends on the request alone, its address and its origin, is checked each time.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol
from uuid import UUID

import msgspec

from adapters.authentication import check_open
from adapters.http.context import unauthenticated
from adapters.http.principal import Headers, KeyRules, Principal
from adapters.http.problems import Problem
from adapters.keys import MonthlyQuota, PostgresKeys, Uses, hash_of, month_of
from adapters.standing import Closed
from commands.ports import A
from domain.accounts.events import Conditions
from domain.accounts.key import ApiKey
from domain.accounts.person import Person
from domain.event import Recorded

REMEMBERED = 300.0
"""Seconds after which a key is looked up again even though nothing was heard of it."""
_LONGEST = 256


class Streams(Protocol):
    """Reads streams; ``adapters.event_store.store.PostgresEventStore`` does.

    Not its snapshots, which the read API may not see: these streams are short.
    """

    async def read(self, stream_id: str, *, after: int = 0) -> Sequence[Recorded]:
        """The stream's events in order."""
        ...


class _Known(msgspec.Struct, frozen=True):
    """A key that was looked up: good until ``until`` (Unix time), from ``networks`` if any."""

    principal: Principal
    until: float
    networks: tuple[IPv4Network | IPv6Network, ...]
    origins: frozenset[bytes]


class KeyAuthenticator:
    """Checks API keys; ``size`` of them are remembered at most."""

    def __init__(
        self,
        keys: PostgresKeys,
        streams: Streams,
        uses: Uses,
        closed: Mapping[UUID, Closed],
        *,
        size: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._streams = streams
        self._uses = uses
        self._closed = closed
        self._size = size
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._subjects: dict[UUID, set[bytes]] = {}
        self._moved = 0

    def cached(self, headers: Headers) -> Principal | None:
        """The principal of a key that is known and may be used from anywhere."""
        raw = headers.get(b"x-api-key")
        if raw is None:
            return None
        known = self._known.get(hash_of(raw))
        if (
            known is None
            or known.networks
            or (known.origins and b"origin" in headers)
            or known.until <= self._clock()
            or (self._closed and known.principal.tenant_id in self._closed)
        ):
            return None
        return known.principal

    async def authenticate(self, headers: Headers, client: str | None) -> Principal:
        """Look the key up, and check where it is used from.

        Raises:
            Problem: 401 where it is unknown, expired, inactive, suspended or deleted; 403 from an
                address or an origin that it does not list, or while its tenant is suspended.
        """
        raw = headers.get(b"x-api-key", b"")
        key_hash = hash_of(raw)
        known = self._known.get(key_hash)
        if known is None or known.until <= self._clock():
            self._drop(key_hash)
            known = await self._look_up(raw, key_hash)
        check_open(self._closed, known.principal.tenant_id)
        if known.networks and not _within(client, known.networks):
            raise Problem("FORBIDDEN", "The key may not be used from this address.")
        origin = headers.get(b"origin")
        if known.origins and origin is not None and origin not in known.origins:
            raise Problem("FORBIDDEN", "The key may not be used from this origin.")
        return known.principal

    def forget(self, subject: UUID) -> None:
        """Look again at this key, or at all keys of this person, when they are next used."""
        self._moved += 1
        for key_hash in self._subjects.pop(subject, ()):
            self._known.pop(key_hash, None)

    async def _look_up(self, raw: bytes, key_hash: bytes) -> _Known:
        now, moved = self._clock(), self._moved
        found = None
        if len(raw) <= _LONGEST:
            found = await self._keys.find(key_hash, month_of(now)[0])
        if found is None:
            raise unauthenticated(detail="The API key is not known.")
        key = await self._fold(ApiKey, ApiKey.stream(found.key_id))
        at = datetime.fromtimestamp(now, UTC)
        state = "deleted" if key is None else key.state_at(at)
        if key is None or state == "deleted":
            raise unauthenticated(detail="The API key is not known.")
        if state != "active":
            raise unauthenticated(detail=f"The API key is {state}.")
        person = await self._fold(Person, Person.stream(key.user_id))
        if person is None or person.deleted_at is not None:
            raise unauthenticated(detail="The API key is not known.")
        until = now + REMEMBERED
        if key.expires_at is not None:
            until = min(until, key.expires_at.timestamp())
        known = _Known(
            principal=self._principal(key, person, found.uses, now),
            until=until,
            networks=tuple(ip_network(text, strict=False) for text in key.allowed_addresses),
            origins=frozenset(origin.encode() for origin in key.allowed_origins),
        )
        if moved == self._moved:  # else it may be of before what has just happened
            self._remember(key_hash, known, key)
        return known

    async def _fold(self, aggregate: type[A], stream_id: str) -> A | None:
        """The aggregate; None where there is none, or where its person was erased."""
        state: A | None = None
        for recorded in await self._streams.read(stream_id):
            if recorded.erased:  # of what bound the key nothing is left, its lists included
                return None
            state = aggregate.evolve(state, recorded)
        return state

    def _principal(self, key: ApiKey, person: Person, uses: int, now: float) -> Principal:
        rights = set(person.permissions)
        always: set[str] = set()
        conditional: dict[str, tuple[Conditions, ...]] = {}
        for one in key.permissions:
            if one.permission not in rights:
                continue
            if one.conditions is None:
                always.add(one.permission)
            else:
                before = conditional.get(one.permission, ())
                conditional[one.permission] = (*before, one.conditions)
        use = self._uses.of(key.id, uses, now)
        quota = None if key.monthly_quota is None else MonthlyQuota(use, key.monthly_quota)
        return Principal(
            user_id=key.user_id,
            tenant_id=key.tenant_id,
            login_id=None,
            api_key_id=key.id,
            tier=person.tier,
            permissions=frozenset(always),
            key=KeyRules(
                per_minute=key.limit_per_minute,
                per_hour=key.limit_per_hour,
                quota=quota,
                origins=frozenset(origin.encode() for origin in key.allowed_origins),
                conditional=conditional,
                used=lambda: self._uses.note(use),
            ),
        )

    def _remember(self, key_hash: bytes, known: _Known, key: ApiKey) -> None:
        self._known[key_hash] = known
        for subject in (key.id, key.user_id):
            self._subjects.setdefault(subject, set()).add(key_hash)
        while len(self._known) > self._size:
            self._drop(next(iter(self._known)))

    def _drop(self, key_hash: bytes) -> None:
        known = self._known.pop(key_hash, None)
        if known is None:
            return
        for subject in (known.principal.api_key_id, known.principal.user_id):
            if subject is not None and subject in self._subjects:
                self._subjects[subject].discard(key_hash)
                if not self._subjects[subject]:
                    del self._subjects[subject]


def _within(client: str | None, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(client or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
