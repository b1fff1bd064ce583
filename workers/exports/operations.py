"""Long work that a person has asked for, as part of what is known of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol
from uuid import UUID

from domain.operation import Operation
from workers.exports.sources import Exported, Listing, Owner, Share

_PAGE = 200


class Listed(Protocol):
    """Lists operations; ``adapters.operations.PostgresOperations`` does."""

    async def of_person(
        self, user_id: UUID, *, after: Operation | None, limit: int
    ) -> Sequence[Operation]:
        """This person's operations, oldest first, from after that one."""
        ...


class OperationsAsked(Exported):
    """The source."""

    projections: tuple[str, ...] = ()

    def __init__(self, operations: Listed) -> None:
        self._operations = operations

    async def share(self, owner: Owner) -> Share:
        """Their operations, the export itself among them."""
        about = "Long work that you asked for, with what came of it."
        return Share(parts=(Listing("operations.json", about, self._all(owner)),))

    async def _all(self, owner: Owner) -> AsyncIterator[Operation]:
        after: Operation | None = None
        while page := await self._operations.of_person(owner.user_id, after=after, limit=_PAGE):
            for operation in page:
                yield operation
            after = page[-1]
