"""The shared cache on Redis: values in hashes, and scripts that decide in one step.

Owns the keys and the scripts. Beside each kind's own keys (``projections.caching.Kind``)::

    cache:state     sorted set of numbers: epoch, start and position, from where to where it was
                    told, and for each kind and person, ``profile:{user}``, the last event that
                    made it void
    <key>           hash: e epoch, f position and b basis of the stamp, v the value, sealed
    <key>:lease     who reads the value now

An event that makes a value void deletes it, if it was read before; what is stored is therefore the
truth up to the later of its stamp and of what was told. A value that comes to be stored is refused
if an event after its stamp made it void, or if that is not known any more: only of the last
``remember`` events it is, and ``start`` tells from where. The whole state is one key without an
end, so that nothing of it can be thrown away alone. Without it nothing is kept or given, and
epochs are random: after a loss nothing from before it fits.

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
REMEMBER = 20_000
"""Events of which it is known what they made void; a value that took longer is not kept."""
_STATE = "cache:state"

# KEYS: value, state, lease. ARGV: needed, basis, caller, milliseconds of the lease.
_FETCH = """
local epoch = redis.call('ZSCORE', KEYS[2], 'epoch')
if not epoch then return {'off'} end
local kept = redis.call('HMGET', KEYS[1], 'e', 'f', 'b', 'v')
if kept[4] and kept[1] == epoch and kept[3] == ARGV[2] then
    local told = tonumber(redis.call('ZSCORE', KEYS[2], 'position'))
    local at = math.max(tonumber(kept[2]), told)
    if at >= tonumber(ARGV[1]) then return {'kept', kept[4], at, epoch} end
end
if redis.call('SET', KEYS[3], ARGV[3], 'NX', 'PX', ARGV[4]) then return {'mine', epoch} end
return {'wait', epoch}
"""
# KEYS: likewise. ARGV: kind and person, epoch, position, basis, value, seconds to live, caller.
_FILL = """
if redis.call('GET', KEYS[3]) == ARGV[7] then redis.call('DEL', KEYS[3]) end
if redis.call('ZSCORE', KEYS[2], 'epoch') ~= ARGV[2] then return 0 end
local at = tonumber(ARGV[3])
if at < tonumber(redis.call('ZSCORE', KEYS[2], 'start')) then return 0 end
if at < tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0') then return 0 end
local kept = redis.call('HMGET', KEYS[1], 'e', 'f', 'b')
if kept[1] == ARGV[2] and kept[3] == ARGV[4] and tonumber(kept[2]) > at then return 0 end
redis.call('HSET', KEYS[1], 'e', ARGV[2], 'f', ARGV[3], 'b', ARGV[4], 'v', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 1
"""
# KEYS: state, then the values of each that is told. ARGV: after, to, how many events to remember,
# then for each kind and person, position, and how many values.
_TELL = """
local at = redis.call('ZSCORE', KEYS[1], 'position')
if not at or tonumber(at) ~= tonumber(ARGV[1]) then return at end
local key, arg = 2, 4
while arg <= #ARGV do
    local position = tonumber(ARGV[arg + 1])
    if position > tonumber(redis.call('ZSCORE', KEYS[1], ARGV[arg]) or '0') then
        redis.call('ZADD', KEYS[1], ARGV[arg + 1], ARGV[arg])
    end
    for value = key, key + tonumber(ARGV[arg + 2]) - 1 do
        local read = redis.call('HGET', KEYS[value], 'f')
        if read and tonumber(read) < position then redis.call('DEL', KEYS[value]) end
    end
    key, arg = key + tonumber(ARGV[arg + 2]), arg + 3
end
local start = tonumber(ARGV[2]) - tonumber(ARGV[3])
if start > tonumber(redis.call('ZSCORE', KEYS[1], 'start')) then
    local epoch = redis.call('ZSCORE', KEYS[1], 'epoch')
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', start)
    redis.call('ZADD', KEYS[1], epoch, 'epoch', start, 'start')
end
redis.call('ZADD', KEYS[1], ARGV[2], 'position')
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
        self,
        client: redis.Redis,
        kinds: Sequence[Kind],
        sealer: Sealer | None = None,
        *,
        remember: int = REMEMBER,
    ) -> None:
        self._client: Any = client
        self._remember = remember
        self._kinds = kinds
        self._sealer = sealer
        self._fetch = client.register_script(_FETCH)
        self._fill = client.register_script(_FILL)
        self._tell = client.register_script(_TELL)

    async def fetch(self, place: Place, needed: int, basis: str, lease: str) -> Kept | Missed:
        """One script."""
        assert self._sealer is not None
        keys = _keys(place)
        answer = await _asked(self._fetch(keys, (needed, basis, lease, int(LEASE * 1000))))
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
        whose = _void(place.kind, place.user_id)
        values = (whose, stamp.epoch, stamp.position, stamp.basis, sealed, lifetime, lease)
        return bool(await _asked(self._fill(keys, values)))

    async def reached(self) -> int | None:
        """A member of the state."""
        found = await _asked(self._client.zscore(_STATE, "position"))
        return None if found is None else int(found)

    async def void(self, after: int, to: int, voided: Sequence[Voided]) -> int | None:
        """One script for all of them."""
        keys, values = [_STATE], [str(after), str(to), str(self._remember)]
        for kind, user_id, position in voided:
            keys.extend(kind.key_of(user_id, part) for part in kind.parts)
            values += [_void(kind, user_id), str(position), str(len(kind.parts))]
        reached = await _asked(self._tell(keys, values))
        return None if reached is None else int(reached)

    async def restart(self, position: int) -> None:
        """Another epoch."""
        state = {"epoch": secrets.randbelow(10**15), "start": position, "position": position}
        pipeline = self._client.pipeline(transaction=True)
        pipeline.delete(_STATE)
        pipeline.zadd(_STATE, state)
        await _asked(pipeline.execute())

    async def forget(self, user_id: UUID) -> int:
        """Values go at once, and no event is late enough for another to be kept."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.zadd(_STATE, {_void(kind, user_id): NEVER for kind in self._kinds})
        pipeline.delete(
            *(kind.key_of(user_id, part) for kind in self._kinds for part in kind.parts)
        )
        _, deleted = await _asked(pipeline.execute())
        return int(deleted)


class KeptAnswers:
    """What the cache holds of a person, to be erased (``workers.erasure.Erasable``)."""

    name = "cache"

    def __init__(self, forget: Callable[[UUID], Coroutine[Any, Any, int]]) -> None:
        self._forget = forget

    async def erase(self, person: Person, operation_id: UUID) -> int:
        """How many answers there were."""
        return await self._forget(person.id)


def _keys(place: Place) -> tuple[str, str, str]:
    key = place.kind.key_of(place.user_id, place.part)
    return key, _STATE, f"{key}:lease"


def _void(kind: Kind, user_id: UUID) -> str:
    return f"{kind.name}:{user_id}"


async def _asked(question: Any) -> Any:
    try:
        return await question
    except (RedisError, OSError, TimeoutError) as error:
        raise CacheAway(type(error).__name__) from error
