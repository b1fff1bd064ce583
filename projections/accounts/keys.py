"""API keys, as their owners see them.

One row for each key that is not deleted; its document is the key as the aggregate's own fold tells
it. When it was last used is counted beside the events and joined by whoever shows it.

Owns the table ``accounts_keys`` and the representation.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.accounts.events import KeyDeleted, KeyMade, KeyPermission, KeyRevised
from domain.accounts.key import ApiKey, ShownState
from domain.event import Event, Recorded
from projections.engine.view import RowView
from projections.reading import Query, Reader

PAGE = Query(
    "accounts_keys_page",
    """
    SELECT document, created_at, key_id FROM accounts_keys
    WHERE user_id = $1 AND ($2 IS NULL OR (created_at, key_id) < ($2, $3))
    ORDER BY created_at DESC, key_id DESC LIMIT $4
    """,
    ("uuid", "timestamptz", "uuid", "int8"),
)
ONE = Query(
    "accounts_keys_one",
    "SELECT document FROM accounts_keys WHERE user_id = $1 AND key_id = $2",
    ("uuid", "uuid"),
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ApiKey).decode

Keyset = tuple[datetime, UUID]


class KeyRow(msgspec.Struct, frozen=True):
    """A row of ``accounts_keys``; ``document`` is JSON of ``ApiKey``."""

    key_id: UUID
    user_id: UUID
    state: str
    allowed_origins: list[str]
    expires_at: datetime | None
    created_at: datetime
    version: int
    document: str


class Keys(RowView[KeyRow]):
    """The view ``accounts.keys``."""

    name: ClassVar[str] = "accounts.keys"
    takes: ClassVar[tuple[type[Event], ...]] = (KeyMade, KeyRevised, KeyDeleted)
    table: ClassVar[str] = "accounts_keys"
    row: ClassVar[type[msgspec.Struct]] = KeyRow
    key: ClassVar[tuple[str, ...]] = ("key_id",)
    personal: ClassVar[tuple[str, ...]] = ("document", "allowed_origins")

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The key's stream."""
        return ApiKey.stream(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The key."""
        return ((recorded.event.key_id,),)  # type: ignore[attr-defined]  # all that it takes have

    def fold(self, key: tuple[Any, ...], row: KeyRow | None, recorded: Recorded) -> KeyRow | None:
        """The row after one more event; none once the key is deleted."""
        if type(recorded.event) is KeyDeleted:
            return None
        after = ApiKey.evolve(None if row is None else _decode(row.document), recorded)
        return KeyRow(
            key_id=after.id,
            user_id=after.user_id,
            state=after.state,
            allowed_origins=list(after.allowed_origins),
            expires_at=after.expires_at,
            created_at=after.created_at,
            version=after.version,
            document=_encode(after).decode(),
        )


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A key as the API shows it; the key itself is not in it."""

    id: UUID
    name: str
    prefix: str
    permissions: tuple[str | KeyPermission, ...]
    limit_per_minute: int | None
    limit_per_hour: int | None
    monthly_quota: int | None
    allowed_addresses: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    expires_at: datetime | None
    state: ShownState
    created_at: datetime
    last_used_at: datetime | None
    version: int


class NewKeyDocument(KeyDocument, frozen=True, kw_only=True):
    """A key as it is shown once: ``key`` is what goes into ``X-API-Key``."""

    key: str


def shown_of(key: ApiKey, *, last_used_at: datetime | None, now: datetime) -> dict[str, Any]:
    """The fields of the representation."""
    fields = {
        name: getattr(key, name)
        for name in KeyDocument.__struct_fields__
        if name not in ("permissions", "state", "last_used_at")
    }
    fields["permissions"] = tuple(
        one.permission if one.conditions is None else one for one in key.permissions
    )
    fields["state"] = key.state_at(now)
    fields["last_used_at"] = last_used_at
    return fields


def document_of(key: ApiKey, *, last_used_at: datetime | None, now: datetime) -> KeyDocument:
    """The representation."""
    return KeyDocument(**shown_of(key, last_used_at=last_used_at, now=now))


async def keys(
    reader: Reader, user_id: UUID, *, after: Keyset | None = None, limit: int
) -> tuple[list[ApiKey], Keyset | None]:
    """A page of a person's keys, newest first, and where it ended if there are more."""
    at, key_id = after if after is not None else (None, None)
    rows = await reader.rows(PAGE, user_id, at, key_id, limit + 1, user_id=user_id)
    found = [_decode(row[0]) for row in rows[:limit]]
    end = (rows[limit - 1][1], rows[limit - 1][2]) if len(rows) > limit else None
    return found, end


async def key(reader: Reader, user_id: UUID, key_id: UUID) -> ApiKey | None:
    """One key of a person."""
    rows = await reader.rows(ONE, user_id, key_id, user_id=user_id)
    return _decode(rows[0][0]) if rows else None
