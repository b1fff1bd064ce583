"""The login: one device on which a person is logged in, from its beginning to its end.

Pure. Tokens and their hashes are no part of it; they live with the credentials.
"""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.accounts.events import LoggedIn, LoggedOut, LoginEnded
from domain.event import Event, Recorded

Reason = Literal["logout", "refresh_token_reused"]


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A login as its stream tells it."""

    CATEGORY: ClassVar[str] = "accounts.login"
    SNAPSHOT: ClassVar[str] = "accounts.Login.1"

    id: UUID
    user_id: UUID
    ended: bool = False
    version: int

    @classmethod
    def stream(cls, login_id: UUID) -> str:
        """The login's stream."""
        return f"{cls.CATEGORY}-{login_id}"

    @classmethod
    def begin(
        cls, *, login_id: UUID, user_id: UUID, address: str | None, agent: str | None
    ) -> tuple[Event, ...]:
        """A new login."""
        return (LoggedIn(login_id=login_id, user_id=user_id, address=address, agent=agent),)

    def end(self, reason: Reason) -> tuple[Event, ...]:
        """The end of the login; no event where it has ended before."""
        if self.ended:
            return ()
        if reason == "logout":
            return (LoggedOut(login_id=self.id, user_id=self.user_id),)
        return (LoginEnded(login_id=self.id, user_id=self.user_id, reason=reason),)

    @classmethod
    def evolve(cls, state: Login | None, recorded: Recorded) -> Login:
        """The login after one more event of its stream."""
        event = recorded.event
        if isinstance(event, LoggedIn):
            return cls(id=event.login_id, user_id=event.user_id, version=recorded.stream_version)
        if state is None:
            raise ValueError(f"{recorded.stream_id} begins with {type(event).__name__}")
        return msgspec.structs.replace(state, ended=True, version=recorded.stream_version)
