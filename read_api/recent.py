"""What was read a moment ago, for clients that ask again and again.

An answer is given again only while nothing of its user's has changed, as far as this process has
heard, and for a second at most, should a notification be lost. Kept in process memory: for most
of it a shared cache would cost more than the query that it saves (``read_api.shared``).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Generic, TypeVar
from uuid import UUID

from projections.reading import Freshness

T = TypeVar("T")

LIFETIME = 1.0
"""Seconds."""
CAPACITY = 32 * 1024 * 1024
"""Bytes of all that is kept, roughly."""


class Recent(Generic[T]):
    """Values by user and key, valid while ``freshness.epoch`` of the user stays the same."""

    def __init__(self, freshness: Freshness, *, capacity: int = CAPACITY) -> None:
        self._freshness = freshness
        self._capacity = capacity
        self._size = 0
        self._kept: OrderedDict[tuple[UUID, bytes], tuple[int, float, int, T]] = OrderedDict()

    def get(self, user_id: UUID, key: bytes) -> T | None:
        """The value, None if there is none that is still valid."""
        kept = self._kept.get((user_id, key))
        if kept is None:
            return None
        epoch, until, _, value = kept
        if epoch == self._freshness.epoch(user_id) and time.monotonic() < until:
            return value
        self._drop((user_id, key))
        return None

    def epoch(self, user_id: UUID) -> int:
        """To be taken before reading what is then ``put``."""
        return self._freshness.epoch(user_id)

    def put(self, user_id: UUID, key: bytes, epoch: int, value: T, size: int) -> None:
        """Keep a value of ``size`` bytes that was read when the user's epoch was ``epoch``."""
        if epoch < 0 or epoch != self._freshness.epoch(user_id) or size > self._capacity // 8:
            return
        self._drop((user_id, key))
        self._kept[user_id, key] = (epoch, time.monotonic() + LIFETIME, size, value)
        self._size += size + 200
        while self._size > self._capacity:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[UUID, bytes]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept[2] + 200
