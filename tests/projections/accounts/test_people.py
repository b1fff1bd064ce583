from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from domain.accounts.events import (
    GithubLinked,
    LoggedIn,
    PersonDeleted,
    PersonRegistered,
    PersonRestored,
    ProfileRevised,
    RecoveryCodeUsed,
    SettingsRevised,
    TotpDisabled,
    TotpEnabled,
)
from domain.accounts.person import Person
from domain.event import Event, Recorded
from projections.accounts.people import (
    People,
    PersonRow,
    PersonStatistics,
    document_of,
    today_of,
)

USER, TENANT, LOGIN = UUID(int=1), UUID(int=2), UUID(int=3)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REGISTERED = PersonRegistered(
    user_id=USER,
    tenant_id=TENANT,
    email="ada@example.com",
    display_name="Ada",
    timezone="Pacific/Kiritimati",
)


def recorded(event: Event, version: int = 1, hours: int = 0) -> Recorded:
    stream = f"accounts.login-{LOGIN}" if isinstance(event, LoggedIn) else Person.stream(USER)
    return Recorded(
        position=version + hours,
        stream_id=stream,
        stream_version=version,
        tenant_id=TENANT,
        recorded_at=NOON + timedelta(hours=hours),
        event=event,
    )


def fold(*events: Recorded) -> PersonRow | None:
    view = People()
    row: PersonRow | None = None
    for one in events:
        [key] = view.keys_of(one)
        row = view.fold(key, row, one)
    return row


LOGGED_IN = LoggedIn(login_id=LOGIN, user_id=USER)


def test_a_row_follows_the_person_and_their_logins() -> None:
    row = fold(
        recorded(REGISTERED),
        recorded(LOGGED_IN, 1, hours=1),
        recorded(ProfileRevised(user_id=USER, bio="Engines"), 2, hours=2),
        recorded(SettingsRevised(user_id=USER, timezone="Europe/Lisbon"), 3, hours=3),
    )
    assert row is not None
    assert (row.user_id, row.tenant_id, row.version) == (USER, TENANT, 3)
    assert row.timezone == "Europe/Lisbon"
    assert row.last_login_at == NOON + timedelta(hours=1)
    assert msgspec.json.decode(row.document, type=Person).bio == "Engines"


def test_a_row_follows_the_ways_in_and_out() -> None:
    row = fold(
        recorded(REGISTERED),
        recorded(TotpEnabled(user_id=USER), 2),
        recorded(RecoveryCodeUsed(user_id=USER, remaining=9), 3),
        recorded(GithubLinked(user_id=USER, github_login="ada-l"), 4),
        recorded(PersonDeleted(user_id=USER), 5, hours=5),
    )
    assert row is not None
    known = msgspec.json.decode(row.document, type=Person)
    shown = document_of(known, totals=None, last_login_at=None, now=NOON)
    assert (shown.two_factor_enabled, shown.github_login, shown.email_verified) == (
        True,
        "ada-l",
        True,
    )
    assert (row.version, known.deleted_at) == (5, NOON + timedelta(hours=5))
    row = People().fold((USER,), row, recorded(PersonRestored(user_id=USER), 6))
    row = People().fold((USER,), row, recorded(TotpDisabled(user_id=USER), 7))
    assert row is not None
    known = msgspec.json.decode(row.document, type=Person)
    assert (known.deleted_at, known.two_factor_enabled) == (None, False)


def test_only_a_registration_makes_a_row() -> None:
    view = People()
    assert view.creates(recorded(REGISTERED))
    assert not view.creates(recorded(LOGGED_IN))
    assert fold(recorded(LOGGED_IN)) is None


def person() -> Person:
    row = fold(recorded(REGISTERED))
    assert row is not None
    return msgspec.json.decode(row.document, type=Person)


def test_the_representation_has_every_field_of_the_contract() -> None:
    document = document_of(person(), totals=PersonStatistics(), last_login_at=None, now=NOON)
    shown = msgspec.json.decode(msgspec.json.encode(document))
    assert set(shown) >= set(
        "id email email_verified username display_name full_name organization photo_url bio website"
        " phone timezone language theme tier tenant_id permissions preferences notifications"
        " consent private_mode statistics created_at last_login_at version".split()
    )
    assert set(shown["statistics"]) == set(
        "current_streak longest_streak total_entries total_words avg_words_per_entry"
        " joined_days_ago".split()
    )
    assert len(shown["notifications"]) == 8
    assert shown["preferences"]["infer_mood"] is False
    assert shown["created_at"] == "2026-03-01T12:00:00Z"


@pytest.mark.parametrize(("hours", "days"), [(0, 0), (21, 0), (22, 1), (46, 2)])
def test_days_are_counted_where_the_person_is(hours: int, days: int) -> None:
    """Noon in UTC is two in the morning of the next day on Kiritimati."""
    now = NOON + timedelta(hours=hours)
    assert today_of(person(), NOON) == date(2026, 3, 2)
    document = document_of(person(), totals=PersonStatistics(), last_login_at=None, now=now)
    assert document.statistics is not None
    assert document.statistics.joined_days_ago == days


def test_statistics_that_cannot_be_known_are_null() -> None:
    assert document_of(person(), totals=None, last_login_at=None, now=NOON).statistics is None
