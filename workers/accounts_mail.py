"""Reactions that write to people about their accounts.

Owns who gets which letter because of which event. A token is drawn when its letter is sent, under
the reaction's key, so that no event holds one and a repeat holds the same one. Whoever was erased
has no address any more and gets no letter.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from commands.mail import Mailer
from commands.ports import EventStore
from commands.recovery import MailTokens, Purpose
from domain.accounts.events import (
    PasswordReset,
    PasswordResetRequested,
    PersonRegistered,
    RegistrationRepeated,
)
from domain.accounts.person import Person
from domain.event import Event, Recorded
from domain.reaction import Effect
from workers.accounts_letters import Template, written
from workers.posting import post
from workers.reactions import Reaction

PATHS: dict[Purpose, str] = {
    "verify_email": "/account/verify-email",
    "reset_password": "/account/reset-password",
}
"""Where a letter's link leads, below the public address."""


class AccountsMail(Reaction):
    """Base of the reactions here; ``public_url`` is where people reach us."""

    stale_after: ClassVar[timedelta | None] = timedelta(days=2)
    switch: ClassVar[str | None] = None
    """The person's notification switch that must be on; letters for their safety have none."""

    def __init__(
        self, store: EventStore, tokens: MailTokens, mailer: Mailer, public_url: str
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._mailer = mailer
        self._public_url = public_url.rstrip("/")

    @abstractmethod
    def letter_for(self, person: Person) -> tuple[Template, Purpose | None] | None:
        """Which letter the person gets, and what its token is for; None for none."""

    async def react(self, recorded: Recorded, key: UUID) -> Effect | None:
        """Send the letter, if there is somebody to write to.

        Raises:
            Unavailable: it cannot be handed over now.
            MailRefused: it is not taken.
        """
        event: Any = recorded.event
        if event.user_id is None:
            return None
        person = await self._store.load(Person, Person.stream(event.user_id))
        if person is None or "@" not in person.email or not self._wanted(person):
            return None
        wanted = self.letter_for(person)
        if wanted is None:
            return None
        template, purpose = wanted
        values = {"name": person.display_name}
        if purpose is not None:
            token = await self._tokens.issue(key, purpose, person.id)
            if token is None:
                return None  # enough of them: somebody means to fill a mailbox
            # Behind the #, a token is in no server's log.
            values |= {"token": token, "link": f"{self._public_url}{PATHS[purpose]}#token={token}"}
        text = written(template, person.language, values)
        return await post(self._mailer, key, template, person, text, recorded)

    def _wanted(self, person: Person) -> bool:
        if self.switch is None:
            return True
        return person.notifications.email and bool(getattr(person.notifications, self.switch))


class VerificationMail(AccountsMail):
    """Asks somebody new to confirm their address."""

    name: ClassVar[str] = "accounts.verification_mail"
    takes: ClassVar[tuple[type[Event], ...]] = (PersonRegistered,)

    def letter_for(self, person: Person) -> tuple[Template, Purpose | None] | None:
        """Whoever is vouched for need not confirm anything."""
        return None if person.email_verified else ("verify_email", "verify_email")


class ResetMail(AccountsMail):
    """Sends the token with which a new password is set."""

    name: ClassVar[str] = "accounts.reset_mail"
    takes: ClassVar[tuple[type[Event], ...]] = (PasswordResetRequested,)

    def letter_for(self, person: Person) -> tuple[Template, Purpose | None] | None:
        """Everybody who is there."""
        return ("reset_password", "reset_password")


class PasswordChangedMail(AccountsMail):
    """Tells somebody that their password was changed."""

    name: ClassVar[str] = "accounts.password_changed_mail"
    takes: ClassVar[tuple[type[Event], ...]] = (PasswordReset,)

    def letter_for(self, person: Person) -> tuple[Template, Purpose | None] | None:
        """Everybody who is there."""
        return ("password_changed", None)


class RegistrationHint(AccountsMail):
    """Tells somebody that they have an account, or asks again that they confirm its address."""

    name: ClassVar[str] = "accounts.registration_hint"
    takes: ClassVar[tuple[type[Event], ...]] = (RegistrationRepeated,)

    def letter_for(self, person: Person) -> tuple[Template, Purpose | None] | None:
        """Whoever has not confirmed the address is likely to be the one who tries again."""
        if person.email_verified:
            return ("already_registered", None)
        return ("verify_email", "verify_email")


REACTIONS: tuple[type[AccountsMail], ...] = (
    VerificationMail,
    ResetMail,
    PasswordChangedMail,
    RegistrationHint,
)
"""All reactions of this module."""
