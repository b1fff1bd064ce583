from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from domain.accounts.events import LoggedIn, LoggedOut, LoginEnded
from domain.accounts.login import Login
from domain.event import Event, Recorded

LOGIN, USER = UUID(int=1), UUID(int=2)


def given_events(*events: Event) -> Login:
    login: Login | None = None
    for version, event in enumerate(events, 1):
        recorded = Recorded(
            position=version,
            stream_id=Login.stream(LOGIN),
            stream_version=version,
            tenant_id=USER,
            recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
            event=event,
        )
        login = Login.evolve(login, recorded)
    assert login is not None
    return login


BEGUN = LoggedIn(login_id=LOGIN, user_id=USER, address=None, agent=None)


def test_a_login_begins() -> None:
    assert Login.begin(login_id=LOGIN, user_id=USER, address=None, agent=None) == (BEGUN,)


def test_a_login_ends_once_by_its_person_or_for_safety() -> None:
    login = given_events(BEGUN)
    [by_person] = login.end("logout")
    [for_safety] = login.end("refresh_token_reused")
    assert by_person == LoggedOut(login_id=LOGIN, user_id=USER)
    assert for_safety == LoginEnded(login_id=LOGIN, user_id=USER, reason="refresh_token_reused")
    for event in (by_person, for_safety):
        assert given_events(BEGUN, event).end("logout") == ()
