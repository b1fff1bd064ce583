"""The tenant: who belongs to it in which role, and whether it is open.

Pure. Everybody who registers has a personal tenant, theirs alone and their home; shared ones have
members. Only operators suspend and reactivate. What a role allows is said here once.

Refusals::

    DomainError
    ├── TenantIsPersonal    a personal tenant has one member and lives as long as they do
    ├── AlreadyMember       the person belongs to it in some role
    ├── LastAdmin           somebody must be left who may let others in
    ├── OwnTenant           operators do not lock themselves out
    └── Forbidden
        └── TenantClosed    it is suspended
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.accounts.events import (
    MemberAdded,
    MemberRemoved,
    MemberRoleChanged,
    Role,
    SharingRevised,
    TenantCreated,
    TenantDeleted,
    TenantReactivated,
    TenantRenamed,
    TenantState,
    TenantSuspended,
)
from domain.errors import DomainError, Forbidden, NotFound
from domain.event import Event, Recorded

PERMISSIONS: dict[Role, tuple[str, ...]] = {
    "admin": ("analytics:read", "members:write", "tenant:read", "tenant:write"),
    "member": ("tenant:read",),
    "viewer": ("tenant:read",),
}
"""What a role allows within the tenant, and nowhere else."""

TenantName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S")]


class TenantIsPersonal(DomainError):
    """That cannot be done to somebody's personal tenant."""


class AlreadyMember(DomainError):
    """The person belongs to the tenant."""


class LastAdmin(DomainError):
    """Somebody must be left who may let others in."""


class TenantClosed(Forbidden):
    """The tenant is suspended."""


class OwnTenant(DomainError):
    """Operators do not lock themselves out."""


class TenantDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A shared tenant that somebody wants."""

    name: TenantName


class TenantChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a tenant: the name by its admins, the state by operators."""

    name: TenantName | UnsetType = UNSET
    state: TenantState | UnsetType = UNSET


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person in a tenant, since when and in which role.

    ``shares_analytics`` says that they let the tenant's analysts count them. Whoever may let people
    in needs nobody's consent, so that it is each member's own to say.
    """

    user_id: UUID
    role: Role
    since: datetime
    shares_analytics: bool = False


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant as its stream tells it; ``user_id`` is who began it."""

    CATEGORY: ClassVar[str] = "accounts.tenant"
    SNAPSHOT: ClassVar[str] = "accounts.Tenant.1"

    id: UUID
    user_id: UUID
    personal: bool
    name: str | None
    state: TenantState = "active"
    members: tuple[Member, ...]
    created_at: datetime
    version: int

    @classmethod
    def stream(cls, tenant_id: UUID) -> str:
        """The tenant's stream."""
        return f"{cls.CATEGORY}-{tenant_id}"

    @classmethod
    def create(
        cls, *, tenant_id: UUID, user_id: UUID, name: str | None = None
    ) -> tuple[Event, ...]:
        """A new tenant with its first admin; a personal one has no name."""
        return (
            TenantCreated(tenant_id=tenant_id, user_id=user_id, personal=name is None, name=name),
        )

    def member(self, user_id: UUID) -> Member | None:
        """This person's membership."""
        return next((one for one in self.members if one.user_id == user_id), None)

    def permissions_of(self, user_id: UUID) -> tuple[str, ...]:
        """What this person may do within the tenant."""
        found = self.member(user_id)
        return () if found is None else PERMISSIONS[found.role]

    def check_right(self, user_id: UUID, permission: str) -> None:
        """Pass if this person may.

        Raises:
            NotFound: they do not belong to it, or it is deleted.
            TenantClosed: it is suspended.
            Forbidden: their role does not allow it.
        """
        held = self.permissions_of(user_id)
        if not held or self.state == "deleted":
            raise NotFound("tenant")
        if self.state == "suspended":
            raise TenantClosed("The tenant is suspended.")
        if permission not in held:
            raise Forbidden(f"This needs {permission} in the tenant.")

    def rename(self, name: str, user_id: UUID) -> tuple[Event, ...]:
        """Another name, that this person gives it; no event where it is the one it has.

        Raises:
            TenantIsPersonal: it is, and has none.
        """
        if self.personal:
            raise TenantIsPersonal("A personal tenant has no name.")
        if name == self.name:
            return ()
        return (TenantRenamed(tenant_id=self.id, user_id=user_id, name=name),)

    def become(self, state: TenantState) -> tuple[Event, ...]:
        """Another state; no event where it is the one it is in."""
        if state == self.state:
            return ()
        if state == "active":
            return (TenantReactivated(tenant_id=self.id),)
        kind = TenantSuspended if state == "suspended" else TenantDeleted
        return (kind(tenant_id=self.id),)

    def add(self, user_id: UUID, role: Role) -> tuple[Event, ...]:
        """One more member.

        Raises:
            TenantIsPersonal, AlreadyMember.
        """
        if self.personal:
            raise TenantIsPersonal("A personal tenant has one member.")
        if self.member(user_id) is not None:
            raise AlreadyMember("This person is a member already.")
        return (MemberAdded(tenant_id=self.id, user_id=user_id, role=role),)

    def change_role(self, user_id: UUID, role: Role) -> tuple[Event, ...]:
        """Another role; no event where it is the one they have.

        Raises:
            NotFound, LastAdmin.
        """
        found = self._known(user_id)
        if found.role == role:
            return ()
        self._spare_last_admin(found)
        return (MemberRoleChanged(tenant_id=self.id, user_id=user_id, role=role),)

    def share(self, user_id: UUID, analytics: bool) -> tuple[Event, ...]:
        """This member's own word on whether they are counted; no event where it stays.

        Raises:
            TenantIsPersonal: nobody else could see it.
            NotFound: they are no member.
        """
        if self.personal:
            raise TenantIsPersonal("Nobody but you belongs to a personal tenant.")
        if self._known(user_id).shares_analytics == analytics:
            return ()
        return (SharingRevised(tenant_id=self.id, user_id=user_id, analytics=analytics),)

    def remove(self, user_id: UUID) -> tuple[Event, ...]:
        """One member less.

        Raises:
            NotFound, LastAdmin.
        """
        self._spare_last_admin(self._known(user_id))
        return (MemberRemoved(tenant_id=self.id, user_id=user_id),)

    def revised(self, user_id: UUID, **changes: Any) -> tuple[Member, ...]:
        """The members with this one changed."""
        return tuple(
            msgspec.structs.replace(one, **changes) if one.user_id == user_id else one
            for one in self.members
        )

    def _known(self, user_id: UUID) -> Member:
        found = self.member(user_id)
        if found is None:
            raise NotFound("member")
        return found

    def _spare_last_admin(self, leaving: Member) -> None:
        if leaving.role == "admin" and sum(one.role == "admin" for one in self.members) == 1:
            raise LastAdmin("A tenant needs an admin.")

    @classmethod
    def evolve(cls, state: Tenant | None, recorded: Recorded) -> Tenant:
        """The tenant after one more event of its stream."""
        event, at = recorded.event, recorded.recorded_at
        if isinstance(event, TenantCreated):
            return cls(
                id=event.tenant_id,
                user_id=event.user_id,
                personal=event.personal,
                name=event.name,
                members=(Member(event.user_id, "admin", at),),
                created_at=at,
                version=recorded.stream_version,
            )
        if state is None:
            raise ValueError(f"{recorded.stream_id} begins with {type(event).__name__}")
        changed: dict[str, Any] = {"version": recorded.stream_version}
        if isinstance(event, TenantRenamed):
            changed["name"] = event.name
        elif isinstance(event, MemberAdded):
            changed["members"] = (*state.members, Member(event.user_id, event.role, at))
        elif isinstance(event, MemberRoleChanged):
            changed["members"] = state.revised(event.user_id, role=event.role)
        elif isinstance(event, SharingRevised):
            changed["members"] = state.revised(event.user_id, shares_analytics=event.analytics)
        elif isinstance(event, MemberRemoved):
            changed["members"] = tuple(m for m in state.members if m.user_id != event.user_id)
        elif isinstance(event, TenantSuspended):
            changed["state"] = "suspended"
        elif isinstance(event, TenantReactivated):
            changed["state"] = "active"
        elif isinstance(event, TenantDeleted):
            changed["state"] = "deleted"
        return msgspec.structs.replace(state, **changed)
