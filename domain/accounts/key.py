"""The API key: what it may do for its maker, from where, how much, and until when.

Pure. The key itself and its hash are no part of it: they live with the credentials. That a key is
no wider than its maker is decided here; that a request keeps to the limits, where it arrives.

``KeyDraft`` and ``KeyChanges`` are what a person sends; ``faults_of`` has the rules that no type
can say.

Refusals::

    DomainError
    └── Forbidden
        └── TooWide    the key would be allowed more than its maker
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.accounts.events import (
    Conditions,
    KeyDeleted,
    KeyMade,
    KeyPermission,
    KeyRevised,
    KeyState,
)
from domain.errors import Forbidden
from domain.event import Event, Recorded
from domain.faults import Fault

ShownState = Literal["active", "inactive", "suspended", "expired", "deleted"]

PREFIX_LENGTH = 8

KeyName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S")]
Permission = Annotated[str, Meta(max_length=64, pattern=r"^[a-z][a-z_-]*:[a-z][a-z_-]*$")]
Permissions = Annotated[tuple[Permission | KeyPermission, ...], Meta(min_length=1, max_length=50)]
PerMinute = Annotated[int, Meta(ge=1, le=1_000_000)]
PerHour = Annotated[int, Meta(ge=1, le=10_000_000)]
PerMonth = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Addresses = Annotated[
    tuple[Annotated[str, Meta(min_length=2, max_length=64)], ...],
    Meta(max_length=100, description="Addresses or CIDRs; an empty list allows all."),
]
Origins = Annotated[
    tuple[Annotated[str, Meta(min_length=8, max_length=300)], ...],
    Meta(max_length=50, description="Such as https://app.example.com; an empty list allows all."),
]
Moment = Annotated[datetime, Meta(tz=True)]


class TooWide(Forbidden):
    """The key would be allowed more than its maker is."""


class KeyDraft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that somebody wants."""

    name: KeyName
    permissions: Permissions
    limit_per_minute: PerMinute | None = None
    limit_per_hour: PerHour | None = None
    monthly_quota: PerMonth | None = None
    allowed_addresses: Addresses | None = None
    allowed_origins: Origins | None = None
    expires_at: Moment | None = None
    state: KeyState = "active"


class KeyChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody wants changed of a key; null clears."""

    name: KeyName | UnsetType = UNSET
    permissions: Permissions | UnsetType = UNSET
    limit_per_minute: PerMinute | UnsetType | None = UNSET
    limit_per_hour: PerHour | UnsetType | None = UNSET
    monthly_quota: PerMonth | UnsetType | None = UNSET
    allowed_addresses: Addresses | UnsetType | None = UNSET
    allowed_origins: Origins | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    state: KeyState | UnsetType = UNSET


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as its stream tells it."""

    CATEGORY: ClassVar[str] = "accounts.key"
    SNAPSHOT: ClassVar[str] = "accounts.ApiKey.1"

    id: UUID
    user_id: UUID
    tenant_id: UUID
    prefix: str
    name: str
    permissions: tuple[KeyPermission, ...]
    limit_per_minute: int | None
    limit_per_hour: int | None
    monthly_quota: int | None
    allowed_addresses: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    expires_at: datetime | None
    state: KeyState | Literal["deleted"]
    created_at: datetime
    version: int

    @classmethod
    def stream(cls, key_id: UUID) -> str:
        """The key's stream."""
        return f"{cls.CATEGORY}-{key_id}"

    @classmethod
    def make(
        cls,
        *,
        key_id: UUID,
        user_id: UUID,
        tenant_id: UUID,
        prefix: str,
        draft: KeyDraft,
        rights: Collection[str],
    ) -> tuple[Event, ...]:
        """A new key of somebody with these rights.

        Raises:
            TooWide: it would be allowed more than they are.
        """
        permissions = _permissions(draft.permissions)
        check_width(permissions, rights)
        return (
            KeyMade(
                key_id=key_id,
                user_id=user_id,
                tenant_id=tenant_id,
                prefix=prefix,
                name=draft.name,
                permissions=permissions,
                limit_per_minute=draft.limit_per_minute,
                limit_per_hour=draft.limit_per_hour,
                monthly_quota=draft.monthly_quota,
                allowed_addresses=_networks(draft.allowed_addresses),
                allowed_origins=_origins(draft.allowed_origins),
                expires_at=_utc(draft.expires_at),
                state=draft.state,
            ),
        )

    def revise(self, changes: KeyChanges, rights: Collection[str]) -> tuple[Event, ...]:
        """What of this is a change; no event where nothing is.

        Raises:
            TooWide: the key would be allowed more than its maker is.
        """
        wanted: dict[str, Any] = {
            name: value
            for name in KeyChanges.__struct_fields__
            if (value := getattr(changes, name)) is not UNSET
        }
        if "permissions" in wanted:
            wanted["permissions"] = _permissions(wanted["permissions"])
            check_width(wanted["permissions"], rights)
        if "expires_at" in wanted:
            wanted["expires_at"] = _utc(wanted["expires_at"])
        if "allowed_addresses" in wanted:
            wanted["allowed_addresses"] = _networks(wanted["allowed_addresses"])
        if "allowed_origins" in wanted:
            wanted["allowed_origins"] = _origins(wanted["allowed_origins"])
        changed = {name: value for name, value in wanted.items() if value != getattr(self, name)}
        return (KeyRevised(key_id=self.id, user_id=self.user_id, **changed),) if changed else ()

    def delete(self) -> tuple[Event, ...]:
        """The end of the key."""
        return (KeyDeleted(key_id=self.id, user_id=self.user_id),)

    def state_at(self, now: datetime) -> ShownState:
        """The state as of now: an active key whose time is over has expired."""
        if self.state != "deleted" and self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return self.state

    @classmethod
    def evolve(cls, state: ApiKey | None, recorded: Recorded) -> ApiKey:
        """The key after one more event of its stream."""
        event = recorded.event
        version = recorded.stream_version
        if isinstance(event, KeyMade):
            given = {name: getattr(event, name) for name in _MADE}
            return cls(id=event.key_id, created_at=recorded.recorded_at, version=version, **given)
        if state is None:
            raise ValueError(f"{recorded.stream_id} begins with {type(event).__name__}")
        changed: dict[str, Any] = {"version": version}
        if isinstance(event, KeyRevised):
            changed |= {
                name: value
                for name in KeyChanges.__struct_fields__
                if (value := getattr(event, name)) is not UNSET
            }
        elif isinstance(event, KeyDeleted):
            changed["state"] = "deleted"
        return msgspec.structs.replace(state, **changed)


_MADE = tuple(name for name in KeyMade.__struct_fields__ if name != "key_id")


def holds(conditions: Conditions, method: str, path: str, now: datetime) -> bool:
    """Whether the conditions hold for a call (``HEAD`` counts as the GET that it is)."""
    wanted = "GET" if method == "HEAD" else method
    if conditions.methods is not None and wanted not in conditions.methods:
        return False
    if conditions.until is not None and now >= conditions.until:
        return False
    return conditions.ids is None or _first_id(path) in conditions.ids


def _first_id(path: str) -> UUID | None:
    for part in path.split("/"):
        try:
            return UUID(part)
        except ValueError:
            continue
    return None


def check_width(permissions: Iterable[KeyPermission], rights: Collection[str]) -> None:
    """Pass if somebody with these rights may give all of the permissions away.

    Raises:
        TooWide: naming those that they lack.
    """
    lacking = sorted({one.permission for one in permissions} - set(rights))
    if lacking:
        raise TooWide(f"You do not have {', '.join(lacking)} yourself.")


def _permissions(given: Iterable[str | KeyPermission]) -> tuple[KeyPermission, ...]:
    """One form for all, without repetitions; empty conditions are none."""
    found: dict[bytes, KeyPermission] = {}
    for one in given:
        permission = KeyPermission(one) if isinstance(one, str) else one
        conditions = permission.conditions
        if conditions is not None:
            conditions = msgspec.structs.replace(conditions, until=_utc(conditions.until))
            permission = KeyPermission(
                permission.permission, None if conditions == Conditions() else conditions
            )
        found[msgspec.json.encode(permission)] = permission
    return tuple(found.values())


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)


def _networks(texts: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip() for text in texts or ()))


def _origins(texts: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.strip().lower().rstrip("/") for text in texts or ()))


def is_origin(text: str) -> bool:
    """Whether it is an origin as browsers send it: scheme, host and perhaps a port."""
    try:
        parts = urlsplit(text.strip().rstrip("/"))
        port = parts.port
    except ValueError:
        return False
    return (
        bool(_SCHEME.fullmatch(parts.scheme))
        and bool(parts.hostname)
        and bool(_HOST.fullmatch(parts.netloc))
        and not (parts.path or parts.query or parts.fragment)
        and port != 0
    )


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


def _is_network(text: str) -> bool:
    try:
        ip_network(text.strip(), strict=False)
    except ValueError:
        return False
    return True


def faults_of(fields: Mapping[str, Any]) -> list[Fault]:
    """The faults that no type can say; values of another type than the field's are passed over."""
    return [*_faults_of(fields)]


def _faults_of(fields: Mapping[str, Any]) -> Iterator[Fault]:
    for name, is_good, message in (
        ("allowed_addresses", _is_network, "This must be an address or a CIDR."),
        ("allowed_origins", is_origin, "This must be an origin: scheme, host and perhaps a port."),
    ):
        values = fields.get(name)
        for index, value in enumerate(values if isinstance(values, list | tuple) else ()):
            if isinstance(value, str) and value and not is_good(value):
                yield Fault(f"{name}.{index}", "invalid_format", message)
