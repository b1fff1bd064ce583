"""What happens to people and to logins.

No event holds a secret: that a password was set shows only in that a login succeeds. Text about a
person is typed ``Personal``. In the revisions a field that did not change is ``UNSET``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.event import Event, Personal

PersonalData = Annotated[dict[str, Any], Meta(extra={"personal": True})]
"""An open object that a person filled, so that anything may stand in it."""


class PersonRegistered(Event, frozen=True, kw_only=True):
    """Somebody has an account now, in a tenant of their own."""

    TOPIC: ClassVar[str] = "accounts.PersonRegistered.v1"

    user_id: UUID
    tenant_id: UUID
    email: Personal
    display_name: Personal
    username: Personal | None = None
    timezone: str = "UTC"
    language: str = "en"
    tier: str = "basic"


class ConsentRecorded(Event, frozen=True, kw_only=True):
    """A person agreed to these versions, or took a consent back; whole each time."""

    TOPIC: ClassVar[str] = "accounts.ConsentRecorded.v1"

    user_id: UUID
    terms_version: str
    privacy_policy_version: str
    data_processing: bool
    marketing: bool
    address: Personal | None = None
    agent: Personal | None = None


class ProfileRevised(Event, frozen=True, kw_only=True):
    """A person describes themselves differently."""

    TOPIC: ClassVar[str] = "accounts.ProfileRevised.v1"

    user_id: UUID
    username: Personal | UnsetType | None = UNSET
    display_name: Personal | UnsetType = UNSET
    full_name: Personal | UnsetType | None = UNSET
    organization: Personal | UnsetType | None = UNSET
    photo_url: Personal | UnsetType | None = UNSET
    bio: Personal | UnsetType | None = UNSET
    website: Personal | UnsetType | None = UNSET
    phone: Personal | UnsetType | None = UNSET


class SettingsRevised(Event, frozen=True, kw_only=True):
    """A person wants to be served differently.

    ``preferences`` and ``notifications`` hold the changed keys only; a preference that was cleared
    is null.
    """

    TOPIC: ClassVar[str] = "accounts.SettingsRevised.v1"

    user_id: UUID
    timezone: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    theme: str | UnsetType = UNSET
    private_mode: bool | UnsetType = UNSET
    preferences: PersonalData | UnsetType = UNSET
    notifications: dict[str, bool] | UnsetType = UNSET


class PermissionsGranted(Event, frozen=True, kw_only=True):
    """A person may do more than before; ``permissions`` holds the new ones only."""

    TOPIC: ClassVar[str] = "accounts.PermissionsGranted.v1"

    user_id: UUID
    permissions: tuple[str, ...]


class TotpEnabled(Event, frozen=True, kw_only=True):
    """From now on a login of this person takes a second factor."""

    TOPIC: ClassVar[str] = "accounts.TotpEnabled.v1"

    user_id: UUID


class TotpDisabled(Event, frozen=True, kw_only=True):
    """A password is enough again."""

    TOPIC: ClassVar[str] = "accounts.TotpDisabled.v1"

    user_id: UUID


class RecoveryCodeUsed(Event, frozen=True, kw_only=True):
    """A recovery code stood in for the second factor; ``remaining`` are left."""

    TOPIC: ClassVar[str] = "accounts.RecoveryCodeUsed.v1"

    user_id: UUID
    remaining: int


class GithubLinked(Event, frozen=True, kw_only=True):
    """A GitHub account with the person's own, verified address opens this account as well."""

    TOPIC: ClassVar[str] = "accounts.GithubLinked.v1"

    user_id: UUID
    github_login: Personal


class PersonDeleted(Event, frozen=True, kw_only=True):
    """A person left. All is kept for 30 days, and nobody is let in."""

    TOPIC: ClassVar[str] = "accounts.PersonDeleted.v1"

    user_id: UUID


class PersonRestored(Event, frozen=True, kw_only=True):
    """A person who had left came back."""

    TOPIC: ClassVar[str] = "accounts.PersonRestored.v1"

    user_id: UUID


class EmailVerified(Event, frozen=True, kw_only=True):
    """The person reads what is sent to their address; or somebody vouches for it."""

    TOPIC: ClassVar[str] = "accounts.EmailVerified.v1"

    user_id: UUID


class PasswordReset(Event, frozen=True, kw_only=True):
    """Somebody who reads the person's mail has set a new password."""

    TOPIC: ClassVar[str] = "accounts.PasswordReset.v1"

    user_id: UUID


class PasswordResetRequested(Event, frozen=True, kw_only=True):
    """Somebody asked for a new password; ``user_id`` is None where nobody has that address.

    It is told in either case, so that the two take the same time. It has a stream of its own.
    """

    TOPIC: ClassVar[str] = "accounts.PasswordResetRequested.v1"

    request_id: UUID
    user_id: UUID | None


class RegistrationRepeated(Event, frozen=True, kw_only=True):
    """Somebody registered with the address of this person. It has a stream of its own."""

    TOPIC: ClassVar[str] = "accounts.RegistrationRepeated.v1"

    request_id: UUID
    user_id: UUID


class SubjectErased(Event, frozen=True, kw_only=True):
    """Nothing that was personal of this person can be read any more, and their rows go.

    Every projection takes it without asking (``projections/engine/view.py``).
    """

    TOPIC: ClassVar[str] = "accounts.SubjectErased.v1"

    user_id: UUID


class LoggedIn(Event, frozen=True, kw_only=True):
    """A login began on one device."""

    TOPIC: ClassVar[str] = "accounts.LoggedIn.v1"

    login_id: UUID
    user_id: UUID
    address: Personal | None = None
    agent: Personal | None = None


class LoggedOut(Event, frozen=True, kw_only=True):
    """The person ended the login."""

    TOPIC: ClassVar[str] = "accounts.LoggedOut.v1"

    login_id: UUID
    user_id: UUID


class LoginEnded(Event, frozen=True, kw_only=True):
    """The login was ended for the person's safety."""

    TOPIC: ClassVar[str] = "accounts.LoginEnded.v1"

    login_id: UUID
    user_id: UUID
    reason: Literal["refresh_token_reused"]


class Conditions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """When a key's permission holds: all that is named must.

    ``methods`` of HTTP, ``ids`` of which one must be the first id in the call's path, ``until``
    when at the latest.
    """

    methods: (
        Annotated[
            tuple[Literal["GET", "POST", "PUT", "PATCH", "DELETE"], ...],
            Meta(min_length=1, max_length=5),
        ]
        | None
    ) = None
    ids: Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=100)] | None = None
    until: Annotated[datetime, Meta(tz=True)] | None = None


class KeyPermission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a key may do: ``resource:action``, always or under conditions."""

    permission: Annotated[str, Meta(max_length=64, pattern=r"^[a-z][a-z_-]*:[a-z][a-z_-]*$")]
    conditions: Conditions | None = None


KeyState = Literal["active", "inactive", "suspended"]
TenantState = Literal["active", "suspended", "deleted"]
Role = Literal["admin", "member", "viewer"]


class KeyMade(Event, frozen=True, kw_only=True):
    """A person has an API key, that acts for them. The key itself is in no event."""

    TOPIC: ClassVar[str] = "accounts.KeyMade.v1"

    key_id: UUID
    user_id: UUID
    tenant_id: UUID
    prefix: str
    name: Personal
    permissions: tuple[KeyPermission, ...]
    limit_per_minute: int | None = None
    limit_per_hour: int | None = None
    monthly_quota: int | None = None
    allowed_addresses: tuple[Personal, ...] = ()
    allowed_origins: tuple[Personal, ...] = ()
    expires_at: datetime | None = None
    state: KeyState = "active"


class KeyRevised(Event, frozen=True, kw_only=True):
    """An API key may be used otherwise from now on."""

    TOPIC: ClassVar[str] = "accounts.KeyRevised.v1"

    key_id: UUID
    user_id: UUID
    name: Personal | UnsetType = UNSET
    permissions: tuple[KeyPermission, ...] | UnsetType = UNSET
    limit_per_minute: int | UnsetType | None = UNSET
    limit_per_hour: int | UnsetType | None = UNSET
    monthly_quota: int | UnsetType | None = UNSET
    allowed_addresses: tuple[Personal, ...] | UnsetType = UNSET
    allowed_origins: tuple[Personal, ...] | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    state: KeyState | UnsetType = UNSET


class KeyDeleted(Event, frozen=True, kw_only=True):
    """An API key is gone for good."""

    TOPIC: ClassVar[str] = "accounts.KeyDeleted.v1"

    key_id: UUID
    user_id: UUID


class TenantCreated(Event, frozen=True, kw_only=True):
    """There is a tenant; ``user_id`` is its first admin. A personal one is theirs alone."""

    TOPIC: ClassVar[str] = "accounts.TenantCreated.v1"

    tenant_id: UUID
    user_id: UUID
    personal: bool
    name: Personal | None = None


class TenantRenamed(Event, frozen=True, kw_only=True):
    """A tenant has another name; ``user_id`` is who gave it."""

    TOPIC: ClassVar[str] = "accounts.TenantRenamed.v1"

    tenant_id: UUID
    user_id: UUID
    name: Personal


class MemberAdded(Event, frozen=True, kw_only=True):
    """A person belongs to a shared tenant."""

    TOPIC: ClassVar[str] = "accounts.MemberAdded.v1"

    tenant_id: UUID
    user_id: UUID
    role: Role


class MemberRoleChanged(Event, frozen=True, kw_only=True):
    """A member has another role."""

    TOPIC: ClassVar[str] = "accounts.MemberRoleChanged.v1"

    tenant_id: UUID
    user_id: UUID
    role: Role


class SharingRevised(Event, frozen=True, kw_only=True):
    """A member lets the tenant's analysts count what they do there, or takes that back."""

    TOPIC: ClassVar[str] = "accounts.SharingRevised.v1"

    tenant_id: UUID
    user_id: UUID
    analytics: bool


class MemberRemoved(Event, frozen=True, kw_only=True):
    """A person belongs to a shared tenant no more."""

    TOPIC: ClassVar[str] = "accounts.MemberRemoved.v1"

    tenant_id: UUID
    user_id: UUID


class TenantSuspended(Event, frozen=True, kw_only=True):
    """Nobody gets in until the tenant is reactivated."""

    TOPIC: ClassVar[str] = "accounts.TenantSuspended.v1"

    tenant_id: UUID


class TenantReactivated(Event, frozen=True, kw_only=True):
    """The tenant is open again."""

    TOPIC: ClassVar[str] = "accounts.TenantReactivated.v1"

    tenant_id: UUID


class TenantDeleted(Event, frozen=True, kw_only=True):
    """The tenant is gone, unless an operator brings it back."""

    TOPIC: ClassVar[str] = "accounts.TenantDeleted.v1"

    tenant_id: UUID
