"""Feature flags, as operators see them and as they are evaluated for people.

Owns the table ``flags_definitions`` and the representations.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.event import Event, Recorded
from domain.flags.events import FlagDeleted, FlagSet
from domain.flags.flag import Flag
from projections.engine.view import RowView
from projections.reading import Query, Reader

PAGE = Query(
    "flags_page",
    "SELECT document FROM flags_definitions WHERE name > $1 ORDER BY name LIMIT $2",
    ("text", "int8"),
)
ONE = Query("flags_one", "SELECT document FROM flags_definitions WHERE name = $1", ("text",))

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Flag).decode
_NOBODY = UUID(int=0)


class FlagRow(msgspec.Struct, frozen=True):
    """A row of ``flags_definitions``; ``document`` is JSON of ``Flag``."""

    name: str
    tenant_id: UUID
    enabled: bool
    updated_at: datetime
    version: int
    document: str


class Definitions(RowView[FlagRow]):
    """The view ``flags.definitions``."""

    name: ClassVar[str] = "flags.definitions"
    takes: ClassVar[tuple[type[Event], ...]] = (FlagSet, FlagDeleted)
    table: ClassVar[str] = "flags_definitions"
    row: ClassVar[type[msgspec.Struct]] = FlagRow
    erases: ClassVar[str | None] = None
    key: ClassVar[tuple[str, ...]] = ("name",)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The flag's stream."""
        return Flag.stream(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The flag."""
        return ((recorded.event.name,),)  # type: ignore[attr-defined]  # both have it

    def user_of(self, row: FlagRow) -> UUID:
        """Nobody's: no answer about flags is cached."""
        return _NOBODY

    def fold(self, key: tuple[Any, ...], row: FlagRow | None, recorded: Recorded) -> FlagRow | None:
        """The row after one more event; none once the flag is deleted."""
        if type(recorded.event) is FlagDeleted:
            return None
        after = Flag.evolve(None if row is None else _decode(row.document), recorded)
        return FlagRow(
            name=after.name,
            tenant_id=recorded.tenant_id,
            enabled=after.enabled,
            updated_at=after.updated_at,
            version=after.version,
            document=_encode(after).decode(),
        )


class FlagDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A flag as operators see it; ``percentage`` is of all people."""

    name: str
    description: str
    enabled: bool
    percentage: float
    people: tuple[UUID, ...]
    tiers: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    version: int


class Evaluated(msgspec.Struct, frozen=True):
    """A flag as one person has it."""

    name: str
    enabled: bool


def document_of(flag: Flag) -> FlagDocument:
    """The representation."""
    return FlagDocument(**{name: getattr(flag, name) for name in FlagDocument.__struct_fields__})


def evaluated(flags: Iterable[Flag], user_id: UUID, tier: str) -> list[Evaluated]:
    """Each flag as this person has it."""
    return [Evaluated(flag.name, flag.is_on(user_id, tier)) for flag in flags]


async def flags(
    reader: Reader, user_id: UUID, *, after: str = "", limit: int
) -> tuple[list[Flag], str | None]:
    """A page of flags by name, asked for by this person, and where it ended if there are more."""
    rows = await reader.rows(PAGE, after, limit + 1, user_id=user_id)
    found = [_decode(row[0]) for row in rows[:limit]]
    return found, found[-1].name if len(rows) > limit else None


async def flag(reader: Reader, user_id: UUID, name: str) -> Flag | None:
    """One flag."""
    rows = await reader.rows(ONE, name, user_id=user_id)
    return _decode(rows[0][0]) if rows else None
