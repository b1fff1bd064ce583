"""The feature flag: who has it, decided by its rules and the person alone.

Pure. A flag that is enabled is on for the people and tiers that it names, and for a share of all
others. Who belongs to the share is a hash of the flag's name and the person: the same at every
asking and in every process, other people for another flag, and only more of them as the share
grows.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.event import Event, Recorded
from domain.flags.events import FlagDeleted, FlagSet

LONGEST_NAME = 100
_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_NAMES = UUID("7e9f3a52-95a4-5a3c-8f5e-2f7d1f0c6b11")
_SHARES = 10_000
"""How finely people are parted: a hundredth of a per cent."""

Description = Annotated[str, Meta(max_length=500)]
Percentage = Annotated[float, Meta(ge=0, le=100, description="Of all people; two decimals count.")]
People = Annotated[tuple[UUID, ...], Meta(max_length=1000)]
Tiers = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=40)], ...], Meta(max_length=20)
]


class FlagRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A flag as a whole, as an operator sets it."""

    description: Description = ""
    enabled: bool = False
    percentage: Percentage = 0.0
    people: People = ()
    tiers: Tiers = ()


class FlagChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a flag; null clears."""

    description: Description | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    percentage: Percentage | UnsetType | None = UNSET
    people: People | UnsetType | None = UNSET
    tiers: Tiers | UnsetType | None = UNSET


def is_name(text: str) -> bool:
    """Whether a flag may be called so."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def flag_id(name: str) -> UUID:
    """The id that a name stands for."""
    return uuid5(_NAMES, name)


def share_of(name: str, user_id: UUID) -> int:
    """Where a person stands for this flag: 0 to 9,999."""
    digest = sha256(f"{name}:{user_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SHARES


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as its stream tells it. ``deleted`` ones keep their stream, and may be set again."""

    CATEGORY: ClassVar[str] = "flags.flag"
    SNAPSHOT: ClassVar[str] = "flags.Flag.1"

    id: UUID
    name: str
    description: str
    enabled: bool
    percentage: float
    people: tuple[UUID, ...]
    tiers: tuple[str, ...]
    deleted: bool = False
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def stream(cls, name: str) -> str:
        """The flag's stream."""
        return f"{cls.CATEGORY}-{flag_id(name)}"

    @classmethod
    def put(cls, current: Flag | None, name: str, rules: FlagRules) -> tuple[Event, ...]:
        """These rules, whatever there was; no event where they are the ones it has."""
        event = FlagSet(
            flag_id=flag_id(name),
            name=name,
            description=rules.description,
            enabled=rules.enabled,
            percentage=rules.percentage,
            people=tuple(dict.fromkeys(rules.people)),
            tiers=tuple(dict.fromkeys(rules.tiers)),
        )
        if current is not None and not current.deleted and current.as_set() == event:
            return ()
        return (event,)

    def revise(self, changes: FlagChanges) -> tuple[Event, ...]:
        """The flag with the changes; no event where nothing is one."""
        defaults = FlagRules()
        given: dict[str, Any] = {}
        for name in FlagRules.__struct_fields__:
            value = getattr(changes, name)
            if value is UNSET:
                value = getattr(self, name)
            given[name] = getattr(defaults, name) if value is None else value
        return Flag.put(self, self.name, FlagRules(**given))

    def delete(self) -> tuple[Event, ...]:
        """The end of the flag."""
        return (FlagDeleted(flag_id=self.id, name=self.name),)

    def as_set(self) -> FlagSet:
        """The event that would make it what it is."""
        return FlagSet(
            flag_id=self.id,
            name=self.name,
            description=self.description,
            enabled=self.enabled,
            percentage=self.percentage,
            people=self.people,
            tiers=self.tiers,
        )

    def is_on(self, user_id: UUID, tier: str) -> bool:
        """Whether this person has it."""
        if not self.enabled or self.deleted:
            return False
        if user_id in self.people or tier in self.tiers:
            return True
        return share_of(self.name, user_id) < math.floor(self.percentage * _SHARES / 100 + 0.5)

    @classmethod
    def evolve(cls, state: Flag | None, recorded: Recorded) -> Flag:
        """The flag after one more event of its stream."""
        event, at = recorded.event, recorded.recorded_at
        if isinstance(event, FlagSet):
            begins = at if state is None or state.deleted else state.created_at
            return cls(
                id=event.flag_id,
                name=event.name,
                description=event.description,
                enabled=event.enabled,
                percentage=event.percentage,
                people=event.people,
                tiers=event.tiers,
                created_at=begins,
                updated_at=at,
                version=recorded.stream_version,
            )
        if state is None:
            raise ValueError(f"{recorded.stream_id} begins with {type(event).__name__}")
        return msgspec.structs.replace(
            state, deleted=True, updated_at=at, version=recorded.stream_version
        )
