"""The shared cache on Redis: values in hashes, and scripts that decide in one step.

Owns the keys and the scripts. Beside each kind's own keys (``projections.caching.Kind``)::

    cache:state          hash: epoch, start and position: from where to where it was told
    cache:void:{user}    hash: for each kind the position of the last event that made it void
    <key>                hash: e epoch, f position and b basis of the stamp, v the value, sealed
    <key>:lease          who reads the value now

A value is the truth up to the later of its stamp and of what the cache was told, unless an event
after its stamp made it void. What happened before ``start`` the cache was not told: a value that
was read before is good for its stamp's position only. Epochs are random: after a loss nothing from
before it fits.

Values are sealed under the master key, bound to their place: a copy of Redis's memory shows
nobody's words, and nobody's value can be shown to another.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol
from uuid import UUID

import redis.asyncio as redis
from redis.exceptions import RedisError

from adapters.sealing import Unsealable
from domain.accounts.person import Person
from projections.caching import (
    NEVER,
    CacheAway,
    Kept,
    Kind,
    Missed,
    Place,
    Stamp,
    Voided,
)

LEASE = 0.5
"""Seconds for which one process is left to read a value; then another may."""
_STATE = "cache:state"
_VOID = "cache:void:{}"

# KEYS: value, voids, state, lease. ARGV: kind, needed, basis, caller, milliseconds of the lease.
_FETCH = """
local state = redis.call('HMGET', KEYS[3], 'epoch', 'start', 'position')
if not state[1] then return {'off'} end
local kept = redis.call('HMGET', KEYS[1], 'e', 'f', 'b', 'v')
if kept[4] and kept[1] == state[1] and kept[3] == ARGV[3] then
    local at = tonumber(kept[2])
    local void = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
    if void <= at then
        if at >= tonumber(state[2]) then at = math.max(at, tonumber(state[3])) end
        if at >= tonumber(ARGV[2]) then return {'kept', kept[4], at, state[1]} end
    end
end
if redis.call('SET', KEYS[4], ARGV[4], 'NX', 'PX', ARGV[5]) then return {'mine', state[1]} end
return {'wait', state[1]}
"""
# KEYS: likewise. ARGV: kind, epoch, position, basis, value, seconds to live, caller.
_FILL = """
if redis.call('GET', KEYS[4]) == ARGV[7] then redis.call('DEL', KEYS[4]) end
if redis.call('HGET', KEYS[3], 'epoch') ~= ARGV[2] then return 0 end
local void = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
if void > tonumber(ARGV[3]) then return 0 end
local kept = redis.call('HMGET', KEYS[1], 'e', 'f', 'b')
if kept[1] == ARGV[2] and kept[3] == ARGV[4] and tonumber(kept[2]) > tonumber(ARGV[3]) then
    return 0
end
redis.call('HSET', KEYS[1], 'e', ARGV[2], 'f', ARGV[3], 'b', ARGV[4], 'v', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 1
"""
# KEYS: state, then for each of those told its voids and its values. ARGV: after, to, then for each
# its kind, its position, how many values and for how many seconds this must be known.
_TELL = """
local at = redis.call('HGET', KEYS[1], 'position')
if at ~= ARGV[1] then return at end
local key, arg = 2, 3
while arg <= #ARGV do
    local kind, position, values, lifetime = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3]
    local void = tonumber(redis.call('HGET', KEYS[key], kind) or '0')
    if tonumber(position) > void then
        redis.call('HSET', KEYS[key], kind, position)
        if redis.call('TTL', KEYS[key]) < tonumber(lifetime) then
            redis.call('EXPIRE', KEYS[key], lifetime)
        end
    end
    for value = key + 1, key + tonumber(values) do
        local read = redis.call('HGET', KEYS[value], 'f')
        if read and tonumber(read) < tonumber(position) then redis.call('DEL', KEYS[value]) end
    end
    key, arg = key + 1 + tonumber(values), arg + 4
end
redis.call('HSET', KEYS[1], 'position', ARGV[2])
return ARGV[2]
"""


class Sealer(Protocol):
    """Encrypts under the master key; ``adapters.sealing.Sealer`` is one."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt; ``context`` is authenticated and must be given again to open."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what ``seal`` made."""
        ...


class RedisCache:
    """``projections.caching.Cache``; ``kinds`` are all that there are.

    ``client`` gives up by itself: it has timeouts. Where nothing is read or filled, as in the
    projector, it needs no ``sealer``.
    """

    def __init__(
        self, client: redis.Redis, kinds: Sequence[Kind], sealer: Sealer | None = None
    ) -> None:
        self._client: Any = client
        self._kinds = kinds
        self._sealer = sealer
        self._fetch = client.register_script(_FETCH)
        self._fill = client.register_script(_FILL)
        self._tell = client.register_script(_TELL)

    async def fetch(self, place: Place, needed: int, basis: str, lease: str) -> Kept | Missed:
        """One script."""
        assert self._sealer is not None
        keys = _keys(place)
        answer = await _asked(
            self._fetch(keys, (place.kind.name, needed, basis, lease, int(LEASE * 1000)))
        )
        match answer:
            case [b"kept", sealed, position, epoch]:
                try:
                    value = self._sealer.open(sealed, keys[0].encode())
                except Unsealable:
                    return Missed(epoch.decode(), mine=True)
                return Kept(value, int(position), epoch.decode())
            case [b"mine" | b"wait" as whose, epoch]:
                return Missed(epoch.decode(), mine=whose == b"mine")
            case _:
                return Missed(None, mine=True)

    async def fill(self, place: Place, stamp: Stamp, value: bytes, lease: str) -> bool:
        """One script."""
        assert self._sealer is not None
        keys = _keys(place)
        sealed = self._sealer.seal(value, keys[0].encode())
        lifetime = place.kind.lifetime
        values = (
            place.kind.name, stamp.epoch, stamp.position, stamp.basis, sealed, lifetime, lease
        )  # fmt: skip
        return bool(await _asked(self._fill(keys, values)))

    async def reached(self) -> int | None:
        """A field of the state."""
        found = await _asked(self._client.hget(_STATE, "position"))
        return None if found is None else int(found)

    async def void(self, after: int, to: int, voided: Sequence[Voided]) -> int | None:
        """One script for all of them."""
        keys, values = [_STATE], [str(after), str(to)]
        for kind, user_id, position in voided:
            keys.append(_VOID.format(user_id))
            keys.extend(kind.key_of(user_id, part) for part in kind.parts)
            values += [kind.name, str(position), str(len(kind.parts)), str(kind.lifetime)]
        reached = await _asked(self._tell(keys, values))
        return None if reached is None else int(reached)

    async def restart(self, position: int) -> None:
        """Another epoch."""
        state = {"epoch": secrets.token_hex(8), "start": position, "position": position}
        await _asked(self._client.hset(_STATE, mapping=state))

    async def forget(self, user_id: UUID) -> int:
        """Values go at once; that none may come again is known for longer than any could live."""
        pipeline = self._client.pipeline(transaction=True)
        never: dict[str, int] = {kind.name: NEVER for kind in self._kinds}
        pipeline.hset(_VOID.format(user_id), mapping=never)
        pipeline.expire(_VOID.format(user_id), max(kind.lifetime for kind in self._kinds))
        pipeline.delete(
            *(kind.key_of(user_id, part) for kind in self._kinds for part in kind.parts)
        )
        *_, deleted = await _asked(pipeline.execute())
        return int(deleted)


class KeptAnswers:
    """What the cache holds of a person, to be erased (``workers.erasure.Erasable``)."""

    name = "cache"

    def __init__(self, forget: Callable[[UUID], Coroutine[Any, Any, int]]) -> None:
        self._forget = forget

    async def erase(self, person: Person, operation_id: UUID) -> int:
        """How many answers there were."""
        return await self._forget(person.id)


def _keys(place: Place) -> tuple[str, str, str, str]:
    key = place.kind.key_of(place.user_id, place.part)
    return key, _VOID.format(place.user_id), _STATE, f"{key}:lease"


async def _asked(question: Any) -> Any:
    try:
        return await question
    except (RedisError, OSError, TimeoutError) as error:
        raise CacheAway(type(error).__name__) from error
