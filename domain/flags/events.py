"""What happens to feature flags."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from domain.event import Event


class FlagSet(Event, frozen=True, kw_only=True):
    """A flag has these rules from now on; whole each time."""

    TOPIC: ClassVar[str] = "flags.FlagSet.v1"

    flag_id: UUID
    name: str
    description: str
    enabled: bool
    percentage: float
    people: tuple[UUID, ...]
    tiers: tuple[str, ...]


class FlagDeleted(Event, frozen=True, kw_only=True):
    """A flag is off for everybody and forgotten."""

    TOPIC: ClassVar[str] = "flags.FlagDeleted.v1"

    flag_id: UUID
    name: str
