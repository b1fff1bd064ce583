"""Reactions that write to people about their journal: insights by the calendar, and reminders.

Owns who gets which letter because of which event. Whoever asked for an insight waits for it and
gets no letter. A choice counts as it is when the letter would go: whoever switched it off by then,
left, went into private mode or never confirmed their address, where that is asked for, gets none.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from commands.mail import Mailer
from commands.ports import EventStore
from domain.accounts.person import Person
from domain.event import Event, Recorded
from domain.journal.events import InsightReady, InsightType, WriterReminded
from domain.journal.insight import Insight
from domain.reaction import Effect
from workers.accounts_letters import Written
from workers.insight_schedule import REMIND, SWITCHES
from workers.journal_letters import Template, insight_letter, reminder_letter
from workers.posting import post
from workers.reactions import Reaction

_TEMPLATES: dict[InsightType, Template] = {
    "weekly": "weekly_insight",
    "monthly": "monthly_insight",
}


class JournalMail(Reaction):
    """Base of the reactions here; ``only_verified`` where addresses have to be confirmed."""

    stale_after: ClassVar[timedelta | None] = timedelta(days=1)

    def __init__(self, store: EventStore, mailer: Mailer, *, only_verified: bool) -> None:
        self._store = store
        self._mailer = mailer
        self._only_verified = only_verified

    @abstractmethod
    async def letter_for(
        self, person: Person, recorded: Recorded
    ) -> tuple[Template, Written] | None:
        """The letter that the person gets; None for none."""

    async def react(self, recorded: Recorded, key: UUID) -> Effect | None:
        """Send the letter, if there is somebody to write to.

        Raises:
            Unavailable: it cannot be handed over now.
            MailRefused: it is not taken.
        """
        user_id: UUID = recorded.event.user_id  # type: ignore[attr-defined]  # all that they take
        person = await self._store.load(Person, Person.stream(user_id))
        if person is None or "@" not in person.email or not self._reachable(person):
            return None
        found = await self.letter_for(person, recorded)
        if found is None:
            return None
        template, written = found
        return await post(self._mailer, key, template, person, written, recorded)

    def _reachable(self, person: Person) -> bool:
        if person.deleted_at is not None or person.erased_at is not None:
            return False
        return person.notifications.email and (person.email_verified or not self._only_verified)


class InsightMail(JournalMail):
    """Tells somebody that the insight into their week or month is there."""

    name: ClassVar[str] = "journal.insight_mail"
    takes: ClassVar[tuple[type[Event], ...]] = (InsightReady,)

    async def letter_for(
        self, person: Person, recorded: Recorded
    ) -> tuple[Template, Written] | None:
        """The figures of it, if it came by the calendar and has any."""
        ready = recorded.event
        assert isinstance(ready, InsightReady)
        if not ready.scheduled or not ready.entries_analyzed or person.private_mode:
            return None
        insight = await self._store.load(Insight, Insight.stream(ready.insight_id))
        if insight is None or insight.insight_type not in SWITCHES:
            return None
        if person.preference(SWITCHES[insight.insight_type]) is not True:
            return None
        template = _TEMPLATES[insight.insight_type]
        return template, insight_letter(
            template,
            person.language,
            person.display_name,
            insight.start_date,
            insight.end_date,
            ready,
        )


class ReminderMail(JournalMail):
    """Reminds somebody to write."""

    name: ClassVar[str] = "journal.reminder_mail"
    takes: ClassVar[tuple[type[Event], ...]] = (WriterReminded,)

    async def letter_for(
        self, person: Person, recorded: Recorded
    ) -> tuple[Template, Written] | None:
        """A line, if they still want that."""
        if person.preference(REMIND) is not True:
            return None
        return "reminder_to_write", reminder_letter(person.language, person.display_name)


REACTIONS: tuple[type[JournalMail], ...] = (InsightMail, ReminderMail)
"""All reactions of this module."""
