"""How the read side asks: prepared queries on behalf of one user.

Owns the port only. ``adapters/postgres/`` implements it on pipelined connections: each read sets
``mindstream.user_id`` and runs its statement in one implicit transaction, so that row-level
security backs up the query's own filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec


class Query(msgspec.Struct, frozen=True):
    """A statement with ``$1``-style parameters; ``name`` is permanent and unique.

    ``parameters`` are PostgreSQL type names, one per parameter (``("uuid", "date", "text[]")``).
    """

    name: str
    sql: str
    parameters: tuple[str, ...] = ()


class Reader(Protocol):
    """Runs queries on the read database."""

    async def rows(self, query: Query, *parameters: Any, user_id: UUID) -> list[tuple[Any, ...]]:
        """All rows, as Python values (uuid.UUID, datetime, str, int, list, None).

        Raises:
            projections.reading.ReadUnavailable: the database does not answer.
        """
        ...


class SeriesReader(Protocol):
    """Runs queries on the store of time series, which may be a database of its own."""

    async def rows_of(
        self, query: Query, *parameters: Any, user_ids: Sequence[UUID]
    ) -> list[tuple[Any, ...]]:
        """All rows; row-level security lets through those of all these people.

        Raises:
            projections.reading.ReadUnavailable: the database does not answer.
        """
        ...


class ReadUnavailable(Exception):
    """The read database does not answer now."""


class Freshness(Protocol):
    """How far the projections are."""

    def position(self, *projections: str) -> int:
        """The position that all of these have passed, as last heard; never more than the truth."""
        ...

    async def passed(self, position: int, *projections: str, within: float) -> str | None:
        """Wait up to ``within`` seconds until all have passed ``position``.

        Returns None when they have, else the name of the first one that has not.
        """
        ...

    async def stuck(self, position: int, actor: str, *projections: str) -> tuple[str, int] | None:
        """Whether this actor's event at ``position`` waits in quarantine of one of these.

        Returns the projection and the position of the event that its stream waits for. Costs
        nothing while nothing is in quarantine.

        Raises:
            ReadUnavailable: the database does not answer.
        """
        ...

    def epoch(self, user_id: UUID) -> int:
        """Changes whenever this user's rows may have changed; -1 while that cannot be known."""
        ...
