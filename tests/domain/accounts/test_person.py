from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts.events import (
    ConsentRecorded,
    GithubLinked,
    PermissionsGranted,
    PersonDeleted,
    PersonRegistered,
    PersonRestored,
    ProfileRevised,
    RecoveryCodeUsed,
    SettingsRevised,
    TotpDisabled,
    TotpEnabled,
)
from domain.accounts.person import EVERYONE, OPERATOR, RECOVERABLE, PastRecovery, Person
from domain.accounts.profile import Changes, NotificationChanges, Terms
from domain.event import Event, Recorded

USER, TENANT = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TERMS = Terms("v1", "v1", True, False)
REGISTERED = PersonRegistered(
    user_id=USER, tenant_id=TENANT, email="ada@example.com", display_name="Ada"
)


def given_events(*events: Event, every: timedelta = timedelta(hours=1)) -> Person:
    return folded(None, events, every)


def folded(
    person: Person | None, events: Sequence[Event], every: timedelta = timedelta(hours=1)
) -> Person:
    version = 0 if person is None else person.version
    for event in events:
        version += 1
        person = Person.evolve(
            person,
            Recorded(
                position=version,
                stream_id=Person.stream(USER),
                stream_version=version,
                tenant_id=TENANT,
                recorded_at=NOON + (version - 1) * every,
                event=event,
            ),
        )
    assert person is not None
    return person


def register(**changes: Any) -> tuple[Event, ...]:
    values: dict[str, Any] = {
        "user_id": USER,
        "tenant_id": TENANT,
        "email": "ada@example.com",
        "display_name": "Ada",
        "username": None,
        "timezone": "UTC",
        "language": "en",
        "terms": TERMS,
    }
    return Person.register(**{**values, **changes})


def test_registering_tells_of_the_person_and_of_the_consent() -> None:
    events = register(address="192.0.2.1", agent="Firefox")
    assert [type(event) for event in events] == [PersonRegistered, ConsentRecorded]
    person = given_events(*events)
    assert person.version == 2
    assert person.permissions == EVERYONE
    assert person.created_at == NOON
    assert person.consent is not None
    assert person.consent.address == "192.0.2.1"


def test_an_operator_is_registered_with_rights_and_no_consent() -> None:
    person = given_events(*register(terms=None, permissions=OPERATOR))
    assert person.consent is None
    assert set(person.permissions) == {*EVERYONE, *OPERATOR}


def test_a_revision_tells_the_changed_fields_only() -> None:
    person = given_events(REGISTERED)
    changes = Changes(display_name="Ada", bio="Engines", timezone="Europe/Lisbon", theme="system")
    assert person.revise(changes) == (
        ProfileRevised(user_id=USER, bio="Engines"),
        SettingsRevised(user_id=USER, timezone="Europe/Lisbon"),
    )


def test_null_clears_and_clearing_what_is_clear_is_no_change() -> None:
    person = given_events(REGISTERED, ProfileRevised(user_id=USER, bio="Engines"))
    [cleared] = person.revise(Changes(bio=None, website=None))
    assert cleared == ProfileRevised(user_id=USER, bio=None)
    assert folded(person, [cleared]).bio is None


def test_preferences_and_switches_are_set_one_by_one() -> None:
    person = given_events(REGISTERED)
    [event] = person.revise(
        Changes(
            preferences={"infer_mood": True, "editor": {"font": 14}},
            notifications=NotificationChanges(push=True, email=True),
        )
    )
    assert isinstance(event, SettingsRevised)
    assert event.notifications == {"push": True}
    person = folded(person, [event])
    assert person.preference("infer_mood") is True
    assert person.preference("auto_save") is True
    assert person.notifications.push
    [event] = person.revise(Changes(preferences={"editor": None}))
    assert folded(person, [event]).preferences == {"infer_mood": True}
    [event] = person.revise(Changes(preferences=None))
    assert folded(person, [event]).preferences == {}


def test_true_and_one_are_different_preferences() -> None:
    person = given_events(REGISTERED, SettingsRevised(user_id=USER, preferences={"zoom": 1}))
    assert person.revise(Changes(preferences={"zoom": True}))
    assert not person.revise(Changes(preferences={"zoom": 1}))


def test_a_consent_keeps_the_time_at_which_a_version_was_accepted() -> None:
    person = given_events(*register())
    assert person.consents(TERMS, "192.0.2.9", None) == ()
    person = folded(person, person.consents(Terms("v2", "v1", False, False), "192.0.2.9", None))
    consent = person.consent
    assert consent is not None
    assert consent.terms_accepted_at == NOON + timedelta(hours=2)
    assert consent.privacy_policy_accepted_at == NOON + timedelta(hours=1)
    assert consent.data_processing is False
    assert consent.recorded_at == NOON + timedelta(hours=2)


def test_permissions_are_granted_once() -> None:
    person = given_events(REGISTERED)
    events = person.granted(("ops:read", "journal:read"))
    assert events == (PermissionsGranted(user_id=USER, permissions=("ops:read",)),)
    assert folded(person, events).granted(("ops:read",)) == ()


texts = st.text(min_size=1, max_size=20)
changes_strategy = st.builds(
    Changes,
    display_name=texts,
    bio=st.none() | texts,
    theme=st.sampled_from(["light", "dark", "system"]),
    private_mode=st.booleans(),
    preferences=st.none()
    | st.dictionaries(texts, st.none() | st.booleans() | st.integers(-3, 3) | texts, max_size=4),
    notifications=st.builds(NotificationChanges, sms=st.booleans(), push=st.booleans()),
)


@given(st.lists(changes_strategy, max_size=5))
def test_what_was_asked_for_holds_and_asking_again_changes_nothing(wanted: list[Changes]) -> None:
    person = given_events(REGISTERED)
    for changes in wanted:
        person = folded(person, person.revise(changes))
        assert person.display_name == changes.display_name
        assert person.bio == changes.bio
        assert None not in person.preferences.values()
        assert person.revise(changes) == ()


def test_the_second_factor_is_switched_on_and_off_once() -> None:
    enabled, disabled = TotpEnabled(user_id=USER), TotpDisabled(user_id=USER)
    person = given_events(REGISTERED)
    assert person.disable_totp() == ()
    assert person.enable_totp() == (enabled,)
    person = given_events(REGISTERED, enabled)
    assert person.two_factor_enabled
    assert person.enable_totp() == ()
    assert person.disable_totp() == (disabled,)
    assert not given_events(REGISTERED, enabled, disabled).two_factor_enabled
    used = person.use_recovery_code(9)
    assert used == (RecoveryCodeUsed(user_id=USER, remaining=9),)
    assert folded(person, used).two_factor_enabled


def test_github_vouches_for_the_address() -> None:
    linked = GithubLinked(user_id=USER, github_login="ada-l")
    assert given_events(REGISTERED).link_github("ada-l") == (linked,)
    person = given_events(REGISTERED, linked)
    assert (person.email_verified, person.github_login) == (True, "ada-l")
    assert person.link_github("ada-l") == ()
    assert register(github_login="ada-l")[-1] == linked


def test_whoever_left_may_come_back_for_thirty_days() -> None:
    deleted, restored = PersonDeleted(user_id=USER), PersonRestored(user_id=USER)
    here = given_events(REGISTERED)
    assert here.leave() == (deleted,)
    assert here.come_back(NOON) == ()
    gone = given_events(REGISTERED, deleted)
    assert gone.deleted_at == NOON + timedelta(hours=1)
    assert gone.leave() == ()
    assert gone.come_back(gone.deleted_at + RECOVERABLE) == (restored,)
    with pytest.raises(PastRecovery):
        gone.come_back(gone.deleted_at + RECOVERABLE + timedelta(seconds=1))
    assert given_events(REGISTERED, deleted, restored).deleted_at is None
