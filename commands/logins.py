"""How somebody comes in and goes: registration, login, refresh, logout, leaving, coming back.

Owns the order of the steps that touch secrets, so that a crash between two of them leaves nothing
that matters: a password is kept before the person is registered, and a login before it is told,
since either without its events opens nothing and is swept. What happened is told by the commands
of ``commands/accounts.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from commands.accounts import EMAIL, EndLogin, GrantPermissions, RegisterPerson, StartLogin
from commands.bus import Bus, Outcome
from commands.credentials import (
    AccountDeleted,
    Attempts,
    Credentials,
    Grant,
    InvalidCredentials,
    NewLogin,
    Passwords,
    RefreshRefused,
    Subject,
    Tokens,
    TooManyAttempts,
    normal,
)
from commands.departure import DeletePerson, RestorePerson
from commands.ports import CommitError, Context, EventStore, Idempotency, Replayed
from commands.second_factor import SecondFactor, TotpRefused
from domain.accounts.person import OPERATOR, EmailInUse, Person
from domain.accounts.profile import email_key, faults_of
from domain.accounts.tenant import Tenant, TenantClosed
from domain.errors import DomainError
from domain.faults import Fault, Invalid

R = TypeVar("R")

_NOBODY = UUID(int=0)


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A request by somebody who has not said yet who they are. ``now`` is aware and in UTC."""

    now: datetime
    correlation_id: str
    address: str | None = None
    agent: str | None = None
    idempotency: Idempotency | None = None

    def by(self, user_id: UUID, tenant_id: UUID) -> Context:
        """The context of a command, once it is known who commands."""
        return Context(
            user_id=user_id,
            tenant_id=tenant_id,
            actor=f"user:{user_id}",
            now=self.now,
            correlation_id=self.correlation_id,
            address=self.address,
            agent=self.agent,
            idempotency=self.idempotency,
        )


class Logins:
    """Lets people in and out. ``new_id`` draws a UUIDv7.

    With ``only_verified``, nobody is let in before they have confirmed their address. They are told
    what a wrong password is told, or whoever registers could tell whether an address was in use.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        store: EventStore,
        credentials: Credentials,
        passwords: Passwords,
        tokens: Tokens,
        attempts: Attempts,
        second_factor: SecondFactor,
        new_id: Callable[[], UUID],
        only_verified: bool = False,
    ) -> None:
        self._bus = bus
        self._store = store
        self._credentials = credentials
        self._passwords = passwords
        self._tokens = tokens
        self._attempts = attempts
        self._second_factor = second_factor
        self._new_id = new_id
        self._only_verified = only_verified
        self._locks: WeakValueDictionary[Any, asyncio.Lock] = WeakValueDictionary()

    async def faults(self, fields: Mapping[str, Any]) -> list[Fault]:
        """What is wrong with a registration beyond its types; other types are passed over."""
        found = faults_of(fields)
        password = fields.get("password")
        if isinstance(password, str):
            hints = [
                value
                for name in ("email", "username", "display_name")
                if isinstance(value := fields.get(name), str)
            ]
            found += await self._passwords.faults(password, hints)
        return found

    async def register(
        self, command: RegisterPerson, password: str, visit: Visit
    ) -> Outcome[Person]:
        """A new person, in a tenant of their own.

        Raises:
            Invalid: the input or the password breaks a rule; all faults are in it.
            EmailInUse, UsernameInUse: somebody else was first.
            Replayed, KeyReused: the idempotency key was used before.
        """
        await self._unless_answered(visit)
        fields = {
            name: getattr(command, name)
            for name in ("email", "display_name", "username", "timezone")
        }
        if faults := await self.faults({**fields, "password": password}):
            raise Invalid(*faults)
        return await self._register(command, lambda: self._hash(password), visit)

    async def register_imported(
        self, command: RegisterPerson, password_hash: str, visit: Visit
    ) -> Outcome[Person]:
        """A person from another system, whose password only its hash tells.

        Raises:
            EmailInUse, UsernameInUse: somebody else was first.
        """

        async def kept() -> str:
            return password_hash

        return await self._register(command, kept, visit)

    async def ensure_operator(self, email: str, password: str, visit: Visit) -> UUID | None:
        """Register whom the settings name, with the operator's permissions, if missing.

        The id of the new person; None where there was one, who keeps their password if they have
        one. The settings' author is trusted: the rules for addresses and passwords do not bind.
        """
        command = RegisterPerson(
            email=email,
            display_name="Operator",
            terms=None,
            permissions=OPERATOR,
            verified=True,
        )
        try:
            outcome = await self._register(command, lambda: self._hash(password), visit)
        except EmailInUse:
            await self._readmit(email, password, visit)
            return None
        return outcome.result.id

    async def _hash(self, password: str) -> str:
        return await self._passwords.hash(normal(password))

    async def _readmit(self, email: str, password: str, visit: Visit) -> None:
        """Give the operator a way in who came with an archive, which carries no passwords."""
        user_id = await self._user_of(email)
        if user_id is None or await self._credentials.password_hash(user_id) is not None:
            return
        person = await self._store.load(Person, Person.stream(user_id))
        if person is None:
            return
        await self._credentials.set_password(user_id, await self._hash(password))
        command = GrantPermissions(user_id, OPERATOR)
        await self._bus.dispatch(command, visit.by(user_id, person.tenant_id))

    async def _register(
        self, command: RegisterPerson, hashed: Callable[[], Awaitable[str]], visit: Visit
    ) -> Outcome[Person]:
        if await self._user_of(command.email) is not None:
            await self._unless_answered(visit)  # the first try of this request may have been it
            raise EmailInUse
        password_hash = await hashed()
        user_id = self._new_id()
        await self._credentials.set_password(user_id, password_hash)
        try:
            return await self._bus.dispatch(command, visit.by(user_id, self._new_id()))
        except (DomainError, CommitError):
            await self._credentials.forget(user_id)
            raise

    async def login(
        self, email: str, password: str, visit: Visit, totp: str | None = None
    ) -> Outcome[Grant]:
        """Tokens for somebody who knows the password and, where it is on, the second factor.

        Raises:
            InvalidCredentials: unknown address or wrong password, at the same cost.
            TotpRequired, TotpRefused: the password is right, the code is missing or not good.
            AccountDeleted: it is all right, but the person has left.
            TenantClosed: the password is right, and the person's tenant is suspended.
            TooManyAttempts: too many wrong ones from this address for this account.
            Unavailable: attempts cannot be counted now, or too many wait.
            Replayed, KeyReused: the idempotency key was used before.
        """

        async def run() -> Outcome[Grant]:
            person = await self._proven(email, password)
            await self._second_factor.prove(totp, visit.by(person.id, person.tenant_id))
            return await self.enter(person, visit)

        return await self.attempt(email_key(email), visit, run)

    async def restore(self, email: str, password: str, visit: Visit) -> Outcome[Person]:
        """Somebody who had left is here again. They are not logged in by it.

        Raises:
            InvalidCredentials, TooManyAttempts, Unavailable, Replayed, KeyReused: as at a login.
            PastRecovery: they left too long ago.
        """

        async def run() -> Outcome[Person]:
            person = await self._proven(email, password)
            context = visit.by(person.id, person.tenant_id)
            outcome: Outcome[Person] = await self._bus.dispatch(RestorePerson(), context)
            return outcome

        return await self.attempt(email_key(email), visit, run)

    async def leave(self, expected_version: int | None, context: Context) -> Outcome[Person]:
        """The context's user leaves, and all their logins end.

        Raises:
            Stale: the person has changed since the expected version.
        """
        outcome: Outcome[Person] = await self._bus.dispatch(DeletePerson(expected_version), context)
        # A crash before this leaves access tokens for their minutes, and no refresh.
        await self._credentials.end_all(context.user_id)
        return outcome

    async def attempt(
        self, account: str, visit: Visit, run: Callable[[], Awaitable[Outcome[R]]]
    ) -> Outcome[R]:
        """Run what needs a proof of who somebody is, and count it where the proof is wrong.

        A missing code neither counts nor clears: it may be the first half of an honest login, and
        whoever knows the password must not thereby have ten more guesses at the code.
        """
        await self._unless_answered(visit)
        address = visit.address or ""
        # One attempt at a time, or many at once would all be looked at before the first counts.
        async with self._lock((account, address)):
            seconds = await self._attempts.blocked(account, address, visit.now)
            if seconds is not None:
                raise TooManyAttempts(seconds)
            try:
                outcome = await run()
            except (InvalidCredentials, TotpRefused):
                await self._unless_answered(visit)  # the code may have gone into the first answer
                await self._attempts.failed(account, address, visit.now)
                raise
            await self._attempts.cleared(account, address)
            return outcome

    async def _proven(self, email: str, password: str) -> Person:
        user_id = await self._user_of(email) or _NOBODY
        stored = await self._credentials.password_hash(user_id)
        right, better = await self._passwords.verify(normal(password), stored)
        if not right:
            raise InvalidCredentials
        if better is not None:
            await self._credentials.set_password(user_id, better)
        person = await self._store.load(Person, Person.stream(user_id))
        if person is None or (self._only_verified and not person.email_verified):
            raise InvalidCredentials
        return person

    async def enter(self, person: Person, visit: Visit) -> Outcome[Grant]:
        """Begin a login of somebody who has proven who they are.

        Raises:
            AccountDeleted: they have left.
            Replayed, KeyReused: the idempotency key was used before.
        """
        if person.deleted_at is not None:
            raise AccountDeleted
        login = NewLogin(self._new_id(), person.id, visit.address, visit.agent)
        refresh_token, refresh_hash = self._tokens.refresh()
        grant = await self._grant(person, login.login_id, refresh_token, visit.now)
        await self._credentials.begin(login, refresh_hash)
        # Whoever leaves from now on ends this login too; whoever left just now is seen here.
        now = await self._store.load(Person, Person.stream(person.id))
        if now is None or now.deleted_at is not None:
            await self._credentials.end(login.login_id)
            raise AccountDeleted
        command = StartLogin(login.login_id, visit.address, visit.agent, grant)
        try:
            outcome = await self._bus.dispatch(command, visit.by(person.id, person.tenant_id))
        except Replayed:
            await self._credentials.end(login.login_id)
            raise
        return Outcome(grant, outcome.position)

    async def refresh(self, refresh_token: str, visit: Visit) -> Outcome[Grant]:
        """New tokens for a refresh token, once; its second use ends the login.

        Raises:
            RefreshRefused: the token is not, or no longer, good.
            Replayed, KeyReused: the idempotency key was used before.
        """
        used = self._tokens.hash_of(refresh_token)
        async with self._lock(used):
            await self._unless_answered(visit)
            replacement, replacement_hash = self._tokens.refresh()
            rotation = await self._credentials.rotate(used, replacement_hash)
            if rotation is None:
                raise RefreshRefused
            person = await self._store.load(Person, Person.stream(rotation.user_id))
            if person is None or person.deleted_at is not None:
                raise RefreshRefused
            context = visit.by(person.id, person.tenant_id)
            if rotation.reused:
                context = msgspec.structs.replace(context, idempotency=None)
                await self._bus.dispatch(
                    EndLogin(rotation.login_id, "refresh_token_reused"), context
                )
                raise RefreshRefused
            grant = await self._grant(person, rotation.login_id, replacement, visit.now)
            # Without events this keeps the answer for a retry, and says how far the store is.
            committed = await self._store.append(context, result=grant)
        return Outcome(grant, committed.position)

    async def end(self, login_id: UUID, context: Context, of: UUID | None = None) -> Outcome[None]:
        """End a login: its tokens are worthless everywhere within seconds.

        Raises:
            NotFound: with ``of`` it is not that person's, or had ended before.
        """
        await self._credentials.end(login_id, of)
        outcome: Outcome[None] = await self._bus.dispatch(EndLogin(login_id, "logout", of), context)
        return outcome

    async def _grant(
        self, person: Person, login_id: UUID, refresh_token: str, now: datetime
    ) -> Grant:
        await self._check_home(person)
        subject = Subject(person.id, person.tenant_id, login_id, person.tier, person.permissions)
        access = await self._tokens.access(subject, now)
        return Grant(access, refresh_token, "Bearer", self._tokens.lifetime)

    async def _check_home(self, person: Person) -> None:
        """Pass if the person's tenant is open.

        Raises:
            TenantClosed: it is suspended.
            InvalidCredentials: it is deleted, and nobody has an account in it.
        """
        home = await self._store.load(Tenant, Tenant.stream(person.tenant_id))
        if home is not None and home.state == "suspended":
            raise TenantClosed("The tenant is suspended.")
        if home is not None and home.state == "deleted":
            raise InvalidCredentials

    async def _user_of(self, email: str) -> UUID | None:
        key = email_key(email)
        holder = (await self._store.holders(EMAIL, [key])).get(key)
        return None if holder is None else UUID(holder.removeprefix(f"{Person.CATEGORY}-"))

    async def _unless_answered(self, visit: Visit) -> None:
        one = visit.idempotency
        if one is not None:
            await self._store.answered(one.principal, one.key, one.request_hash)

    def _lock(self, key: Any) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock
