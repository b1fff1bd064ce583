"""What operators see: projections, quarantine, events and everybody's operations.

Owns the port and the shapes that it answers with. ``adapters/oversight.py`` implements it; nothing
here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.operation import Operation, Targeted
from domain.operation import State as OperationState
from domain.reaction import ReactionStatus
from projections.engine.quarantine import Item, State
from projections.engine.telemetry import ProjectionStatus


class Blocker(msgspec.Struct, frozen=True):
    """A database session that the projector waits for; ``query`` is without the texts in it."""

    pid: int
    query: str | None
    since: datetime | None


class EventShown(msgspec.Struct, frozen=True):
    """An event as it lies in the store; personal fields may be hidden."""

    position: int
    stream_id: str
    stream_version: int
    topic: str
    tenant_id: UUID
    recorded_at: datetime
    actor: str
    correlation_id: str
    causation_id: UUID | None
    data: dict[str, Any]


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: strictly between two positions, of a stream, a topic, a request.

    ``topic`` is with or without its version.
    """

    after: int = 0
    before: int | None = None
    stream_id: str | None = None
    topic: str | None = None
    correlation_id: str | None = None


class ItemFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events in quarantine; ``id`` names one."""

    id: UUID | None = None
    state: State | None = None
    projection: str | None = None
    stream_id: str | None = None


class OperationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which operations."""

    state: OperationState | None = None
    kind: str | None = None


class Pulse(msgspec.Struct, frozen=True):
    """What operators follow by the second; items and operations that are open, counted by state.

    ``running`` are some of the operations that are under way, newest first.
    """

    projections: Sequence[ProjectionStatus]
    quarantine: dict[str, int]
    operations: dict[str, int]
    running: Sequence[Operation]


class Kept(msgspec.Struct, frozen=True):
    """The generation that a rollback would serve; ``behind`` are events that it has yet to fold."""

    generation: int
    table: str
    behind: int


class Plan(msgspec.Struct, frozen=True):
    """What a rebuild of a projection would touch, and a rollback.

    ``events_by_topic`` is None where counting took too long; ``events_total`` is then how many
    there are at most. ``measured`` says that ``expected_seconds`` goes by an earlier rebuild.
    """

    projection: str
    table: str
    store: str
    events_by_topic: dict[str, int] | None
    events_total: int
    expected_seconds: float
    measured: bool
    kept: Kept | None


class Plans(Protocol):
    """Foretells what is not done yet."""

    async def plan(self, name: str) -> Plan | None:
        """What rebuilding the projection of that name would touch; None if there is none."""
        ...


class Oversight(Protocol):
    """Looks at everything that concerns operators, whosever it is."""

    async def head(self) -> int:
        """The position of the last event."""
        ...

    async def projections(self) -> Sequence[ProjectionStatus]:
        """Every projection that can be rebuilt, by name."""
        ...

    async def pulse(self) -> Pulse:
        """What moves by the second, in one look; without what blocks whom."""
        ...

    async def reactions(self) -> Sequence[ReactionStatus]:
        """Every reaction that was ever deployed, by name."""
        ...

    async def quarantine(
        self, wanted: ItemFilter, *, below: tuple[int, UUID] | None, limit: int
    ) -> Sequence[Item]:
        """Items by position, newest first; ``below`` is position and id of the last one seen."""
        ...

    async def events(
        self, wanted: EventFilter, *, personal: bool, limit: int
    ) -> Sequence[EventShown]:
        """Events in order; personal fields hidden unless ``personal``."""
        ...

    async def operations(
        self, wanted: OperationFilter, *, below: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Targeted]:
        """Operations, newest first; ``below`` is time and id of the last one seen."""
        ...
