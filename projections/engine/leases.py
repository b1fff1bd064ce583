"""Leases: which projector works on which partition, shared out among all that are there.

A projector says which partitions it could work on by shared advisory locks, one for each, and holds
those that it works on by exclusive ones. Both are locks of its session, so that they go with it
when it dies, and everybody sees at the next look whose turn it is: of the sessions that could work
on a partition its number picks one. Nobody asks anybody.

Leases keep two projectors from doing the same work. That rows never are written twice is owed to
the checkpoints, which fence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from projections.engine.checkpoints import Connection

_HOLDING, _ABLE = 7022027, 7022028
"""The classes of advisory locks; the second number of each is a hash of what it is of."""

TRY = "SELECT pg_try_advisory_lock(%s, %s)"
RELEASE = "SELECT pg_advisory_unlock(%s, %s)"
_OFFER = "SELECT pg_advisory_lock_shared(%s, %s)"
_WITHDRAW = "SELECT pg_advisory_unlock_shared(%s, %s)"
_LOCKS = """
SELECT classid::bigint, objid::bigint, pid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND classid = ANY (%s)
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Slot(NamedTuple):
    """One partition of a projection that has ``of`` of them."""

    name: str
    partition: int
    of: int

    @property
    def number(self) -> int:
        """What its locks are known by."""
        return _number(f"{self.name}/{self.partition}")


class Standing(NamedTuple):
    """How things stand with the slots that this session offered to work on."""

    mine: frozenset[Slot]
    """Those that are this session's turn."""
    free: frozenset[Slot]
    """Those that nobody works on."""


class Leases:
    """The leases of one projector's session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pid = connection.info.backend_pid
        self._offered: set[Slot] = set()

    def offer(self, slots: Iterable[Slot]) -> None:
        """Say that these are what this session could work on, and no others."""
        wanted = set(slots)
        for slot in wanted - self._offered:
            self._connection.execute(_OFFER, (_ABLE, slot.number))
        for slot in self._offered - wanted:
            self._connection.execute(_WITHDRAW, (_ABLE, slot.number))
        self._offered = wanted

    def look(self) -> Standing:
        """Whose turn it is, as everybody who looks now sees it."""
        able: dict[int, list[int]] = {}
        held: set[int] = set()
        for kind, number, pid in self._connection.execute(_LOCKS, ([_HOLDING, _ABLE],)):
            if kind == _ABLE:
                able.setdefault(number, []).append(pid)
            else:
                held.add(number)
        mine = frozenset(
            slot
            for slot in self._offered
            if _turn(slot, able.get(_unsigned(slot), [])) == self._pid
        )
        free = frozenset(slot for slot in self._offered if _unsigned(slot) not in held)
        return Standing(mine, free)

    def take(self, slot: Slot) -> bool:
        """Begin to hold a slot, unless another session does."""
        return try_lock(self._connection, f"{slot.name}/{slot.partition}")

    def give(self, slot: Slot) -> None:
        """Let go of a slot."""
        unlock(self._connection, f"{slot.name}/{slot.partition}")


def try_lock(connection: Connection, what: str) -> bool:
    """Hold the lease of something until the session ends; False while another session does."""
    row = connection.execute(TRY, (_HOLDING, _number(what))).fetchone()
    return row is not None and bool(row[0])


def unlock(connection: Connection, what: str) -> None:
    """Let go of what ``try_lock`` took."""
    connection.execute(RELEASE, (_HOLDING, _number(what)))


def _turn(slot: Slot, able: list[int]) -> int | None:
    """The session whose turn a slot is.

    The same partition of every projection goes to the same session, so that it reads their events
    once. Where there are more sessions than partitions the projections begin at different ones.
    """
    if not able:
        return None
    enough = slot.of > 1 and len(able) <= slot.of
    first = 0 if enough else _number(slot.name)
    return sorted(able)[(first + slot.partition) % len(able)]


def _number(what: str) -> int:
    """A signed 32-bit number that is the same in every process."""
    return int.from_bytes(hashlib.blake2s(what.encode(), digest_size=4).digest(), signed=True)


def _unsigned(slot: Slot) -> int:
    return slot.number & 0xFFFFFFFF
