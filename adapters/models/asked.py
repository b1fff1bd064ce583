"""Who wants moods read from what they write: ``write_api.journal.Inferring``.

A write must not ask the database for this, so each process remembers what it has learnt. It forgets
somebody when they change their settings here, when it hears that they did so elsewhere (within a
second, ``adapters.standing``), and after five minutes whatever it heard.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

from msgspec import UNSET, UnsetType

from commands.ports import EventStore
from domain.accounts.person import Person
from domain.journal.entry import Infer

REMEMBERED = 300.0
"""Seconds for which somebody's choice is remembered."""
MOST = 20_000
"""People who are remembered at most."""


class MoodsAsked:
    """Remembers people's choice; ``infer`` is how a mood is read, for all who want it.

    Nobody in private mode has anything read by a machine.
    """

    def __init__(
        self, store: EventStore, infer: Infer, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._infer = infer
        self._clock = clock
        self._known: OrderedDict[UUID, tuple[Infer | None, float]] = OrderedDict()
        self._forgotten = 0

    def known(self, user_id: UUID) -> Infer | UnsetType | None:
        """How moods are read; None for who does not want it, unset for who is not known yet."""
        found = self._known.get(user_id)
        return UNSET if found is None or found[1] < self._clock() else found[0]

    async def learn(self, user_id: UUID) -> Infer | None:
        """The same, by the person's events."""
        before = self._forgotten
        person = await self._store.load(Person, Person.stream(user_id))
        wanted = person is not None and person.preference("infer_mood") is True
        infer = self._infer if wanted and person is not None and not person.private_mode else None
        if before == self._forgotten:  # or else they may have changed their mind meanwhile
            self._known[user_id] = (infer, self._clock() + REMEMBERED)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        return infer

    def forget(self, user_id: UUID) -> None:
        """Look again when this person writes next."""
        self._forgotten += 1
        self._known.pop(user_id, None)
