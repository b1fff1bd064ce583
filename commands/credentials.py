"""Ports for what proves who somebody is: passwords, tokens, and the count of wrong attempts.

Owns the rule for new passwords and the shapes that pass through the ports. Secrets live behind
these ports and never in an event or a command. ``adapters/credentials.py``, ``passwords.py``,
``tokens.py`` and ``attempts.py`` implement them.

Refusals::

    DomainError
    ├── InvalidCredentials    unknown address or wrong password: nobody is told which
    ├── AccountDeleted        the person has left, and may be restored
    ├── RefreshRefused        not a refresh token that may still be used
    └── TooManyAttempts       ``seconds`` until another one is looked at
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import msgspec
from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # ships no types; wrapped below

from domain.errors import DomainError
from domain.faults import Fault

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1024
_GUESSES = 100_000
"""A password that is found within this many guesses is a common one."""


class InvalidCredentials(DomainError):
    """No such person, or not this password."""


class AccountDeleted(DomainError):
    """Who this is has been proven, but they have left."""


class RefreshRefused(DomainError):
    """The refresh token is unknown, used before, expired, or of a login that has ended."""


class TooManyAttempts(DomainError):
    """Too many wrong passwords from there for this account; ``seconds`` until the next may come."""

    def __init__(self, seconds: int) -> None:
        super().__init__("too many wrong passwords")
        self.seconds = seconds


class Unavailable(Exception):
    """A store behind one of these ports does not answer, or has too much to do."""


class Grant(msgspec.Struct, frozen=True):
    """What a login gives: an access token that lives ``expires_in`` seconds, and the next one."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in: int

    def __repr__(self) -> str:
        """Nothing that a log should not have."""
        return "Grant(…)"


class Subject(msgspec.Struct, frozen=True):
    """Whom an access token names, and what it says of them."""

    user_id: UUID
    tenant_id: UUID
    login_id: UUID
    tier: str
    permissions: tuple[str, ...]


class NewLogin(msgspec.Struct, frozen=True):
    """A login as it is kept beside its tokens."""

    login_id: UUID
    user_id: UUID
    address: str | None
    agent: str | None


class Rotation(msgspec.Struct, frozen=True):
    """What became of a refresh token that was presented: whose it is, and whether it was good."""

    login_id: UUID
    user_id: UUID
    reused: bool


class Credentials(Protocol):
    """Keeps password hashes, logins and the hashes of refresh tokens."""

    async def set_password(self, user_id: UUID, password_hash: str) -> None:
        """Keep this hash instead of any before."""
        ...

    async def password_hash(self, user_id: UUID) -> str | None:
        """The hash, or None where there is none."""
        ...

    async def forget(self, user_id: UUID) -> None:
        """Delete the password of a registration that came to nothing."""
        ...

    async def begin(self, login: NewLogin, refresh_hash: bytes) -> None:
        """Keep a login and its first refresh token."""
        ...

    async def rotate(self, used: bytes, replacement: bytes) -> Rotation | None:
        """Exchange one refresh token for the next, once; a second use ends the login.

        None where the token is unknown, or its login has ended or expired.
        """
        ...

    async def end(self, login_id: UUID, of: UUID | None = None) -> bool:
        """End the login, on every process within seconds; False where it had ended before.

        With ``of`` it ends only if it is that person's.
        """
        ...

    async def end_all(self, user_id: UUID) -> int:
        """End every login of the person, likewise; how many there were."""
        ...

    async def sweep(self, before: datetime) -> int:
        """Delete what ended, expired or was left behind before that moment; how many logins."""
        ...


class Passwords(Protocol):
    """Hashes and verifies, without holding up anything else."""

    async def hash(self, password: str) -> str:
        """A new hash.

        Raises:
            Unavailable: too many wait already.
        """
        ...

    async def verify(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        """Whether it fits, and a better hash to keep instead of an outdated one.

        Without a hash the answer is no, and takes as long.

        Raises:
            Unavailable: too many wait already.
        """
        ...

    async def faults(self, password: str, hints: Collection[str]) -> list[Fault]:
        """``password_faults``, off the event loop."""
        ...


class Tokens(Protocol):
    """Makes access and refresh tokens."""

    lifetime: int
    """Seconds for which an access token is good."""

    async def access(self, subject: Subject, now: datetime) -> str:
        """A signed access token."""
        ...

    def refresh(self) -> tuple[str, bytes]:
        """A new refresh token, and the hash by which it is known."""
        ...

    def hash_of(self, refresh_token: str) -> bytes:
        """The hash by which a refresh token is known."""
        ...


class Attempts(Protocol):
    """Counts wrong passwords per account and address. Unknown accounts count alike.

    Every method raises ``Unavailable`` where the counts cannot be had.
    """

    async def blocked(self, account: str, address: str, now: datetime) -> int | None:
        """Seconds until another attempt may be made; None where one may be made now."""
        ...

    async def failed(self, account: str, address: str, now: datetime) -> None:
        """Count a wrong one."""
        ...

    async def cleared(self, account: str, address: str) -> None:
        """Forget the wrong ones: the right one was given."""
        ...


def normal(password: str) -> str:
    """The password in the one form that is hashed, however a keyboard composes its letters."""
    return unicodedata.normalize("NFC", password)


def password_faults(password: str, hints: Collection[str] = ()) -> list[Fault]:
    """What speaks against this as a new password.

    ``hints`` are words that others know of the person. Takes milliseconds.
    """
    if len(password) < SHORTEST_PASSWORD:
        message = f"a password has at least {SHORTEST_PASSWORD} characters"
        return [Fault("password", "too_short", message)]
    if len(password) > LONGEST_PASSWORD:
        message = f"a password has at most {LONGEST_PASSWORD} characters"
        return [Fault("password", "too_long", message)]
    # The estimate takes quadratic time, and 72 characters are enough to tell.
    if zxcvbn(password[:72], user_inputs=[hint[:100] for hint in hints])["guesses"] < _GUESSES:
        return [Fault("password", "too_common", "this password is among the first to be guessed")]
    return []
