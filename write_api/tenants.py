"""Tenants over HTTP: created, renamed, closed by operators, and who belongs to them.

Owns the translation between requests and ``commands.tenants``. That a tenant was closed is told to
every process at once; they see to it that nobody of it gets in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.bodies import body_of
from adapters.http.conditional import required_version
from adapters.http.context import header, principal_of
from adapters.http.errors import Mapper
from adapters.http.handlers import delete, patch, post, put
from adapters.http.operation import Operation
from adapters.http.problems import Problem, register
from adapters.http.responses import Answer, no_content, ok
from adapters.http.validation import decode_body
from commands.ports import EventStore
from commands.tenants import (
    AddMember,
    ChangeMember,
    CreateTenant,
    DeleteTenant,
    RemoveMember,
    ReviseTenant,
    Rights,
    ShareNumbers,
    find_tenant,
)
from domain.accounts.events import Role
from domain.accounts.tenant import (
    AlreadyMember,
    LastAdmin,
    OwnTenant,
    Tenant,
    TenantChanges,
    TenantClosed,
    TenantDraft,
    TenantIsPersonal,
)
from domain.errors import Forbidden
from projections.accounts.tenants import MemberDocument, TenantDocument, document_of, members_of
from write_api.answering import Answering

AnyRequest = Request[Any, Any, Any]

TAGS = ("Tenants",)
_LIST = "/v1/tenants"
_ONE = f"{_LIST}/{{tenant_id:str}}"
_MEMBER = f"{_ONE}/members/{{user_id:str}}"

register(
    "TENANT_IS_PERSONAL",
    409,
    "This is somebody's personal tenant",
    "It has one member and no name, and lives as long as their account. Create a shared one.",
)
register("ALREADY_MEMBER", 409, "This person is a member already", "Change their role instead.")
register(
    "LAST_ADMIN",
    409,
    "A tenant needs an admin",
    "Make somebody else an admin first, or delete the tenant.",
)
register(
    "OWN_TENANT",
    409,
    "This is your own tenant",
    "Operators do not lock themselves out. Another one can.",
)

ERRORS: dict[type[Exception], Mapper] = {
    TenantIsPersonal: lambda error: Problem("TENANT_IS_PERSONAL", str(error)),
    AlreadyMember: lambda error: Problem("ALREADY_MEMBER"),
    LastAdmin: lambda error: Problem("LAST_ADMIN"),
    OwnTenant: lambda error: Problem("OWN_TENANT", str(error)),
    TenantClosed: lambda error: Problem("TENANT_SUSPENDED"),
}
"""How the tenants' refusals are answered."""


class NewMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to let in, and as what."""

    user_id: UUID
    role: Role = "member"


class NewRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a member is to be."""

    role: Role


class Sharing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the tenant's analysts may count one."""

    analytics: bool


def routes(
    answering: Answering,
    store: EventStore,
    changed: Callable[[], Awaitable[None]],
    new_id: Callable[[], UUID],
) -> list[HTTPRouteHandler]:
    """The handlers; ``changed`` tells every process, ``new_id`` draws ids (UUIDv7)."""
    return [*_of_tenants(answering, store, changed, new_id), *_of_members(answering, store)]


def _of_tenants(
    answering: Answering,
    store: EventStore,
    changed: Callable[[], Awaitable[None]],
    new_id: Callable[[], UUID],
) -> list[HTTPRouteHandler]:
    @post(
        _LIST,
        opt={
            "operation": Operation(
                summary="Create a shared tenant",
                description="Whoever creates it is its first admin.",
                tags=TAGS,
                body=TenantDraft,
                response=TenantDocument,
                statuses=(201,),
                examples={"tenant": TenantDraft("Reading circle")},
                operation_id="create_tenant",
            )
        },
    )
    async def create_tenant(request: AnyRequest) -> Answer:
        body = await body_of(request)
        draft = decode_body(body, header(request, b"content-type"), TenantDraft)
        command = CreateTenant(new_id(), draft.name)
        return await answering.answer(
            request, command, _shows(request, "Tenant created", status=201), body=body
        )

    @patch(
        _ONE,
        opt={
            "operation": Operation(
                summary="Rename a tenant, or say whether it is open",
                description="Its admins give the name; operators (`ops:write`) the state. Nobody"
                " whose tenant is suspended or deleted gets in, on both APIs within three seconds.",
                tags=TAGS,
                body=TenantChanges,
                response=TenantDocument,
                problems=("TENANT_IS_PERSONAL", "OWN_TENANT"),
                examples={"name": {"name": "Writing circle"}, "state": {"state": "suspended"}},
                operation_id="revise_tenant",
            )
        },
    )
    async def revise_tenant(request: AnyRequest) -> Answer:
        principal = principal_of(request)
        rights = Rights("ops:read" in principal.permissions, "ops:write" in principal.permissions)
        tenant_id = _id_of(request, "tenant_id")
        body = await body_of(request)
        try:
            expected = required_version(request)
            changes = decode_body(body, header(request, b"content-type"), TenantChanges)
        except Problem:
            tenant = await find_tenant(tenant_id, principal.user_id, store, rights)
            if rights.sees and not rights.rules and tenant.member(principal.user_id) is None:
                raise Forbidden("This needs the permission ops:write.") from None
            if not rights.rules:
                tenant.check_right(principal.user_id, "tenant:write")
            raise
        command = ReviseTenant(tenant_id, expected, changes, rights)
        answer = await answering.answer(request, command, _shows(request, "Revised"), body=body)
        await changed()
        return answer

    @delete(
        _ONE,
        opt={
            "operation": Operation(
                summary="Delete a shared tenant",
                tags=TAGS,
                statuses=(204,),
                problems=("TENANT_IS_PERSONAL",),
                operation_id="delete_tenant",
            )
        },
    )
    async def delete_tenant(request: AnyRequest) -> Answer:
        tenant_id = _id_of(request, "tenant_id")
        expected = await _expected(request, store, tenant_id, "tenant:write")
        command = DeleteTenant(tenant_id, expected)
        answer = await answering.answer(request, command, lambda _: no_content(request))
        await changed()
        return answer

    return [create_tenant, revise_tenant, delete_tenant]


def _of_members(answering: Answering, store: EventStore) -> list[HTTPRouteHandler]:
    @post(
        f"{_ONE}/members",
        opt={
            "operation": Operation(
                summary="Let a person into a shared tenant",
                tags=TAGS,
                body=NewMember,
                response=MemberDocument,
                statuses=(201,),
                problems=("TENANT_IS_PERSONAL", "ALREADY_MEMBER"),
                examples={"member": NewMember(UUID("018f4e2a-7c10-7000-8000-000000000001"))},
                operation_id="add_member",
            )
        },
    )
    async def add_member(request: AnyRequest) -> Answer:
        tenant_id = _id_of(request, "tenant_id")
        body = await body_of(request)
        try:
            asked = decode_body(body, header(request, b"content-type"), NewMember)
        except Problem:
            await _may(request, store, tenant_id, "members:write")
            raise
        command = AddMember(tenant_id, asked.user_id, asked.role)
        render = _shows_member(request, asked.user_id, "Member added", status=201)
        return await answering.answer(request, command, render, body=body)

    @patch(
        _MEMBER,
        opt={
            "operation": Operation(
                summary="Change a member's role",
                description="`If-Match` takes the tenant's version.",
                tags=TAGS,
                body=NewRole,
                response=MemberDocument,
                problems=("LAST_ADMIN",),
                examples={"role": NewRole("viewer")},
                operation_id="change_member",
            )
        },
    )
    async def change_member(request: AnyRequest) -> Answer:
        tenant_id = _id_of(request, "tenant_id")
        user_id = _id_of(request, "user_id")
        body = await body_of(request)
        expected = await _expected(request, store, tenant_id, "members:write", user_id)
        try:
            asked = decode_body(body, header(request, b"content-type"), NewRole)
        except Problem:
            await _may(request, store, tenant_id, "members:write", user_id)
            raise
        command = ChangeMember(tenant_id, user_id, asked.role, expected)
        render = _shows_member(request, user_id, "Role changed")
        return await answering.answer(request, command, render, body=body)

    @put(
        f"{_ONE}/sharing",
        opt={
            "operation": Operation(
                summary="Let a tenant's analysts count oneself, or not",
                description="Nobody is counted who has not said so. Who has `analytics:read` in the"
                " tenant then sees one's series: how often and when one did something, and of"
                " entries that are not private the moods, words and numbers; never a text or tag.",
                tags=TAGS,
                body=Sharing,
                response=MemberDocument,
                problems=("TENANT_IS_PERSONAL",),
                examples={"yes": Sharing(analytics=True)},
                operation_id="share_analytics",
            )
        },
    )
    async def share_analytics(request: AnyRequest) -> Answer:
        tenant_id = _id_of(request, "tenant_id")
        body = await body_of(request)
        try:
            asked = decode_body(body, header(request, b"content-type"), Sharing)
        except Problem:
            await _may(request, store, tenant_id, "tenant:read")
            raise
        command = ShareNumbers(tenant_id, asked.analytics)
        user_id = principal_of(request).user_id
        render = _shows_member(request, user_id, "Sharing revised")
        return await answering.answer(request, command, render, body=body)

    @delete(
        _MEMBER,
        opt={
            "operation": Operation(
                summary="Take a member out of a tenant",
                description="Everybody may take themselves out. `If-Match` takes the tenant's"
                " version.",
                tags=TAGS,
                statuses=(204,),
                problems=("LAST_ADMIN",),
                operation_id="remove_member",
            )
        },
    )
    async def remove_member(request: AnyRequest) -> Answer:
        tenant_id = _id_of(request, "tenant_id")
        user_id = _id_of(request, "user_id")
        own = user_id == principal_of(request).user_id
        needed = "tenant:read" if own else "members:write"
        expected = await _expected(request, store, tenant_id, needed, user_id)
        command = RemoveMember(tenant_id, user_id, expected)
        return await answering.answer(request, command, lambda _: no_content(request))

    return [add_member, change_member, share_analytics, remove_member]


async def _expected(
    request: AnyRequest,
    store: EventStore,
    tenant_id: UUID,
    permission: str,
    member: UUID | None = None,
) -> int | None:
    """The version in ``If-Match``; without a good one, 404 and 403 come first."""
    try:
        return required_version(request)
    except Problem:
        await _may(request, store, tenant_id, permission, member)
        raise


async def _may(
    request: AnyRequest,
    store: EventStore,
    tenant_id: UUID,
    permission: str,
    member: UUID | None = None,
) -> None:
    """Pass if the caller may do this in the tenant, and the member is one.

    Raises:
        NotFound, TenantClosed, Forbidden.
    """
    user_id = principal_of(request).user_id
    tenant = await find_tenant(tenant_id, user_id, store)
    tenant.check_right(user_id, permission)
    if member is not None and tenant.member(member) is None:
        raise Problem("NOT_FOUND")


def _id_of(request: AnyRequest, name: str) -> UUID:
    try:
        return UUID(request.path_params[name])
    except ValueError:
        raise Problem("NOT_FOUND") from None


def _shows(request: AnyRequest, message: str, *, status: int = 200) -> Callable[[Tenant], Answer]:
    user_id = principal_of(request).user_id

    def render(tenant: Tenant) -> Answer:
        location = f"{_LIST}/{tenant.id}" if status == 201 else None
        return ok(
            request,
            document_of(tenant, user_id),
            status=status,
            message=message,
            etag=tenant.version,
            location=location,
        )

    return render


def _shows_member(
    request: AnyRequest, user_id: UUID, message: str, *, status: int = 200
) -> Callable[[Tenant], Answer]:
    def render(tenant: Tenant) -> Answer:
        member = next(one for one in members_of(tenant) if one.user_id == user_id)
        location = f"{_LIST}/{tenant.id}/members/{user_id}" if status == 201 else None
        return ok(
            request,
            member,
            status=status,
            message=message,
            etag=tenant.version,
            location=location,
        )

    return render
