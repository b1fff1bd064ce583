"""Leaving and coming back: an account is deleted softly and may be restored for 30 days.

Owns the commands, and the question whose 30 days are over. That somebody who left is let in nowhere
is ``commands/logins.py``'s; what erases them in the end is no part of this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from commands.accounts import change_person
from commands.bus import Outcome, handles
from commands.ports import Context, EventStore
from domain.accounts.person import RECOVERABLE, Person


class DeletePerson(msgspec.Struct, frozen=True):
    """The context's user leaves; None expects no certain version."""

    expected_version: int | None


class RestorePerson(msgspec.Struct, frozen=True):
    """The context's user comes back."""


@handles(DeletePerson)
async def delete_person(
    command: DeletePerson, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person, who has left: now, or before.

    Raises:
        Stale: the person has changed since the expected version.
    """
    return await change_person(
        store, context, context.user_id, Person.leave, command.expected_version
    )


@handles(RestorePerson)
async def restore_person(
    command: RestorePerson, context: Context, store: EventStore
) -> Outcome[Person]:
    """The person, who is here: again, or as before.

    Raises:
        PastRecovery: they left too long ago.
    """
    return await change_person(
        store, context, context.user_id, lambda person: person.come_back(context.now)
    )


class Departed(msgspec.Struct, frozen=True):
    """Somebody who left; ``position`` is their event's, so that it names this departure."""

    user_id: UUID
    tenant_id: UUID
    position: int


class Departures(Protocol):
    """Knows who has left; ``adapters.departures.PostgresDepartures`` does."""

    async def before(self, moment: datetime) -> Sequence[Departed]:
        """Those who left before that moment, did not come back and are not erased yet."""
        ...


async def ask_for_erasures(
    departures: Departures, ask: Callable[[Departed], Awaitable[bool]], now: datetime
) -> int:
    """Have those erased whose time to come back is over; how many were asked for now.

    ``ask`` asks once for each departure and says whether this was the first time.
    """
    asked = 0
    for one in await departures.before(now - RECOVERABLE):
        asked += await ask(one)
    return asked
