from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from domain.accounts.events import Conditions, KeyDeleted, KeyMade, KeyPermission, KeyRevised
from domain.accounts.key import (
    ApiKey,
    KeyChanges,
    KeyDraft,
    TooWide,
    faults_of,
    holds,
    is_origin,
)
from domain.event import Event, Recorded

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY, USER, TENANT = UUID(int=1), UUID(int=2), UUID(int=3)
RIGHTS = frozenset({"journal:read", "journal:write"})
ENTRY = "018f4e2a-7c10-7000-8000-00000000000a"


def make(**fields: Any) -> tuple[Event, ...]:
    draft = KeyDraft(**{"name": "Backup", "permissions": ("journal:read",), **fields})
    return ApiKey.make(
        key_id=KEY, user_id=USER, tenant_id=TENANT, prefix="abcd2345", draft=draft, rights=RIGHTS
    )


def given_events(*events: Event) -> ApiKey:
    key: ApiKey | None = None
    for version, event in enumerate(events, 1):
        key = ApiKey.evolve(
            key,
            Recorded(
                position=version,
                stream_id=ApiKey.stream(KEY),
                stream_version=version,
                tenant_id=TENANT,
                recorded_at=NOON,
                event=event,
            ),
        )
    assert key is not None
    return key


def test_a_key_is_made_as_it_was_wanted() -> None:
    lisbon = NOON.astimezone()
    [made] = make(
        limit_per_minute=5,
        allowed_addresses=["192.0.2.1", " 192.0.2.1"],
        allowed_origins=["HTTPS://App.Example.com/"],
        expires_at=lisbon,
    )
    assert isinstance(made, KeyMade)
    assert made.permissions == (KeyPermission("journal:read"),)
    assert made.allowed_addresses == ("192.0.2.1",)
    assert made.allowed_origins == ("https://app.example.com",)
    assert made.expires_at is not None
    assert made.expires_at.tzinfo is UTC
    key = given_events(made)
    assert (key.id, key.user_id, key.state, key.version) == (KEY, USER, "active", 1)


def test_a_permission_stands_once_and_empty_conditions_are_none() -> None:
    [made] = make(
        permissions=("journal:read", KeyPermission("journal:read", Conditions()), "journal:read")
    )
    assert isinstance(made, KeyMade)
    assert made.permissions == (KeyPermission("journal:read"),)


@pytest.mark.parametrize(
    "permission",
    [
        "ops:read",
        KeyPermission("ops:read"),
        KeyPermission("ops:read", Conditions(methods=("GET",))),
    ],
)
def test_a_key_is_no_wider_than_its_maker(permission: Any) -> None:
    with pytest.raises(TooWide, match="ops:read"):
        make(permissions=("journal:read", permission))
    with pytest.raises(TooWide):
        given_events(*make()).revise(KeyChanges(permissions=(permission,)), RIGHTS)


def test_a_revision_says_what_changes_and_no_more() -> None:
    key = given_events(*make(limit_per_hour=7))
    assert key.revise(KeyChanges(name="Backup", limit_per_hour=7), RIGHTS) == ()
    [event] = key.revise(KeyChanges(name="Nightly", limit_per_hour=None, state="suspended"), RIGHTS)
    assert event == KeyRevised(
        key_id=KEY, user_id=USER, name="Nightly", limit_per_hour=None, state="suspended"
    )
    after = given_events(*make(limit_per_hour=7), event)
    assert (after.name, after.limit_per_hour, after.state, after.version) == (
        "Nightly", None, "suspended", 2,
    )  # fmt: skip
    [cleared] = given_events(*make(allowed_addresses=["192.0.2.1"])).revise(
        KeyChanges(allowed_addresses=None), RIGHTS
    )
    assert isinstance(cleared, KeyRevised)
    assert cleared.allowed_addresses == ()


def test_a_key_expires_whatever_its_state_but_deleted() -> None:
    for state in ("active", "inactive", "suspended"):
        key = given_events(*make(state=state, expires_at=NOON))
        assert key.state_at(NOON - timedelta(seconds=1)) == state
        assert key.state_at(NOON) == "expired"
    gone = given_events(*make(expires_at=NOON), KeyDeleted(key_id=KEY, user_id=USER))
    assert gone.state_at(NOON) == "deleted"


@pytest.mark.parametrize(
    ("conditions", "method", "path", "hold"),
    [
        ({}, "GET", "/v1/journal/entries", True),
        ({"methods": ["GET"]}, "GET", "/v1/journal/entries", True),
        ({"methods": ["GET"]}, "HEAD", "/v1/journal/entries", True),
        ({"methods": ["GET"]}, "POST", "/v1/journal/entries", False),
        ({"ids": [ENTRY]}, "GET", f"/v1/journal/entries/{ENTRY}", True),
        ({"ids": [ENTRY]}, "GET", f"/v1/journal/entries/{ENTRY.replace('-', '').upper()}", True),
        ({"ids": [ENTRY]}, "GET", f"/v1/journal/entries/{ENTRY}/attachments/{KEY}", True),
        ({"ids": [ENTRY]}, "GET", f"/v1/journal/entries/{KEY}/attachments/{ENTRY}", False),
        ({"ids": [ENTRY]}, "GET", "/v1/journal/entries", False),
        ({"until": "2026-03-01T12:00:00Z"}, "GET", "/v1/journal/entries", False),
        ({"until": "2026-03-01T12:00:01Z"}, "GET", "/v1/journal/entries", True),
        ({"until": "2999-01-01T00:00:00Z", "methods": ["PUT"]}, "GET", "/v1/me", False),
    ],
)
def test_all_conditions_must_hold(
    conditions: dict[str, Any], method: str, path: str, hold: bool
) -> None:
    assert holds(msgspec.convert(conditions, Conditions), method, path, NOON) is hold


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("https://app.example.com", True),
        ("http://localhost:3000", True),
        ("http://[::1]:3000", True),
        ("chrome-extension://abcdef", True),
        ("https://app.example.com/", True),
        ("https://app.example.com/path", False),
        ("https://app.example.com?x", False),
        ("https://user@app.example.com", False),
        ("https://app.example.com:0", False),
        ("https://app.example.com:70000", False),
        ("https://", False),
        ("app.example.com", False),
        ("*", False),
        ("null", False),
    ],
)
def test_origins(text: str, good: bool) -> None:
    assert is_origin(text) is good


def test_faults_are_told_by_their_place() -> None:
    fields = {"allowed_addresses": ["192.0.2.0/33", "::1", 5], "allowed_origins": ["*"], "name": 1}
    assert [fault.field for fault in faults_of(fields)] == [
        "allowed_addresses.0",
        "allowed_origins.0",
    ]
