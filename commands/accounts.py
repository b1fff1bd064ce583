"""Commands of people and logins, and their handlers.

No command holds a secret: passwords and tokens are ``commands/logins.py``'s, which dispatches
these. An address and a username are unique by claims that commit with the events.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from commands.bus import Outcome, handles
from commands.folding import fold_ahead
from commands.ports import Append, Claim, ClaimTaken, Context, EventStore, VersionConflict
from domain.accounts.login import Login, Reason
from domain.accounts.person import EmailInUse, Person, UsernameInUse
from domain.accounts.profile import Changes, Terms, email_key, username_key
from domain.accounts.tenant import Tenant
from domain.errors import NotFound, Stale
from domain.event import Event

EMAIL = "accounts.email"
USERNAME = "accounts.username"
_TRIES = 5

R = TypeVar("R")


class RegisterPerson(msgspec.Struct, frozen=True, kw_only=True):
    """Register the context's user, who is new, in the context's tenant, which is theirs.

    ``github_login`` names the GitHub account that vouches for the address, if one does.
    ``verified`` says that the address needs no proof.
    """

    email: str
    display_name: str
    username: str | None = None
    timezone: str = "UTC"
    language: str = "en"
    terms: Terms | None
    permissions: tuple[str, ...] = ()
    github_login: str | None = None
    verified: bool = False
    address: str | None = None
    agent: str | None = None


class RevisePerson(msgspec.Struct, frozen=True):
    """Change the profile and settings of the context's user; None expects no certain version."""

    expected_version: int | None
    changes: Changes


class RecordConsent(msgspec.Struct, frozen=True):
    """Note what the context's user agrees to from now on."""

    terms: Terms
    address: str | None
    agent: str | None
    expected_version: int | None = None


class GrantPermissions(msgspec.Struct, frozen=True):
    """Allow a person more."""

    user_id: UUID
    permissions: tuple[str, ...]


class StartLogin(msgspec.Struct, frozen=True):
    """Begin a login of the context's user; ``answer`` is what a retry is to be given again."""

    login_id: UUID
    address: str | None
    agent: str | None
    answer: Any = None


class EndLogin(msgspec.Struct, frozen=True):
    """End a login; ``of`` is whose it must be, None where that is known."""

    login_id: UUID
    reason: Reason
    of: UUID | None = None


@handles(RegisterPerson)
async def register_person(
    command: RegisterPerson, context: Context, store: EventStore
) -> Outcome[Person]:
    """The new person.

    Raises:
        EmailInUse, UsernameInUse: somebody else was first.
    """
    stream = Person.stream(context.user_id)
    events = Person.register(
        user_id=context.user_id,
        tenant_id=context.tenant_id,
        email=command.email,
        display_name=command.display_name,
        username=command.username,
        timezone=command.timezone,
        language=command.language,
        terms=command.terms,
        permissions=command.permissions,
        github_login=command.github_login,
        verified=command.verified,
        address=command.address,
        agent=command.agent,
    )
    claims = [Claim(EMAIL, email_key(command.email), None, stream)]
    if command.username is not None:
        claims.append(Claim(USERNAME, username_key(command.username), None, stream))
    person = fold_ahead(Person, None, events, stream, context)
    home = Append(
        Tenant.stream(context.tenant_id),
        0,
        Tenant.create(tenant_id=context.tenant_id, user_id=context.user_id),
    )
    return await _save(store, context, Append(stream, 0, events), claims, person, home)


@handles(RevisePerson)
async def revise_person(
    command: RevisePerson, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person after the change, or as before where nothing changes.

    Raises:
        Stale: the person has changed since the expected version.
        UsernameInUse: somebody else goes by the new name.
    """
    return await change_person(
        store,
        context,
        context.user_id,
        lambda person: person.revise(command.changes),
        command.expected_version,
    )


@handles(RecordConsent)
async def record_consent(
    command: RecordConsent, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person with the consent.

    Raises:
        Stale: the person has changed since the expected version.
    """
    return await change_person(
        store,
        context,
        context.user_id,
        lambda person: person.consents(command.terms, command.address, command.agent),
        command.expected_version,
    )


@handles(GrantPermissions)
async def grant_permissions(
    command: GrantPermissions, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person with the permissions."""
    return await change_person(
        store, context, command.user_id, lambda person: person.granted(command.permissions)
    )


@handles(StartLogin)
async def start_login(command: StartLogin, context: Context, store: EventStore) -> Outcome[None]:
    """A login whose row and first refresh token are kept already."""
    events = Login.begin(
        login_id=command.login_id,
        user_id=context.user_id,
        address=command.address,
        agent=command.agent,
    )
    committed = await store.append(
        context, Append(Login.stream(command.login_id), 0, events), result=command.answer
    )
    return Outcome(None, committed.position)


@handles(EndLogin)
async def end_login(command: EndLogin, context: Context, store: EventStore) -> Outcome[None]:
    """A login that has ended: now, or before.

    Raises:
        NotFound: there is none such of that person, or it had ended before.
    """
    stream = Login.stream(command.login_id)

    async def attempt() -> Outcome[None]:
        login = await store.load(Login, stream)
        if command.of is not None and (login is None or login.user_id != command.of or login.ended):
            raise NotFound("login")
        appends = []
        if login is not None:
            appends.append(Append(stream, login.version, login.end(command.reason)))
        committed = await store.append(context, *appends)
        return Outcome(None, committed.position)

    return await _until_unhindered(attempt)


async def change_person(
    store: EventStore,
    context: Context,
    user_id: UUID,
    decide: Callable[[Person], tuple[Event, ...]],
    expected: int | None = None,
) -> Outcome[Person]:
    """Load, decide and append, moving the claim on the username where that changes.

    Raises:
        NotFound: there is no such person.
        Stale: the person has changed since the expected version.
        UsernameInUse: somebody else goes by the new name.
    """
    stream = Person.stream(user_id)

    async def attempt() -> Outcome[Person]:
        person = await store.load(Person, stream)
        if person is None:
            raise NotFound("person")
        if expected is not None and expected != person.version:
            raise Stale(expected, person.version)
        events = decide(person)
        changed = fold_ahead(Person, person, events, stream, context)
        claims = _username_claims(person, changed, stream)
        return await _save(store, context, Append(stream, person.version, events), claims, changed)

    return await _until_unhindered(attempt)


async def _until_unhindered(attempt: Callable[[], Awaitable[Outcome[R]]]) -> Outcome[R]:
    """Try again while other commits are first, some times.

    Raises:
        VersionConflict: every time another commit was first.
    """
    for _ in range(_TRIES - 1):
        try:
            return await attempt()
        except VersionConflict:
            continue
    return await attempt()


def _username_claims(before: Person, after: Person, stream: str) -> list[Claim]:
    old = None if before.username is None else username_key(before.username)
    new = None if after.username is None else username_key(after.username)
    claims = []
    if old != new:
        if new is not None:
            claims.append(Claim(USERNAME, new, None, stream))
        if old is not None:
            claims.append(Claim(USERNAME, old, stream, None))
    return claims


async def _save(
    store: EventStore,
    context: Context,
    append: Append,
    claims: list[Claim],
    person: Person,
    *more: Append,
) -> Outcome[Person]:
    try:
        committed = await store.append(context, append, *more, claims=claims, result=person)
    except ClaimTaken as taken:
        raise (EmailInUse if taken.kind == EMAIL else UsernameInUse) from None
    return Outcome(person, committed.position)
