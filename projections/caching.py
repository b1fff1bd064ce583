"""Answers that all processes share for a while: what may be kept, and the port of the cache.

A value is kept with its *stamp*: the position that the read models had passed before it was read,
and their *basis*, which changes when rows change otherwise than by the next event (a swap, a
repair, an event let out of quarantine). The cache is told of every event that makes values void
(``projections.invalidation``), and how far that telling is. So it knows of each value up to which
position it is the truth, and gives it only to whom that is far enough. In which order a value and
the event that voids it arrive does not matter.

Losing the cache, or a part of it, costs time only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import msgspec

from domain.event import Event

NEVER = 2**53 - 1
"""A position that no store reaches, and that Redis still counts exactly."""


class Kind(msgspec.Struct, frozen=True):
    """One kind of answer that is kept, for each person and each of its ``parts``.

    ``name`` is permanent: the label of its metrics. ``key`` names it in the cache, with ``{user}``
    and, where it has parts, ``{part}``. ``lifetime`` is in seconds. ``views`` are the projections
    that it is read from, ``takes`` the events that make it void. A ``cheap`` one takes hardly
    longer to read than to ask for: where it is known to be void nobody asks.
    """

    name: str
    key: str
    lifetime: int
    views: tuple[str, ...]
    takes: tuple[type[Event], ...]
    parts: tuple[str, ...] = ("",)
    cheap: bool = False

    def key_of(self, user_id: UUID, part: str = "") -> str:
        """Where the value lies."""
        return self.key.format(user=user_id, part=part)


class Place(NamedTuple):
    """One value of the cache."""

    kind: Kind
    user_id: UUID
    part: str = ""


class Stamp(NamedTuple):
    """When a value was read: ``position`` had been passed, on this ``basis``.

    ``epoch`` is the cache's own, as ``Missed`` told it.
    """

    position: int
    basis: str
    epoch: str


class Kept(NamedTuple):
    """A value, and the position up to which it is known to be the truth."""

    value: bytes
    position: int
    epoch: str


class Missed(NamedTuple):
    """There is none that is good enough.

    ``mine`` says that it is the caller who should read it now; somebody else does if not. Without
    an ``epoch`` nothing can be kept at present.
    """

    epoch: str | None
    mine: bool


class Voided(NamedTuple):
    """Something happened at a position that makes a person's values of a kind void."""

    kind: Kind
    user_id: UUID
    position: int


class CacheAway(Exception):
    """The cache does not answer, or not as it should."""


class Cache(Protocol):
    """Where shared answers are kept. Every method may raise ``CacheAway``."""

    async def fetch(self, place: Place, needed: int, basis: str, lease: str) -> Kept | Missed:
        """A value that is the truth at ``needed`` at least, and of this basis.

        Of those who miss it at once, one is told that it is theirs to read, for half a second at
        most; ``lease`` names the caller.
        """
        ...

    async def fill(self, place: Place, stamp: Stamp, value: bytes, lease: str) -> bool:
        """Keep a value, unless it is void already, or may be, or is older than what is there.

        Returns whether it is kept. Ends the lease.
        """
        ...

    async def reached(self) -> int | None:
        """Up to which position the cache was told what is void; None while it knows nothing."""
        ...

    async def void(self, after: int, to: int, voided: Sequence[Voided]) -> int | None:
        """Tell all that became void in ``(after, to]``; returns what ``reached`` then does.

        Does nothing where ``after`` is not what was reached: somebody else has told more or less.
        """
        ...

    async def restart(self, position: int) -> None:
        """Begin anew at a position: nothing that was kept before, or read before it, is good."""
        ...

    async def forget(self, user_id: UUID) -> int:
        """Delete everything of a person, and keep nothing of theirs again; how many values."""
        ...


class Changes(Protocol):
    """What a reader has heard of changes of rows."""

    def since(self, user_id: UUID) -> int | None:
        """The last position at which this person's rows may have changed; None: nobody tells."""
        ...

    def told(self, user_id: UUID) -> int:
        """The position of the last change that was told of this very person; 0: none lately."""
        ...

    def basis(self, *projections: str) -> str | None:
        """What changes when rows of these change otherwise than by the next event.

        None while that is not known, and while events of theirs wait in quarantine.
        """
        ...
