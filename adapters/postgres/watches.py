"""How far projections are that have their rows in several databases, each with its own watch."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

import msgspec

from adapters.postgres.freshness import ProjectionWatch


class Other(msgspec.Struct, frozen=True):
    """The watch of another database, and the projections whose rows it has."""

    watch: ProjectionWatch
    projections: Collection[str]


class Watches:
    """``projections.reading.Freshness``; ``main`` has every projection that no other has."""

    def __init__(self, main: ProjectionWatch, others: Sequence[Other] = ()) -> None:
        self._main = main
        self._others = others

    async def open(self) -> None:
        """Begin to listen everywhere; a database that is away is waited for two seconds."""
        await asyncio.gather(*(watch.open() for watch in self._all()))

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.gather(*(watch.close() for watch in self._all()))

    def position(self, *projections: str) -> int:
        """The position that all of these have passed, as last heard."""
        return min([watch.position(*names) for watch, names in self._parted(projections)])

    async def passed(self, position: int, *projections: str, within: float) -> str | None:
        """Wait until all have passed ``position``; the name of the first that has not, or None."""
        found = await asyncio.gather(
            *(
                watch.passed(position, *names, within=within)
                for watch, names in self._parted(projections)
            )
        )
        return next((name for name in found if name is not None), None)

    async def stuck(self, position: int, actor: str, *projections: str) -> tuple[str, int] | None:
        """Whether this actor's event waits in quarantine: the projection, and for which event."""
        for watch, names in self._parted(projections):
            if (found := await watch.stuck(position, actor, *names)) is not None:
                return found
        return None

    def epoch(self, user_id: UUID) -> int:
        """Changes whenever this user's rows may have; -1 while a database would not tell."""
        epochs = [watch.epoch(user_id) for watch in self._all()]
        return -1 if -1 in epochs else sum(epochs)

    def since(self, user_id: UUID) -> int | None:
        """The last position at which this user's rows may have changed; None: not all tell."""
        found = [watch.since(user_id) for watch in self._all()]
        known = [position for position in found if position is not None]
        return max(known) if len(known) == len(found) else None

    def told(self, user_id: UUID) -> int:
        """The position of the last change that was told of this very person; 0: none lately."""
        return max(watch.told(user_id) for watch in self._all())

    def basis(self, *projections: str) -> str | None:
        """What changes when rows of these change otherwise than by the next event."""
        found = [watch.basis(*names) for watch, names in self._parted(projections)]
        known = [basis for basis in found if basis is not None]
        return ",".join(known) if len(known) == len(found) else None

    def _all(self) -> list[ProjectionWatch]:
        return [self._main, *(other.watch for other in self._others)]

    def _parted(
        self, projections: Sequence[str]
    ) -> Iterator[tuple[ProjectionWatch, tuple[str, ...]]]:
        """Which of these each watch has; one at least."""
        left = projections
        for other in self._others:
            if theirs := tuple(name for name in left if name in other.projections):
                yield other.watch, theirs
                left = [name for name in left if name not in other.projections]
        if left:
            yield self._main, tuple(left)
