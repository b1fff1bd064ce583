"""People from another system, with the hashes of their passwords: a line each.

Owns what such a line holds and which hashes are taken: bcrypt, which is replaced by Argon2id when
its owner logs in for the first time, and Argon2id itself. A line whose address is taken is refused,
so that a file may be imported again. The rule for new passwords cannot bind: nobody knows these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from commands.accounts import RegisterPerson
from commands.logins import Logins, Visit
from commands.validation import Malformed, decode
from domain.accounts.person import EmailInUse, UsernameInUse
from domain.accounts.profile import (
    DisplayName,
    Email,
    Language,
    Terms,
    TimeZone,
    Username,
    faults_of,
)
from domain.faults import Fault, Invalid

_HASH = re.compile(
    r"\$2[abxy]\$(0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}"
    r"|\$argon2id\$v=19\$m=\d{1,7},t=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
"""Of bcrypt no more than 2^19 rounds: a login must not take minutes."""

_TAKEN = {
    EmailInUse: Fault("email", "in_use", "This address has an account already."),
    UsernameInUse: Fault("username", "in_use", "This username is taken."),
}


class ImportedPerson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line; ``consent`` is what the person agreed to there, if that is known.

    ``email_verified`` is true unless it is said that they never confirmed their address.
    """

    email: Email
    display_name: DisplayName
    password_hash: Annotated[str, Meta(min_length=1, max_length=256)]
    username: Username | None = None
    timezone: TimeZone | None = None
    language: Language | None = None
    consent: Terms | None = None
    email_verified: bool = True


class RefusedPerson(msgspec.Struct, frozen=True):
    """A line that is not in, and why; lines count from 1."""

    line: int
    errors: tuple[Fault, ...]


class PeopleResult(msgspec.Struct, frozen=True):
    """How many people are in, and the lines that are not."""

    accepted: int
    refused: tuple[RefusedPerson, ...]


async def import_people(
    lines: Iterable[bytes], logins: Logins, visit: Visit, *, dry_run: bool = False
) -> PeopleResult:
    """Register a person for each sound line; empty lines are passed over.

    With ``dry_run`` nobody is registered, and addresses in use are not found.
    """
    accepted = 0
    refused: list[RefusedPerson] = []
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            person = read(raw)
            if not dry_run:
                await logins.register_imported(_command(person), person.password_hash, visit)
        except Malformed as error:
            refused.append(RefusedPerson(number, (Fault("", "malformed_json", error.reason),)))
        except Invalid as invalid:
            refused.append(RefusedPerson(number, invalid.faults))
        except (EmailInUse, UsernameInUse) as taken:
            refused.append(RefusedPerson(number, (_TAKEN[type(taken)],)))
        else:
            accepted += 1
    return PeopleResult(accepted, tuple(refused))


def read(raw: bytes) -> ImportedPerson:
    """A line as a person.

    Raises:
        Malformed: it is not JSON.
        Invalid: it breaks rules; all of them are in it.
    """
    person = decode(raw, ImportedPerson)
    faults = faults_of({name: getattr(person, name) for name in person.__struct_fields__})
    if not _HASH.fullmatch(person.password_hash):
        message = "this must be a hash by bcrypt or Argon2id"
        faults.append(Fault("password_hash", "invalid_format", message))
    if faults:
        raise Invalid(*faults)
    return person


def _command(person: ImportedPerson) -> RegisterPerson:
    return RegisterPerson(
        email=person.email,
        display_name=person.display_name,
        username=person.username,
        timezone=person.timezone or "UTC",
        language=person.language or "en",
        terms=person.consent,
        # Whoever brings them vouches for them: nobody is to get a letter because of it.
        verified=person.email_verified,
    )
