"""When somebody who has not written for a while is reminded, if they want that.

Owns the rule: after ``AFTER`` days without an entry, at most once in ``PAUSE`` days, and no more
after ``UNTIL``, since by then it would be a nuisance.
"""

from __future__ import annotations

import datetime
from typing import ClassVar, Self
from uuid import UUID

import msgspec

from domain.event import Recorded
from domain.journal.events import WriterReminded

AFTER, PAUSE, UNTIL = 3, 7, 60
"""Days."""


class Writer(msgspec.Struct, frozen=True):
    """Somebody, and the date of their last entry, or of their registration where there is none."""

    user_id: UUID
    tenant_id: UUID
    last: datetime.date


class Reminders(msgspec.Struct, frozen=True, kw_only=True):
    """How somebody was reminded so far; ``last`` is the date where they were."""

    CATEGORY: ClassVar[str] = "journal.reminders"
    SNAPSHOT: ClassVar[str] = "journal.Reminders.1"

    user_id: UUID
    last: datetime.date
    version: int

    @classmethod
    def stream(cls, user_id: UUID) -> str:
        """The stream of a person's reminders."""
        return f"{cls.CATEGORY}-{user_id}"

    @classmethod
    def due(cls, state: Self | None, silent_since: datetime.date, today: datetime.date) -> bool:
        """Whether today is a day for one.

        ``silent_since`` is the date of the last entry, or of the beginning where there is none.
        """
        silent = (today - silent_since).days
        if not AFTER <= silent <= UNTIL:
            return False
        return state is None or (today - state.last).days >= PAUSE

    @classmethod
    def evolve(cls, state: Self | None, recorded: Recorded) -> Self:
        """The state after one more of them."""
        event = recorded.event
        if not isinstance(event, WriterReminded):
            raise TypeError(f"{type(event).__name__} is no reminder")
        return cls(user_id=event.user_id, last=event.on, version=recorded.stream_version)
