"""Commands on tenants, and their handlers.

Whoever does not belong to a tenant is told that there is none, but for operators: they see all, and
they alone say whether one is open. What a member may, their role says (``domain.accounts.tenant``).
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import msgspec
from msgspec import UNSET

from commands.bus import Outcome, handles
from commands.folding import fold_ahead
from commands.ports import Append, Context, EventStore, VersionConflict
from domain.accounts.events import Role
from domain.accounts.person import Person
from domain.accounts.tenant import OwnTenant, Tenant, TenantChanges, TenantIsPersonal
from domain.errors import Forbidden, NotFound, Stale
from domain.event import Event
from domain.faults import Fault, Invalid

_TRIES = 5


class Rights(msgspec.Struct, frozen=True):
    """What the caller may in all tenants: ``sees`` them, ``rules`` whether they are open."""

    sees: bool = False
    rules: bool = False


NO_RIGHTS = Rights()


class CreateTenant(msgspec.Struct, frozen=True):
    """Begin a shared tenant, whose admin is the context's user."""

    tenant_id: UUID
    name: str


class ReviseTenant(msgspec.Struct, frozen=True):
    """Rename a tenant, or say whether it is open; None expects no certain version."""

    tenant_id: UUID
    expected_version: int | None
    changes: TenantChanges
    rights: Rights


class DeleteTenant(msgspec.Struct, frozen=True):
    """End a shared tenant."""

    tenant_id: UUID
    expected_version: int | None


class AddMember(msgspec.Struct, frozen=True):
    """Let a person into a shared tenant."""

    tenant_id: UUID
    user_id: UUID
    role: Role


class ChangeMember(msgspec.Struct, frozen=True):
    """Give a member another role."""

    tenant_id: UUID
    user_id: UUID
    role: Role
    expected_version: int | None


class ShareNumbers(msgspec.Struct, frozen=True):
    """Say whether the tenant's analysts may count the context's user."""

    tenant_id: UUID
    analytics: bool


class RemoveMember(msgspec.Struct, frozen=True):
    """Take a member out, or leave."""

    tenant_id: UUID
    user_id: UUID
    expected_version: int | None


@handles(CreateTenant)
async def create_tenant(
    command: CreateTenant, context: Context, store: EventStore
) -> Outcome[Tenant]:
    """The new tenant."""
    stream = Tenant.stream(command.tenant_id)
    events = Tenant.create(tenant_id=command.tenant_id, user_id=context.user_id, name=command.name)
    context = msgspec.structs.replace(context, tenant_id=command.tenant_id)
    made = fold_ahead(Tenant, None, events, stream, context)
    committed = await store.append(context, Append(stream, 0, events), result=made)
    return Outcome(made, committed.position)


@handles(ReviseTenant)
async def revise_tenant(
    command: ReviseTenant, context: Context, store: EventStore
) -> Outcome[Tenant]:
    """The tenant after the change, or as before where nothing changes.

    Raises:
        NotFound, Forbidden, TenantClosed, Stale, TenantIsPersonal, OwnTenant.
    """
    changes, rights = command.changes, command.rights

    def check(tenant: Tenant) -> None:
        if changes.name is not UNSET:
            if tenant.member(context.user_id) is None:
                raise Forbidden("A tenant's name is its admins' to give.")
            tenant.check_right(context.user_id, "tenant:write")
        if changes.state is not UNSET and not rights.rules:
            raise Forbidden("This needs the permission ops:write.")

    def decide(tenant: Tenant) -> tuple[Event, ...]:
        events: tuple[Event, ...] = ()
        if changes.name is not UNSET:
            events += tenant.rename(changes.name, context.user_id)
        if changes.state is not UNSET:
            if tenant.id == context.tenant_id and changes.state != "active":
                raise OwnTenant("Another operator may close this tenant, which is your own.")
            events += tenant.become(changes.state)
        return events

    return await _change(
        store, context, command.tenant_id, command.expected_version, check, decide, rights
    )


@handles(DeleteTenant)
async def delete_tenant(
    command: DeleteTenant, context: Context, store: EventStore
) -> Outcome[Tenant]:
    """The tenant that is no more.

    Raises:
        NotFound, Forbidden, TenantClosed, Stale, TenantIsPersonal.
    """

    def decide(tenant: Tenant) -> tuple[Event, ...]:
        if tenant.personal:
            raise TenantIsPersonal("A personal tenant lives as long as its person's account.")
        return tenant.become("deleted")

    return await _change(
        store,
        context,
        command.tenant_id,
        command.expected_version,
        lambda tenant: tenant.check_right(context.user_id, "tenant:write"),
        decide,
    )


@handles(AddMember)
async def add_member(command: AddMember, context: Context, store: EventStore) -> Outcome[Tenant]:
    """The tenant with the member.

    Raises:
        NotFound, Forbidden, TenantClosed, TenantIsPersonal, AlreadyMember.
        Invalid: there is no such person.
    """
    tenant = await find_tenant(command.tenant_id, context.user_id, store)
    tenant.check_right(context.user_id, "members:write")
    if await store.load(Person, Person.stream(command.user_id)) is None:
        raise Invalid(Fault("user_id", "not_allowed", "There is no such person."))
    return await _change(
        store,
        context,
        command.tenant_id,
        None,
        lambda tenant: tenant.check_right(context.user_id, "members:write"),
        lambda tenant: tenant.add(command.user_id, command.role),
    )


@handles(ChangeMember)
async def change_member(
    command: ChangeMember, context: Context, store: EventStore
) -> Outcome[Tenant]:
    """The tenant with the member's new role.

    Raises:
        NotFound, Forbidden, TenantClosed, Stale, LastAdmin.
    """
    return await _change(
        store,
        context,
        command.tenant_id,
        command.expected_version,
        lambda tenant: tenant.check_right(context.user_id, "members:write"),
        lambda tenant: tenant.change_role(command.user_id, command.role),
    )


@handles(ShareNumbers)
async def share_numbers(
    command: ShareNumbers, context: Context, store: EventStore
) -> Outcome[Tenant]:
    """The tenant, in which the member shares or does not.

    Raises:
        NotFound, TenantClosed, TenantIsPersonal.
    """
    return await _change(
        store,
        context,
        command.tenant_id,
        None,
        lambda tenant: tenant.check_right(context.user_id, "tenant:read"),
        lambda tenant: tenant.share(context.user_id, command.analytics),
    )


@handles(RemoveMember)
async def remove_member(
    command: RemoveMember, context: Context, store: EventStore
) -> Outcome[Tenant]:
    """The tenant without the member; everybody may take themselves out.

    Raises:
        NotFound, Forbidden, TenantClosed, Stale, LastAdmin.
    """
    needed = "tenant:read" if command.user_id == context.user_id else "members:write"
    return await _change(
        store,
        context,
        command.tenant_id,
        command.expected_version,
        lambda tenant: tenant.check_right(context.user_id, needed),
        lambda tenant: tenant.remove(command.user_id),
    )


async def find_tenant(
    tenant_id: UUID, user_id: UUID, store: EventStore, rights: Rights = NO_RIGHTS
) -> Tenant:
    """A tenant that this person belongs to, or that they may see all the same.

    Raises:
        NotFound: there is none such.
    """
    tenant = await store.load(Tenant, Tenant.stream(tenant_id))
    if tenant is None:
        raise NotFound("tenant")
    if not (rights.sees or rights.rules) and (
        tenant.member(user_id) is None or tenant.state == "deleted"
    ):
        raise NotFound("tenant")
    return tenant


async def _change(
    store: EventStore,
    context: Context,
    tenant_id: UUID,
    expected: int | None,
    check: Callable[[Tenant], None],
    decide: Callable[[Tenant], tuple[Event, ...]],
    rights: Rights = NO_RIGHTS,
) -> Outcome[Tenant]:
    """Load, see whether the caller may and knows the version, decide and append."""
    stream = Tenant.stream(tenant_id)
    for _ in range(_TRIES):
        tenant = await find_tenant(tenant_id, context.user_id, store, rights)
        check(tenant)
        if expected is not None and expected != tenant.version:
            raise Stale(expected, tenant.version)
        events = decide(tenant)
        inside = msgspec.structs.replace(context, tenant_id=tenant_id)
        after = fold_ahead(Tenant, tenant, events, stream, inside)
        appends = [Append(stream, tenant.version, events)] if events else []
        try:
            committed = await store.append(inside, *appends, result=after)
        except VersionConflict:
            continue
        return Outcome(after, committed.position)
    raise VersionConflict(stream)
