"""What proves an API key, and how often each was used, in tables of the write database.

``commands.keys.KeySecrets``, and what ``key_authentication`` asks. A key is 256 random bits, so
that its plain SHA-256 is enough to know it by; it is looked up by that hash and never compared.
Uses are counted in memory and written twice a second: a process that is killed forgets half a
second of them. Times and months are in UTC.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import msgspec
import psycopg
import structlog

from adapters.postgres.pipeline import Pipeline, Statement
from adapters.postgres.reader import SET_USER
from commands.keys import NewKey
from domain.accounts.key import PREFIX_LENGTH

log = structlog.get_logger()

CHANNEL = "mindstream_access"
"""Where it is told that keys or tenants changed; the payload says nothing."""
WRITE_EVERY = 0.5
"""Seconds between two writes of what was used."""
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"

KEEP = Statement(
    "accounts_keep_key",
    "INSERT INTO accounts_key_hashes (key_id, user_id, hash) VALUES ($1, $2, $3)",
    ("uuid", "uuid", "bytea"),
)
FORGET = Statement(
    "accounts_forget_key", "DELETE FROM accounts_key_hashes WHERE key_id = $1", ("uuid",)
)
SWEEP = Statement(
    "accounts_sweep_keys",
    """
    WITH gone AS (
        DELETE FROM accounts_key_hashes h
        WHERE h.created_at < $1 AND NOT EXISTS (
            SELECT 1 FROM events e WHERE e.stream_id = 'accounts.key-' || h.key_id)
        RETURNING 1)
    SELECT count(*) FROM gone
    """,
    ("timestamptz",),
)
TELL = Statement("accounts_tell_access", "SELECT pg_notify('mindstream_access', '')", ())
KEY_OF = Statement(
    "accounts_key_of", "SELECT key_id, uses FROM accounts_key_of($1, $2)", ("bytea", "date")
)
COUNT = Statement(
    "accounts_count_key_uses",
    "SELECT key_id, month, uses FROM accounts_count_key_uses($1, $2, $3, now())",
    ("uuid[]", "date[]", "int8[]"),
)
LAST_USED = Statement(
    "accounts_keys_last_used",
    "SELECT key_id, max(last_used_at) FROM accounts_key_uses"
    " WHERE user_id = $1 AND key_id = ANY ($2) GROUP BY key_id",
    ("uuid", "uuid[]"),
)
ORIGINS = Statement("accounts_key_origins", "SELECT origin FROM accounts_key_origins()", ())


def hash_of(key: bytes) -> bytes:
    """The hash by which a key is known."""
    return sha256(key).digest()


class Found(msgspec.Struct, frozen=True):
    """The key that a hash belongs to, and how often it was used in the month asked for."""

    key_id: UUID
    uses: int


class PostgresKeys:
    """Keys in tables. As ``mindstream_read`` only what reads and ``count`` are allowed."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def draw(self) -> NewKey:
        """A new key: its prefix is no part of what is random and secret."""
        prefix = "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX_LENGTH))
        key = f"ms_{prefix}_{secrets.token_urlsafe(32)}"
        return NewKey(key, prefix, hash_of(key.encode()))

    async def keep(self, key_id: UUID, user_id: UUID, key_hash: bytes) -> None:
        """Keep the hash of a key."""
        await self._pipeline.run((KEEP, (key_id, user_id, key_hash)))

    async def forget(self, key_id: UUID) -> None:
        """Forget a key, and its uses."""
        await self._pipeline.run((FORGET, (key_id,)))

    async def sweep(self, before: datetime) -> int:
        """Forget keys of before that moment that came to nothing; how many there were."""
        [rows] = await self._pipeline.run((SWEEP, (before,)))
        return int(rows[0][0])

    async def changed(self) -> None:
        """Tell every process; those that miss it find out by polling."""
        with contextlib.suppress(psycopg.Error):
            await self._pipeline.run((TELL, ()))

    async def find(self, key_hash: bytes, month: date) -> Found | None:
        """The key with this hash."""
        [rows] = await self._pipeline.run((KEY_OF, (key_hash, month)))
        return Found(*rows[0]) if rows else None

    async def count(self, uses: Iterable[tuple[UUID, date, int]]) -> list[tuple[UUID, date, int]]:
        """Add uses of keys in months; the totals, of all processes, of keys that still are."""
        ids, months, counts = map(list, zip(*uses, strict=True))
        [rows] = await self._pipeline.run((COUNT, (ids, months, counts)))
        return [(key_id, month, total) for key_id, month, total in rows]

    async def last_used(self, user_id: UUID, ids: list[UUID]) -> dict[UUID, datetime]:
        """When each of this person's keys was last used; those that never were are left out."""
        if not ids:
            return {}
        _, rows = await self._pipeline.run((SET_USER, (str(user_id),)), (LAST_USED, (user_id, ids)))
        return dict(rows)


class KeyOrigins:
    """The origins that keys list, from the read model."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def origins(self) -> frozenset[bytes]:
        """Every origin that an active key lists."""
        [rows] = await self._pipeline.run((ORIGINS, ()))
        return frozenset(row[0].encode() for row in rows)


def month_of(now: float) -> tuple[date, float]:
    """The month of a Unix time, by its first day, and the time at which it ends."""
    first = datetime.fromtimestamp(now, UTC).date().replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    ends = datetime(following.year, following.month, 1, tzinfo=UTC).timestamp()
    return first, ends


class Use:
    """How often one key was used this month: as last heard of all processes, and since."""

    __slots__ = ("ends", "key_id", "month", "total", "unsent")

    def __init__(self, key_id: UUID, month: date, ends: float, total: int) -> None:
        self.key_id = key_id
        self.month = month
        self.ends = ends
        self.total = total
        self.unsent = 0


class MonthlyQuota:
    """``adapters.http.principal.Quota`` of one key."""

    def __init__(self, use: Use, limit: int) -> None:
        self._use = use
        self.limit = limit

    def left(self, now: float) -> int:
        """Calls that may still be made this month."""
        use = self._use
        return self.limit if now >= use.ends else max(0, self.limit - use.total - use.unsent)

    def reset_seconds(self, now: float) -> int:
        """Seconds until the month is over."""
        ends = self._use.ends
        return math.ceil((ends if now < ends else month_of(now)[1]) - now)


class Uses:
    """Counts uses in this process; ``run`` writes them down and hears what others counted."""

    def __init__(self, keys: PostgresKeys) -> None:
        self._keys = keys
        self._uses: dict[UUID, Use] = {}
        self._dirty: dict[UUID, Use] = {}
        self._over: list[tuple[UUID, date, int]] = []

    def of(self, key_id: UUID, total: int, now: float) -> Use:
        """The count of a key whose uses this month were ``total`` in the table a moment ago."""
        month, ends = month_of(now)
        use = self._uses.get(key_id)
        if use is None:
            use = self._uses[key_id] = Use(key_id, month, ends, total)
        elif use.month == month:
            use.total = max(use.total, total)
        return use

    def note(self, use: Use) -> None:
        """Count one use, now."""
        now = time.time()
        if now >= use.ends:
            if use.unsent:
                self._over.append((use.key_id, use.month, use.unsent))
            use.month, use.ends = month_of(now)
            use.total = use.unsent = 0
        use.unsent += 1
        self._dirty[use.key_id] = use

    async def run(self, stop: asyncio.Event) -> None:
        """Write twice a second until ``stop`` is set, and once more."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WRITE_EVERY)
            await self.write()

    async def write(self) -> None:
        """Write what was counted since the last time; an error leaves it for the next."""
        if not self._dirty and not self._over:
            return
        batch, self._dirty = self._dirty, {}
        over, self._over = self._over, []
        sent = [(use, use.month, use.unsent) for use in batch.values()]
        for use, _, count in sent:
            use.unsent = 0
            use.total += count  # as if it were in the table, so that no quota opens meanwhile
        rows = [*over, *((use.key_id, month, count) for use, month, count in sent)]
        try:
            async with asyncio.timeout(5):
                totals = await self._keys.count(_merged(rows))
        except (psycopg.Error, OSError, TimeoutError) as error:
            log.warning("key_uses_not_written", reason=type(error).__name__)
            self._over += over
            for use, month, count in sent:
                if use.month == month:
                    use.total -= count
                    use.unsent += count
                    self._dirty[use.key_id] = use
                else:
                    self._over.append((use.key_id, month, count))
            return
        for key_id, month, total in totals:
            known = self._uses.get(key_id)
            if known is not None and known.month == month:
                known.total = total


def _merged(rows: Iterable[tuple[UUID, date, int]]) -> list[tuple[UUID, date, int]]:
    """One row for each key and month, as an upsert takes them."""
    counts: dict[tuple[UUID, date], int] = {}
    for key_id, month, count in rows:
        counts[key_id, month] = counts.get((key_id, month), 0) + count
    return [(key_id, month, count) for (key_id, month), count in counts.items()]
