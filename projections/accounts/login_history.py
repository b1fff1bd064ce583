"""Which logins a person has ever had, so that all their events can be found again.

A login is a stream of its own, and what is known of it beside the events is swept some time after
its end. The view keeps ids only: what happened is in the streams.

Owns the table ``accounts_login_history``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.accounts.events import LoggedIn
from domain.accounts.login import Login
from domain.event import Event, Recorded
from projections.engine.view import RowView
from projections.reading import Query, Reader

# One value, so that all ids are of one moment and take 16 bytes each.
LOGIN_IDS = Query(
    "accounts_login_ids",
    "SELECT string_agg(uuid_send(login_id), ''::bytea ORDER BY began_at, login_id)"
    " FROM accounts_login_history WHERE user_id = $1",
    ("uuid",),
)


class LoginRow(msgspec.Struct, frozen=True):
    """A row of ``accounts_login_history``."""

    login_id: UUID
    user_id: UUID
    began_at: datetime


class LoginHistory(RowView[LoginRow]):
    """The view ``accounts.login_history``."""

    name: ClassVar[str] = "accounts.login_history"
    takes: ClassVar[tuple[type[Event], ...]] = (LoggedIn,)
    table: ClassVar[str] = "accounts_login_history"
    row: ClassVar[type[msgspec.Struct]] = LoginRow
    key: ClassVar[tuple[str, ...]] = ("login_id",)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The login's stream."""
        return Login.stream(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The login."""
        return ((recorded.event.login_id,),)  # type: ignore[attr-defined]  # all that it takes have

    def fold(
        self, key: tuple[Any, ...], row: LoginRow | None, recorded: Recorded
    ) -> LoginRow | None:
        """The row of a login that began."""
        event = recorded.event
        assert isinstance(event, LoggedIn)
        return LoginRow(event.login_id, event.user_id, recorded.recorded_at)


async def login_ids(reader: Reader, user_id: UUID) -> bytes:
    """The ids of all logins, oldest first: 16 bytes each, one after the other."""
    [[packed]] = await reader.rows(LOGIN_IDS, user_id, user_id=user_id)
    return packed or b""
