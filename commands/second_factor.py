"""The second factor: six digits of an authenticator app (TOTP, RFC 6238), or a recovery code.

Owns when a code is good: it belongs to the half minute now, the one before or the one after, and
no code is good twice. Seeds lie behind the port ``Seeds``, recovery codes as hashes only; events
say no more than that the factor was switched on or off, and how many recovery codes are left.

Refusals::

    DomainError
    ├── TotpRequired         the password was right, and a code is wanted as well
    ├── TotpRefused          not a code that is good now
    ├── TotpInUse            switched on already
    └── TotpNotBegun         nothing to confirm
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b32encode
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Protocol
from uuid import UUID

import msgspec
import pyotp

from commands.accounts import change_person
from commands.bus import Bus, Outcome, handles
from commands.ports import Context, EventStore
from domain.accounts.person import Person
from domain.errors import DomainError, NotFound

ISSUER = "Mindstream"
STEP = 30
"""Seconds for which an app shows one code."""
RECOVERY_CODES = 10
_DIGITS = 6
_RECOVERY_BYTES = 10
"""80 random bits: enough to keep a plain hash of them."""


class TotpRequired(DomainError):
    """The password was right; this person's logins want a code too."""


class TotpRefused(DomainError):
    """Wrong, too old, or used before."""


class TotpInUse(DomainError):
    """The second factor is on; it must be switched off before it begins anew."""


class TotpNotBegun(DomainError):
    """There is no seed to confirm a code of."""


class Seed(msgspec.Struct, frozen=True):
    """A seed as it is kept: ``secret`` is base32, ``id`` tells it from one drawn later."""

    id: UUID
    secret: str
    confirmed: bool

    def __repr__(self) -> str:
        """Nothing that a log should not have."""
        return "Seed(…)"


class Enrolment(msgspec.Struct, frozen=True):
    """What the person puts into their app, and what they keep for the day that they lose it."""

    otpauth_uri: str
    recovery_codes: tuple[str, ...]

    def __repr__(self) -> str:
        """Nothing that a log should not have."""
        return "Enrolment(…)"


class Seeds(Protocol):
    """Keeps a seed and the hashes of recovery codes for each person."""

    async def begin_totp(self, user_id: UUID, seed: Seed, recovery: Sequence[bytes]) -> bool:
        """Keep these instead of any unconfirmed ones; False where there are confirmed ones."""
        ...

    async def seed(self, user_id: UUID) -> Seed | None:
        """The person's seed, None where there is none."""
        ...

    async def confirm_totp(self, user_id: UUID, seed_id: UUID) -> bool:
        """The seed counts from now on; False where it is no longer the person's."""
        ...

    async def use_step(self, user_id: UUID, step: int) -> bool:
        """Use up all codes to this step; False where this one was used up before."""
        ...

    async def use_recovery(self, user_id: UUID, code_hash: bytes) -> int | None:
        """Use a recovery code up; how many are left, or None where it is not one of them."""
        ...

    async def forget_totp(self, user_id: UUID) -> bool:
        """Delete the seed and the recovery codes; False where there were none."""
        ...


class EnableTotp(msgspec.Struct, frozen=True):
    """Note that the context's user has switched the second factor on."""


class DisableTotp(msgspec.Struct, frozen=True):
    """Note that the context's user has switched it off."""


class NoteRecoveryCode(msgspec.Struct, frozen=True):
    """Note that the context's user has used a recovery code."""

    remaining: int


@handles(EnableTotp)
async def enable_totp(command: EnableTotp, context: Context, store: EventStore) -> Outcome[Person]:
    """The person, whose logins take a second factor."""
    return await change_person(store, context, context.user_id, Person.enable_totp)


@handles(DisableTotp)
async def disable_totp(
    command: DisableTotp, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person, whose logins take a password only."""
    return await change_person(store, context, context.user_id, Person.disable_totp)


@handles(NoteRecoveryCode)
async def note_recovery_code(
    command: NoteRecoveryCode, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person, with one code less."""
    return await change_person(
        store,
        context,
        context.user_id,
        lambda person: person.use_recovery_code(command.remaining),
    )


class SecondFactor:
    """Switches the second factor on and off, and asks for it. ``new_id`` draws a UUIDv7."""

    def __init__(
        self, *, bus: Bus, store: EventStore, seeds: Seeds, new_id: Callable[[], UUID]
    ) -> None:
        self._bus = bus
        self._store = store
        self._seeds = seeds
        self._new_id = new_id

    async def begin(self, context: Context) -> Outcome[Enrolment]:
        """A new seed for the context's user; it counts once a code of it was confirmed.

        Raises:
            TotpInUse: the second factor is on.
            Replayed, KeyReused: the idempotency key was used before.
        """
        await self._unless_answered(context)  # another seed would make the first answer worthless
        person = await self._store.load(Person, Person.stream(context.user_id))
        if person is None:
            raise NotFound("person")
        secret = pyotp.random_base32()
        codes = tuple(_new_recovery_code() for _ in range(RECOVERY_CODES))
        hashes = [_hash_of(person.id, code) for code in codes]
        seed = Seed(self._new_id(), secret, confirmed=False)
        if not await self._seeds.begin_totp(person.id, seed, hashes):
            raise TotpInUse
        uri = pyotp.TOTP(secret).provisioning_uri(name=person.email, issuer_name=ISSUER)
        enrolment = Enrolment(uri, codes)
        # Without events this keeps the answer for a retry, and says how far the store is.
        committed = await self._store.append(context, result=enrolment)
        return Outcome(enrolment, committed.position)

    async def confirm(self, code: str, context: Context) -> Outcome[Person]:
        """The second factor is on from now on.

        The code is not used up by this: it has opened nothing.

        Raises:
            TotpNotBegun: there is no seed.
            TotpRefused: not a code of it.
            Replayed, KeyReused: the idempotency key was used before.
        """
        await self._unless_answered(context)  # the code that was good then may not be now
        seed = await self._seeds.seed(context.user_id)
        if seed is None:
            raise TotpNotBegun
        if _step_of(seed.secret, code, context.now) is None:
            raise TotpRefused
        if not await self._seeds.confirm_totp(context.user_id, seed.id):
            raise TotpNotBegun  # switched off or begun anew meanwhile
        outcome: Outcome[Person] = await self._bus.dispatch(EnableTotp(), context)
        return outcome

    async def remove(self, context: Context) -> Outcome[Person]:
        """A password is enough from now on, whether or not it was before."""
        await self._seeds.forget_totp(context.user_id)
        outcome: Outcome[Person] = await self._bus.dispatch(DisableTotp(), context)
        return outcome

    async def prove(self, given: str | None, context: Context) -> None:
        """Return if the context's user needs no second factor, or gave a good one.

        Raises:
            TotpRequired: none was given.
            TotpRefused: it is not good.
        """
        seed = await self._seeds.seed(context.user_id)
        if seed is None or not seed.confirmed:
            return
        code = "" if given is None else _plain(given)
        if not code:
            raise TotpRequired
        if len(code) == _DIGITS:
            step = _step_of(seed.secret, code, context.now)
            if step is None or not await self._seeds.use_step(context.user_id, step):
                raise TotpRefused
            return
        remaining = await self._seeds.use_recovery(context.user_id, _hash_of(context.user_id, code))
        if remaining is None:
            raise TotpRefused
        command = NoteRecoveryCode(remaining)
        # The answer that a retry gets belongs to the login, which follows.
        await self._bus.dispatch(command, msgspec.structs.replace(context, idempotency=None))

    async def _unless_answered(self, context: Context) -> None:
        one = context.idempotency
        if one is not None:
            await self._store.answered(one.principal, one.key, one.request_hash)


def _step_of(secret: str, given: str, now: datetime) -> int | None:
    """The step whose code this is, of those that are good now."""
    code = _plain(given).encode("utf-8", "surrogatepass")
    totp = pyotp.TOTP(secret)
    current = int(now.timestamp()) // STEP
    for step in (current, current - 1, current + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code):
            return step
    return None


def _plain(given: str) -> str:
    """A code without what makes it easier to read."""
    return given.replace("-", "").replace(" ", "").lower()


def _new_recovery_code() -> str:
    text = b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _hash_of(user_id: UUID, code: str) -> bytes:
    text = _plain(code).encode("utf-8", "surrogatepass")
    return sha256(b"accounts/recovery-code/" + user_id.bytes + text).digest()
