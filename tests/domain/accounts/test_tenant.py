from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts.events import (
    MemberAdded,
    MemberRemoved,
    MemberRoleChanged,
    SharingRevised,
    TenantCreated,
    TenantDeleted,
    TenantReactivated,
    TenantRenamed,
    TenantSuspended,
)
from domain.accounts.tenant import (
    AlreadyMember,
    LastAdmin,
    Tenant,
    TenantClosed,
    TenantIsPersonal,
)
from domain.errors import Forbidden, NotFound
from domain.event import Event, Recorded

TENANT, ANNA, BEN, EVE = (UUID(int=number) for number in range(1, 5))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def given_events(*events: Event) -> Tenant:
    tenant: Tenant | None = None
    for version, event in enumerate(events, 1):
        tenant = Tenant.evolve(
            tenant,
            Recorded(
                position=version,
                stream_id=Tenant.stream(TENANT),
                stream_version=version,
                tenant_id=TENANT,
                recorded_at=NOON,
                event=event,
            ),
        )
    assert tenant is not None
    return tenant


SHARED = Tenant.create(tenant_id=TENANT, user_id=ANNA, name="Circle")
PERSONAL = Tenant.create(tenant_id=TENANT, user_id=ANNA)
BEN_VIEWS = MemberAdded(tenant_id=TENANT, user_id=BEN, role="viewer")


def test_whoever_begins_a_tenant_is_its_admin() -> None:
    [created] = Tenant.create(tenant_id=TENANT, user_id=ANNA, name="Circle")
    assert created == TenantCreated(tenant_id=TENANT, user_id=ANNA, personal=False, name="Circle")
    tenant = given_events(*SHARED)
    assert tenant.permissions_of(ANNA) == (
        "analytics:read", "members:write", "tenant:read", "tenant:write",
    )  # fmt: skip
    assert tenant.permissions_of(BEN) == ()


def test_a_personal_tenant_stays_what_it_is() -> None:
    tenant = given_events(*PERSONAL)
    with pytest.raises(TenantIsPersonal):
        tenant.rename("Mine", ANNA)
    with pytest.raises(TenantIsPersonal):
        tenant.add(BEN, "member")


def test_members_come_and_go() -> None:
    tenant = given_events(*SHARED)
    assert tenant.add(BEN, "viewer") == (BEN_VIEWS,)
    both = given_events(*SHARED, BEN_VIEWS)
    with pytest.raises(AlreadyMember):
        both.add(BEN, "admin")
    assert both.change_role(BEN, "viewer") == ()
    with pytest.raises(LastAdmin):
        both.change_role(ANNA, "member")
    with pytest.raises(LastAdmin):
        both.remove(ANNA)
    with pytest.raises(NotFound):
        both.remove(EVE)
    [promoted] = both.change_role(BEN, "admin")
    assert promoted == MemberRoleChanged(tenant_id=TENANT, user_id=BEN, role="admin")
    [left] = given_events(*SHARED, BEN_VIEWS, promoted).remove(ANNA)
    assert [one.user_id for one in given_events(*SHARED, BEN_VIEWS, promoted, left).members] == [
        BEN
    ]


def test_members_are_counted_only_if_they_say_so() -> None:
    with pytest.raises(TenantIsPersonal):
        given_events(*PERSONAL).share(ANNA, True)
    tenant = given_events(*SHARED, BEN_VIEWS)
    assert [one.shares_analytics for one in tenant.members] == [False, False]
    assert tenant.share(BEN, False) == ()
    with pytest.raises(NotFound):
        tenant.share(EVE, True)
    [shares] = tenant.share(BEN, True)
    assert shares == SharingRevised(tenant_id=TENANT, user_id=BEN, analytics=True)
    sharing = given_events(*SHARED, BEN_VIEWS, shares)
    assert [one.shares_analytics for one in sharing.members] == [False, True]
    assert sharing.share(BEN, True) == ()
    # Whoever left and was let in again is asked again.
    left = MemberRemoved(tenant_id=TENANT, user_id=BEN)
    back = given_events(*SHARED, BEN_VIEWS, shares, left, BEN_VIEWS)
    assert [one.shares_analytics for one in back.members] == [False, False]


def test_what_a_role_allows() -> None:
    tenant = given_events(*SHARED, BEN_VIEWS)
    tenant.check_right(BEN, "tenant:read")
    with pytest.raises(Forbidden):
        tenant.check_right(BEN, "members:write")
    with pytest.raises(NotFound):
        tenant.check_right(EVE, "tenant:read")
    suspended = given_events(*SHARED, TenantSuspended(tenant_id=TENANT))
    with pytest.raises(TenantClosed):
        suspended.check_right(ANNA, "tenant:read")
    deleted = given_events(*SHARED, TenantDeleted(tenant_id=TENANT))
    with pytest.raises(NotFound):
        deleted.check_right(ANNA, "tenant:read")


def test_names_and_states_change_once() -> None:
    tenant = given_events(*SHARED)
    assert tenant.rename("Circle", BEN) == ()
    assert tenant.rename("Ring", BEN) == (
        TenantRenamed(tenant_id=TENANT, user_id=BEN, name="Ring"),
    )
    assert tenant.become("active") == ()
    assert tenant.become("suspended") == (TenantSuspended(tenant_id=TENANT),)
    suspended = given_events(*SHARED, TenantSuspended(tenant_id=TENANT))
    assert suspended.become("active") == (TenantReactivated(tenant_id=TENANT),)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "change", "remove"]),
            st.sampled_from([ANNA, BEN, EVE]),
            st.sampled_from(["admin", "member", "viewer"]),
        )
    )
)
def test_a_shared_tenant_is_never_left_without_an_admin(steps: list[tuple[str, UUID, str]]) -> None:
    events: list[Event] = [*SHARED]
    for verb, who, role in steps:
        tenant = given_events(*events)
        try:
            if verb == "add":
                events += tenant.add(who, role)  # type: ignore[arg-type]  # one of the roles
            elif verb == "change":
                events += tenant.change_role(who, role)  # type: ignore[arg-type]
            else:
                events += tenant.remove(who)
        except (AlreadyMember, LastAdmin, NotFound):
            continue
        members = given_events(*events).members
        assert any(one.role == "admin" for one in members)
        assert len({one.user_id for one in members}) == len(members)
