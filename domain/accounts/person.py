"""The person: registers, describes themselves, consents, is granted rights, leaves and returns.

Pure: ids and times are arguments. Owns the decisions and the state that they need; the rules for
single fields stand in ``profile.py``. That an address or a username is unique is no decision of
one person: ``commands/accounts.py`` claims it in the store.

Refusals::

    DomainError
    ├── EmailInUse       another person has this address
    ├── UsernameInUse    another person has this username
    └── PastRecovery     the person left too long ago to come back
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from domain.accounts.events import (
    ConsentRecorded,
    EmailVerified,
    GithubLinked,
    PasswordReset,
    PermissionsGranted,
    PersonDeleted,
    PersonRegistered,
    PersonRestored,
    ProfileRevised,
    RecoveryCodeUsed,
    SettingsRevised,
    SubjectErased,
    TotpDisabled,
    TotpEnabled,
)
from domain.accounts.profile import PREFERENCES, Changes, Notifications, Terms
from domain.errors import DomainError
from domain.event import Event, Recorded

EVERYONE: tuple[str, ...] = ("journal:read", "journal:write")
"""Permissions that come with being registered."""

OPERATOR: tuple[str, ...] = ("analytics:read", "ops:personal", "ops:read", "ops:write")
"""Permissions of the person whom the settings name as operator."""

RECOVERABLE = timedelta(days=30)
"""For so long somebody who left may come back."""

_PROFILE = tuple(name for name in ProfileRevised.__struct_fields__ if name != "user_id")
_SETTINGS = ("timezone", "language", "theme", "private_mode")


class EmailInUse(DomainError):
    """Another person has registered with this address."""


class UsernameInUse(DomainError):
    """Another person goes by this name."""


class PastRecovery(DomainError):
    """The person left longer ago than ``RECOVERABLE``."""


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """What a person has agreed to, since when, and from where they last said so."""

    terms_version: str
    terms_accepted_at: datetime
    privacy_policy_version: str
    privacy_policy_accepted_at: datetime
    data_processing: bool
    marketing: bool
    address: str | None
    agent: str | None
    recorded_at: datetime


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person as their stream tells it. Fields are named as in the API's representation."""

    CATEGORY: ClassVar[str] = "accounts.person"
    SNAPSHOT: ClassVar[str] = "accounts.Person.1"

    id: UUID
    tenant_id: UUID
    email: str
    email_verified: bool = False
    username: str | None = None
    display_name: str
    full_name: str | None = None
    organization: str | None = None
    photo_url: str | None = None
    bio: str | None = None
    website: str | None = None
    phone: str | None = None
    timezone: str
    language: str
    theme: str = "system"
    tier: str
    permissions: tuple[str, ...] = EVERYONE
    preferences: dict[str, Any] = msgspec.field(default_factory=dict)
    notifications: Notifications = Notifications()
    consent: Consent | None = None
    private_mode: bool = False
    two_factor_enabled: bool = False
    github_login: str | None = None
    deleted_at: datetime | None = None
    erased_at: datetime | None = None
    created_at: datetime
    version: int

    @classmethod
    def stream(cls, user_id: UUID) -> str:
        """The person's stream."""
        return f"{cls.CATEGORY}-{user_id}"

    @classmethod
    def register(
        cls,
        *,
        user_id: UUID,
        tenant_id: UUID,
        email: str,
        display_name: str,
        username: str | None,
        timezone: str,
        language: str,
        terms: Terms | None,
        permissions: tuple[str, ...] = (),
        github_login: str | None = None,
        verified: bool = False,
        address: str | None = None,
        agent: str | None = None,
    ) -> tuple[Event, ...]:
        """The beginning of a person; ``terms`` is None for one who has not been asked yet.

        ``verified`` says that the address needs no proof.
        """
        events: list[Event] = [
            PersonRegistered(
                user_id=user_id,
                tenant_id=tenant_id,
                email=email,
                display_name=display_name,
                username=username,
                timezone=timezone,
                language=language,
            )
        ]
        if terms is not None:
            events.append(_consented(user_id, terms, address, agent))
        if permissions:
            events.append(PermissionsGranted(user_id=user_id, permissions=permissions))
        if github_login is not None:
            events.append(GithubLinked(user_id=user_id, github_login=github_login))
        if verified:
            events.append(EmailVerified(user_id=user_id))
        return tuple(events)

    def revise(self, changes: Changes) -> tuple[Event, ...]:
        """What of this is a change; no events where nothing is."""
        events: list[Event] = []
        profile = self._changed(changes, _PROFILE)
        if profile:
            events.append(ProfileRevised(user_id=self.id, **profile))
        settings = self._changed(changes, _SETTINGS)
        if preferences := self._changed_preferences(changes):
            settings["preferences"] = preferences
        if changes.notifications is not UNSET:
            switches = {
                name: value
                for name, value in msgspec.structs.asdict(changes.notifications).items()
                if value is not UNSET and value != getattr(self.notifications, name)
            }
            if switches:
                settings["notifications"] = switches
        if settings:
            events.append(SettingsRevised(user_id=self.id, **settings))
        return tuple(events)

    def _changed(self, changes: Changes, names: tuple[str, ...]) -> dict[str, Any]:
        return {
            name: value
            for name in names
            if (value := getattr(changes, name)) is not UNSET and value != getattr(self, name)
        }

    def _changed_preferences(self, changes: Changes) -> dict[str, Any]:
        if changes.preferences is UNSET:
            return {}
        if changes.preferences is None:
            return dict.fromkeys(self.preferences)
        return {
            key: value
            for key, value in changes.preferences.items()
            if _json(self.preferences.get(key)) != _json(value)
        }

    def consents(self, terms: Terms, address: str | None, agent: str | None) -> tuple[Event, ...]:
        """A new version or a withdrawal; no event where it is what the person said last."""
        current = self.consent
        if current is not None and terms == Terms(
            current.terms_version,
            current.privacy_policy_version,
            current.data_processing,
            current.marketing,
        ):
            return ()
        return (_consented(self.id, terms, address, agent),)

    def granted(self, permissions: tuple[str, ...]) -> tuple[Event, ...]:
        """The permissions among these that the person did not have."""
        new = tuple(sorted(set(permissions) - set(self.permissions)))
        return (PermissionsGranted(user_id=self.id, permissions=new),) if new else ()

    def enable_totp(self) -> tuple[Event, ...]:
        """A login takes a second factor from now on; no event where it did."""
        return () if self.two_factor_enabled else (TotpEnabled(user_id=self.id),)

    def disable_totp(self) -> tuple[Event, ...]:
        """A login takes a password only; no event where it did."""
        return (TotpDisabled(user_id=self.id),) if self.two_factor_enabled else ()

    def use_recovery_code(self, remaining: int) -> tuple[Event, ...]:
        """A recovery code is gone."""
        return (RecoveryCodeUsed(user_id=self.id, remaining=remaining),)

    def link_github(self, github_login: str) -> tuple[Event, ...]:
        """A GitHub account with this person's verified address; no event where it was linked."""
        if self.github_login == github_login:
            return ()
        return (GithubLinked(user_id=self.id, github_login=github_login),)

    def erase(self) -> tuple[Event, ...]:
        """The person is no more; no event where they were erased."""
        return () if self.erased_at is not None else (SubjectErased(user_id=self.id),)

    def leave(self) -> tuple[Event, ...]:
        """The person leaves; no event where they have."""
        return () if self.deleted_at is not None else (PersonDeleted(user_id=self.id),)

    def come_back(self, now: datetime) -> tuple[Event, ...]:
        """The person is here again; no event where they never left.

        Raises:
            PastRecovery: they left too long ago.
        """
        if self.deleted_at is None:
            return ()
        if now - self.deleted_at > RECOVERABLE:
            raise PastRecovery
        return (PersonRestored(user_id=self.id),)

    def verify(self) -> tuple[Event, ...]:
        """The address is the person's; no event where that was known."""
        return () if self.email_verified else (EmailVerified(user_id=self.id),)

    def reset_password(self) -> tuple[Event, ...]:
        """A new password was set by somebody who reads the person's mail."""
        return (PasswordReset(user_id=self.id), *self.verify())

    def preference(self, name: str) -> Any:
        """The person's choice, or what holds without one; None for an unknown name."""
        return self.preferences.get(name, PREFERENCES.get(name))

    @classmethod
    def evolve(cls, state: Person | None, recorded: Recorded) -> Person:
        """The person after one more event of their stream."""
        event = recorded.event
        version = recorded.stream_version
        if isinstance(event, PersonRegistered):
            return cls(
                id=event.user_id,
                tenant_id=event.tenant_id,
                email=event.email,
                username=event.username,
                display_name=event.display_name,
                timezone=event.timezone,
                language=event.language,
                tier=event.tier,
                created_at=recorded.recorded_at,
                version=version,
            )
        if state is None:
            raise ValueError(f"{recorded.stream_id} begins with {type(event).__name__}")
        changed: dict[str, Any] = {"version": version}
        if isinstance(event, ProfileRevised):
            changed |= _sent(event, _PROFILE)
        elif isinstance(event, SettingsRevised):
            changed |= _sent(event, _SETTINGS)
            if event.preferences is not UNSET:
                merged = state.preferences | event.preferences
                changed["preferences"] = {k: v for k, v in merged.items() if v is not None}
            if event.notifications is not UNSET:
                changed["notifications"] = msgspec.structs.replace(
                    state.notifications, **event.notifications
                )
        elif isinstance(event, ConsentRecorded):
            changed["consent"] = _consent(state.consent, event, recorded.recorded_at)
        elif isinstance(event, PermissionsGranted):
            changed["permissions"] = tuple(sorted({*state.permissions, *event.permissions}))
        else:
            changed |= _changed_access(event, recorded.recorded_at)
        return msgspec.structs.replace(state, **changed)


def _changed_access(event: Event, at: datetime) -> dict[str, Any]:
    """What an event changes of the ways in."""
    if isinstance(event, TotpEnabled | TotpDisabled):
        return {"two_factor_enabled": isinstance(event, TotpEnabled)}
    if isinstance(event, GithubLinked):
        # GitHub has verified the address, which is the person's: see commands/github.py.
        return {"github_login": event.github_login, "email_verified": True}
    if isinstance(event, EmailVerified):
        return {"email_verified": True}
    if isinstance(event, PersonDeleted):
        return {"deleted_at": at}
    if isinstance(event, PersonRestored):
        return {"deleted_at": None}
    if isinstance(event, SubjectErased):
        return {"erased_at": at}
    return {}


def _json(value: Any) -> bytes:
    """The value as JSON, where True is not 1 as it is in Python."""
    return msgspec.json.encode(value, order="deterministic")


def _sent(event: Event, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(event, name)) is not UNSET}


def _consented(
    user_id: UUID, terms: Terms, address: str | None, agent: str | None
) -> ConsentRecorded:
    return ConsentRecorded(
        user_id=user_id,
        terms_version=terms.terms_version,
        privacy_policy_version=terms.privacy_policy_version,
        data_processing=terms.data_processing,
        marketing=terms.marketing,
        address=address,
        agent=agent,
    )


def _consent(before: Consent | None, event: ConsentRecorded, at: datetime) -> Consent:
    """The consent after this event; a version keeps the time at which it was first accepted."""
    terms_at = privacy_at = at
    if before is not None and before.terms_version == event.terms_version:
        terms_at = before.terms_accepted_at
    if before is not None and before.privacy_policy_version == event.privacy_policy_version:
        privacy_at = before.privacy_policy_accepted_at
    return Consent(
        terms_version=event.terms_version,
        terms_accepted_at=terms_at,
        privacy_policy_version=event.privacy_policy_version,
        privacy_policy_accepted_at=privacy_at,
        data_processing=event.data_processing,
        marketing=event.marketing,
        address=event.address,
        agent=event.agent,
        recorded_at=at,
    )
