"""Coming in with a GitHub account: who that is here, or who it makes.

Owns the rule that joins the two. A GitHub account opens the account that it was linked to.
Otherwise its primary address decides, which GitHub must have verified: nobody has it here, and a
person is made; or somebody has, and then it must be verified here too. Else whoever registered
somebody else's address first would find that person's diary in their own account.

Refusals::

    DomainError
    ├── GithubRefused          GitHub does not vouch for whoever came back
    ├── AddressUnverified      GitHub or we have not verified the address
    └── GithubLinkedElsewhere  this person has linked another GitHub account
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import msgspec

from commands.accounts import EMAIL, RegisterPerson, change_person
from commands.bus import Bus, Outcome, handles
from commands.credentials import Grant
from commands.logins import Logins, Visit
from commands.ports import Context, EventStore
from commands.second_factor import SecondFactor
from domain.accounts.person import EmailInUse, Person
from domain.accounts.profile import email_key, faults_of
from domain.errors import DomainError

_LONGEST_NAME = 100


class GithubRefused(DomainError):
    """The code is not one that GitHub gave out for this login."""


class AddressUnverified(DomainError):
    """``where`` is who has not verified the address: GitHub or we."""

    def __init__(self, where: str) -> None:
        super().__init__(f"address not verified at {where}")
        self.where = where


class GithubLinkedElsewhere(DomainError):
    """The person with this address comes in with another GitHub account."""


class GithubAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Who came back; ``email`` is the primary address, None unless GitHub has verified it."""

    id: int
    login: str
    name: str | None
    email: str | None
    token: str

    def __repr__(self) -> str:
        """Nothing that a log should not have."""
        return f"GithubAccount({self.id})"


class Github(Protocol):
    """GitHub's side of a login; ``adapters.github.GithubOverHttp`` is one."""

    def authorize_url(self, state: str, challenge: str) -> str:
        """Where to send a browser; ``challenge`` is that of PKCE (S256)."""
        ...

    async def account(self, code: str, verifier: str) -> GithubAccount:
        """Who came back with this code.

        Raises:
            GithubRefused: the code is not good, or not for this ``verifier``.
            commands.credentials.Unavailable: GitHub does not answer.
        """
        ...


class GithubLinks(Protocol):
    """Keeps which GitHub account opens which account, and GitHub's tokens."""

    async def linked(self, github_id: int) -> UUID | None:
        """Whose account it opens."""
        ...

    async def link(self, github_id: int, user_id: UUID, token: str) -> bool:
        """Keep the link and the token; False where either side is linked to another."""
        ...


class LinkGithub(msgspec.Struct, frozen=True):
    """Note that a GitHub account with the same address opens this person's account."""

    github_login: str


@handles(LinkGithub)
async def link_github(command: LinkGithub, context: Context, store: EventStore) -> Outcome[Person]:
    """The person, with an address that GitHub has verified."""
    return await change_person(
        store, context, context.user_id, lambda person: person.link_github(command.github_login)
    )


class GithubLogins:
    """Lets people in whom GitHub vouches for. ``new_id`` draws a UUIDv7."""

    def __init__(
        self,
        *,
        bus: Bus,
        store: EventStore,
        github: Github,
        links: GithubLinks,
        logins: Logins,
        second_factor: SecondFactor,
        new_id: Callable[[], UUID],
    ) -> None:
        self._bus = bus
        self._store = store
        self.github = github
        self._links = links
        self._logins = logins
        self._second_factor = second_factor
        self._new_id = new_id

    async def identify(self, account: GithubAccount, visit: Visit) -> Person:
        """Who this is here: found, or made.

        Raises:
            AddressUnverified, GithubLinkedElsewhere: see the module.
        """
        user_id = await self._links.linked(account.id)
        person = None
        if user_id is not None:
            person = await self._store.load(Person, Person.stream(user_id))
        if person is None:
            person = await self._by_address(account, visit)
        if not await self._links.link(account.id, person.id, account.token):
            raise GithubLinkedElsewhere
        return person

    async def _by_address(self, account: GithubAccount, visit: Visit) -> Person:
        email = account.email
        if email is None or faults_of({"email": email}):
            raise AddressUnverified("GitHub")
        visit = msgspec.structs.replace(visit, idempotency=None)  # the answer is the login's
        person = await self._holder(email)
        if person is None:
            command = RegisterPerson(
                email=email,
                display_name=_name_of(account),
                terms=None,
                github_login=account.login,
                address=visit.address,
                agent=visit.agent,
            )
            try:
                made: Outcome[Person] = await self._bus.dispatch(
                    command, visit.by(self._new_id(), self._new_id())
                )
            except EmailInUse:  # by another request with this account, most likely
                person = await self._holder(email)
            else:
                return made.result
        if person is None or not person.email_verified:
            raise AddressUnverified("Mindstream")
        if person.github_login is None:
            context = visit.by(person.id, person.tenant_id)
            linked: Outcome[Person] = await self._bus.dispatch(LinkGithub(account.login), context)
            person = linked.result
        return person

    async def enter(self, person: Person, visit: Visit) -> Outcome[Grant]:
        """Tokens for somebody whom ``identify`` found.

        Raises:
            TotpRequired: GitHub's word is not enough for them; ``finish`` takes the code as well.
            AccountDeleted: they have left.
        """
        await self._second_factor.prove(None, visit.by(person.id, person.tenant_id))
        return await self._logins.enter(person, visit)

    async def finish(self, user_id: UUID, totp: str, visit: Visit) -> Outcome[Grant]:
        """Tokens for somebody whom ``identify`` found, and who gives a code as well.

        Raises:
            TotpRefused: the code is not good; it counts as a wrong password does.
            TooManyAttempts, Unavailable, AccountDeleted, Replayed, KeyReused: as at a login.
        """

        async def run() -> Outcome[Grant]:
            person = await self._store.load(Person, Person.stream(user_id))
            if person is None:
                raise GithubRefused
            await self._second_factor.prove(totp, visit.by(person.id, person.tenant_id))
            return await self._logins.enter(person, visit)

        return await self._logins.attempt(f"github/{user_id}", visit, run)

    async def _holder(self, email: str) -> Person | None:
        key = email_key(email)
        stream = (await self._store.holders(EMAIL, [key])).get(key)
        return None if stream is None else await self._store.load(Person, stream)


def _name_of(account: GithubAccount) -> str:
    """A display name that our own rules allow."""
    given = account.name or ""
    name = "".join(c for c in given if unicodedata.category(c) not in ("Cc", "Zl", "Zp", "Cs"))
    return name.strip()[:_LONGEST_NAME].strip() or account.login[:_LONGEST_NAME]
