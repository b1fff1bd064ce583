"""Proofs by mail: that an address is one's own, and a new password for whoever reads the mail.

Owns the order of the steps that touch the tokens which letters carry. A token lies nowhere but in
its letter: the reactions of ``workers/accounts_mail.py`` draw and send it, and only its hash is
kept. What happened is told by events without secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

from commands.accounts import EMAIL, USERNAME, RegisterPerson, change_person
from commands.bus import Bus, Outcome, handles
from commands.credentials import Attempts, Credentials, Passwords, Unavailable, normal
from commands.folding import fold_ahead
from commands.logins import Visit
from commands.ports import Append, Context, EventStore
from domain.accounts.events import PasswordResetRequested, RegistrationRepeated
from domain.accounts.person import Person, UsernameInUse
from domain.accounts.profile import email_key, username_key
from domain.event import Event
from domain.faults import Fault, Invalid

Purpose = Literal["verify_email", "reset_password"]

NOBODY = UUID(int=0)
VISITOR = "system:visitor"
"""Who asks for something before anybody knows who they are."""
_BAD_TOKEN = Fault("token", "invalid_token", "This is unknown, used before, or expired.")


class MailTokens(Protocol):
    """Keeps the hashes of the tokens that letters carry. Each is good once and for a while."""

    async def issue(self, key: UUID, purpose: Purpose, user_id: UUID) -> str | None:
        """The token of the letter with this key, the same each time; None where it is one too many.

        A person gets a few letters for one purpose in an hour, whoever asks for more.
        """
        ...

    async def owner(self, purpose: Purpose, token: str) -> UUID | None:
        """Whose it is, if it is good; it stays so."""
        ...

    async def use(self, purpose: Purpose, token: str) -> None:
        """Have it be good no more."""
        ...

    async def reset(self, token: str, user_id: UUID, password_hash: str) -> bool:
        """Use a token up, keep the password and end all logins of the person, in one commit.

        False where the token is not good; then nothing was done.
        """
        ...

    async def sweep(self) -> int:
        """Delete what has long expired; how many."""
        ...


class VerifyEmail(msgspec.Struct, frozen=True):
    """Note that the context's user reads what is sent to their address."""


class ResetPassword(msgspec.Struct, frozen=True):
    """Note that the context's user has a new password, by way of their mail."""


class RequestPasswordReset(msgspec.Struct, frozen=True):
    """Note that somebody asked for a new password of a person, or of nobody."""

    request_id: UUID
    user_id: UUID | None


class RepeatRegistration(msgspec.Struct, frozen=True):
    """Note that somebody registered with a person's address; ``answer`` is what they are told."""

    request_id: UUID
    user_id: UUID
    answer: Any = None


@handles(VerifyEmail)
async def verify_email(
    command: VerifyEmail, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person, with a verified address."""
    return await change_person(store, context, context.user_id, lambda person: person.verify())


@handles(ResetPassword)
async def reset_password(
    command: ResetPassword, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person; that the letter was read verifies the address, too."""
    return await change_person(
        store, context, context.user_id, lambda person: person.reset_password()
    )


@handles(RequestPasswordReset)
async def request_password_reset(
    command: RequestPasswordReset, context: Context, store: EventStore
) -> Outcome[None]:
    """A request on a stream of its own."""
    event = PasswordResetRequested(request_id=command.request_id, user_id=command.user_id)
    return await _alone(store, context, command.request_id, event, None)


@handles(RepeatRegistration)
async def repeat_registration(
    command: RepeatRegistration, context: Context, store: EventStore
) -> Outcome[Any]:
    """A repetition on a stream of its own."""
    event = RegistrationRepeated(request_id=command.request_id, user_id=command.user_id)
    return await _alone(store, context, command.request_id, event, command.answer)


async def _alone(
    store: EventStore, context: Context, request_id: UUID, event: Event, result: Any
) -> Outcome[Any]:
    append = Append(f"accounts.request-{request_id}", 0, (event,))
    committed = await store.append(context, append, result=result)
    return Outcome(result, committed.position)


class Recovery:
    """What somebody may do who has nothing but their mail. ``new_id`` draws a UUIDv7."""

    def __init__(
        self,
        *,
        bus: Bus,
        store: EventStore,
        credentials: Credentials,
        passwords: Passwords,
        tokens: MailTokens,
        attempts: Attempts,
        new_id: Callable[[], UUID],
    ) -> None:
        self._bus = bus
        self._store = store
        self._credentials = credentials
        self._passwords = passwords
        self._tokens = tokens
        self._attempts = attempts
        self._new_id = new_id

    async def unless_answered(self, visit: Visit) -> None:
        """Return if this request has not been answered yet.

        Raises:
            Replayed, KeyReused: the idempotency key was used before.
        """
        one = visit.idempotency
        if one is not None:
            await self._store.answered(one.principal, one.key, one.request_hash)

    async def verify(self, token: str, visit: Visit) -> Outcome[Person]:
        """The address to which this token was sent is its owner's.

        Raises:
            Invalid: the token is not good.
        """
        await self.unless_answered(visit)
        person = await self._owner("verify_email", token)
        if person is None:
            raise Invalid(_BAD_TOKEN)
        outcome: Outcome[Person] = await self._bus.dispatch(
            VerifyEmail(), visit.by(person.id, person.tenant_id)
        )
        await self._tokens.use("verify_email", token)
        return outcome

    async def request_reset(self, email: str, visit: Visit) -> Outcome[None]:
        """A letter is to go to this address, if it is somebody's.

        Nothing tells which: the same steps are taken, and the letter is a reaction's.
        """
        await self.unless_answered(visit)
        context = self._unknown(visit)
        key = email_key(email)
        if await self._too_often(f"reset {key}", visit):
            committed = await self._store.append(context, result=None)
            return Outcome(None, committed.position)
        user_id = await self._user_of(key)
        command = RequestPasswordReset(self._new_id(), user_id)
        outcome: Outcome[None] = await self._bus.dispatch(command, context)
        return outcome

    async def faults(self, fields: Mapping[str, Any]) -> list[Fault]:
        """What is wrong with a reset beyond its types; other types are passed over."""
        found = []
        person = None
        token, password = fields.get("token"), fields.get("password")
        if isinstance(token, str):
            person = await self._owner("reset_password", token)
            if person is None:
                found.append(_BAD_TOKEN)
        if isinstance(password, str):
            known = (person.email, person.username, person.display_name) if person else ()
            found += await self._passwords.faults(password, [hint for hint in known if hint])
        return found

    async def reset(self, token: str, password: str, visit: Visit) -> Outcome[Person]:
        """A new password for the token's owner, whose logins all end.

        Raises:
            Invalid: the token is not good, or the password breaks a rule.
        """
        await self.unless_answered(visit)
        if faults := await self.faults({"token": token, "password": password}):
            raise Invalid(*faults)
        person = await self._owner("reset_password", token)
        if person is None:
            raise Invalid(_BAD_TOKEN)
        password_hash = await self._passwords.hash(normal(password))
        if not await self._tokens.reset(token, person.id, password_hash):
            raise Invalid(_BAD_TOKEN)
        outcome: Outcome[Person] = await self._bus.dispatch(
            ResetPassword(), visit.by(person.id, person.tenant_id)
        )
        return outcome

    async def repeat_registration(
        self, command: RegisterPerson, password: str, visit: Visit
    ) -> Outcome[Person]:
        """What somebody is told who registers with an address in use: what a new person would be.

        The same steps are taken, so that it takes as long. The owner of the address is told by
        mail. What was kept of the password belongs to nobody, and is swept.

        Raises:
            UsernameInUse: as for a new person.
        """
        user_id, tenant_id = self._new_id(), self._new_id()
        owner = await self._user_of(email_key(command.email))
        await self._credentials.set_password(user_id, await self._passwords.hash(normal(password)))
        if command.username is not None:
            name = username_key(command.username)
            if name in await self._store.holders(USERNAME, [name]):
                await self._credentials.forget(user_id)
                raise UsernameInUse
        context = msgspec.structs.replace(self._unknown(visit), tenant_id=tenant_id)
        events = Person.register(
            user_id=user_id,
            tenant_id=tenant_id,
            email=command.email,
            display_name=command.display_name,
            username=command.username,
            timezone=command.timezone,
            language=command.language,
            terms=command.terms,
            address=command.address,
            agent=command.agent,
        )
        told = fold_ahead(Person, None, events, Person.stream(user_id), context)
        repeated = RepeatRegistration(self._new_id(), owner or NOBODY, told)
        outcome: Outcome[Person] = await self._bus.dispatch(
            repeated, msgspec.structs.replace(context, tenant_id=NOBODY)
        )
        return outcome

    def _unknown(self, visit: Visit) -> Context:
        return msgspec.structs.replace(visit.by(NOBODY, NOBODY), actor=VISITOR)

    async def _too_often(self, account: str, visit: Visit) -> bool:
        """Whether this address asked too often; while nobody can count, it did not."""
        address = visit.address or ""
        try:
            if await self._attempts.blocked(account, address, visit.now) is not None:
                return True
            await self._attempts.failed(account, address, visit.now)
        except Unavailable:
            return False
        return False

    async def _owner(self, purpose: Purpose, token: str) -> Person | None:
        user_id = await self._tokens.owner(purpose, token)
        return None if user_id is None else await self._store.load(Person, Person.stream(user_id))

    async def _user_of(self, key: str) -> UUID | None:
        holder = (await self._store.holders(EMAIL, [key])).get(key)
        return None if holder is None else UUID(holder.removeprefix(f"{Person.CATEGORY}-"))
