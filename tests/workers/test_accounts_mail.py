"""Who gets which letter: given what happened, when the reaction runs, then this is sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

import commands.recovery  # noqa: F401  registers its handlers
from commands.accounts import RegisterPerson, RevisePerson
from commands.bus import Bus
from commands.mail import Letter, MailUnavailable
from commands.ports import Append, Context
from commands.recovery import Purpose, RequestPasswordReset, ResetPassword, VerifyEmail
from domain.accounts.events import (
    PasswordReset,
    PasswordResetRequested,
    PersonRegistered,
    ProfileRevised,
)
from domain.accounts.person import Person
from domain.accounts.profile import Changes, NotificationChanges
from domain.event import Event
from tests.support.memory_store import MemoryEventStore
from workers.accounts_letters import Template
from workers.accounts_mail import (
    REACTIONS,
    AccountsMail,
    PasswordChangedMail,
    ResetMail,
    VerificationMail,
)
from workers.reactions import Unavailable, key_of

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Tokens:
    """Gives a token for each letter, while there are any left."""

    left = True

    async def issue(self, key: UUID, purpose: Purpose, user_id: UUID) -> str | None:
        return f"{purpose}-{key.hex}" if self.left else None

    async def owner(self, purpose: Purpose, token: str) -> UUID | None:
        raise NotImplementedError

    async def use(self, purpose: Purpose, token: str) -> None:
        raise NotImplementedError

    async def reset(self, token: str, user_id: UUID, password_hash: str) -> bool:
        raise NotImplementedError

    async def sweep(self) -> int:
        raise NotImplementedError


class Outbox:
    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.away = False

    async def send(self, letter: Letter) -> str:
        if self.away:
            raise MailUnavailable
        self.letters.append(letter)
        return f"<{letter.key}@x>"


class House:
    def __init__(self) -> None:
        self.store, self.tokens, self.outbox = MemoryEventStore(), Tokens(), Outbox()
        self.bus = Bus(self.store)
        self.user = uuid7()

    def context(self) -> Context:
        return Context(
            user_id=self.user,
            tenant_id=self.user,
            actor=f"user:{self.user}",
            now=NOON,
            correlation_id="req_1",
        )

    async def given(self, *commands: object) -> None:
        register = RegisterPerson(
            email="ana@example.org", display_name="Ana", language="pt", terms=None
        )
        for command in (register, *commands):
            await self.bus.dispatch(command, self.context())

    async def when(self, kind: type[AccountsMail], of: type[Event]) -> Sequence[Letter]:
        reaction = kind(self.store, self.tokens, self.outbox, "https://mind.example/")
        recorded = next(each for each in self.store.events if isinstance(each.event, of))
        assert type(recorded.event) in reaction.takes
        effect = await reaction.react(recorded, key_of(kind.name, recorded))
        assert (effect is None) == (self.outbox.letters == [])
        if effect is not None:
            [letter] = self.outbox.letters
            assert (effect.did, effect.subject_id) == (f"mail:{letter.template}", self.user)
            assert letter.to not in repr(effect) + repr(letter)
        return self.outbox.letters


@pytest.fixture
def house() -> House:
    return House()


async def test_somebody_new_is_asked_to_confirm_in_their_language(house: House) -> None:
    await house.given()
    [letter] = await house.when(VerificationMail, PersonRegistered)
    assert (letter.template, letter.to, letter.language) == (
        "verify_email", "ana@example.org", "pt",
    )  # fmt: skip
    assert letter.at == NOON
    token = f"verify_email-{letter.key.hex}"
    assert f"https://mind.example/account/verify-email#token={token}\n" in letter.text
    assert "Olá Ana" in letter.text


async def test_the_same_event_makes_the_same_letter(house: House) -> None:
    await house.given()
    [first] = await house.when(VerificationMail, PersonRegistered)
    house.outbox.letters.clear()
    assert await house.when(VerificationMail, PersonRegistered) == [first]


async def test_whoever_has_confirmed_meanwhile_is_not_asked(house: House) -> None:
    await house.given(VerifyEmail())
    assert await house.when(VerificationMail, PersonRegistered) == []


async def test_a_request_for_nobody_sends_nothing(house: House) -> None:
    await house.given(RequestPasswordReset(uuid7(), None))
    assert await house.when(ResetMail, PasswordResetRequested) == []


async def test_one_letter_too_many_is_not_sent(house: House) -> None:
    house.tokens.left = False
    await house.given(RequestPasswordReset(uuid7(), house.user))
    assert await house.when(ResetMail, PasswordResetRequested) == []


async def test_whoever_was_erased_gets_no_letter(house: House) -> None:
    stream = Person.stream(house.user)
    erased = PersonRegistered(
        user_id=house.user, tenant_id=house.user, email="", display_name="", username=None
    )
    await house.store.append(house.context(), Append(stream, 0, (erased,)))
    assert await house.when(VerificationMail, PersonRegistered) == []


async def test_while_mail_is_away_the_reaction_waits(house: House) -> None:
    await house.given()
    house.outbox.away = True
    with pytest.raises(Unavailable):
        await house.when(VerificationMail, PersonRegistered)


class Praise(AccountsMail):
    """A letter that nobody needs."""

    name: ClassVar[str] = "tests.praise"
    takes: ClassVar[tuple[type[Event], ...]] = (ProfileRevised,)
    switch: ClassVar[str | None] = "marketing_emails"

    def letter_for(self, person: Person) -> tuple[Template, Purpose | None] | None:
        return ("already_registered", None)


@pytest.mark.parametrize(
    ("switches", "sent"),
    [
        ({}, False),
        ({"marketing_emails": True}, True),
        ({"marketing_emails": True, "email": False}, False),
    ],
)
async def test_switches_are_heeded(house: House, switches: dict[str, bool], sent: bool) -> None:
    changes = Changes(full_name="Ana", notifications=NotificationChanges(**switches))
    await house.given(RevisePerson(None, changes))
    assert bool(await house.when(Praise, ProfileRevised)) is sent


async def test_letters_for_safety_go_whatever_the_switches_say(house: House) -> None:
    off = NotificationChanges(email=False, security_alerts=False)
    await house.given(RevisePerson(None, Changes(notifications=off)), ResetPassword())
    [letter] = await house.when(PasswordChangedMail, PasswordReset)
    assert letter.template == "password_changed"


def test_the_names_are_permanent() -> None:
    assert [each.name for each in REACTIONS] == [
        "accounts.verification_mail",
        "accounts.reset_mail",
        "accounts.password_changed_mail",
        "accounts.registration_hint",
    ]
