"""What comes by the calendar where somebody is: insights into week and month, and reminders.

Each time zone is looked at as its hour comes: on Monday morning those who want to know about their
week, on the first of the month those who want to know about their month, each evening those who
want to be reminded to write. An insight is asked for under a key that names the person and the
period, and a reminder is decided by the person's own stream, so that schedulers may come twice,
start anew or be several. One that was away for a day catches up; one that was away for longer
leaves it.

Owns the hours and the order. ``domain/journal/reminders.py`` says when a reminder is due, and
``workers/journal_mail.py`` writes the letters.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import structlog

from commands.bus import Outcome
from commands.insights import RemindWriter
from commands.ports import Context
from domain.journal.events import InsightType
from domain.journal.insight import INSIGHT, InsightRequest
from domain.journal.reminders import AFTER, UNTIL, Writer
from domain.operation import NewOperation, Operation

log = structlog.get_logger()

MORNING, EVENING, NIGHT = 6, 19, 22
"""Hours, where the person is: insights come from the first on, reminders between the others."""
CATCHES_UP = datetime.timedelta(days=1)
"""For how long after its day an insight is still asked for."""
EVERY = datetime.timedelta(minutes=1)
AT_ONCE = 500
SWITCHES: dict[InsightType, str] = {
    "weekly": "email_weekly_insights",
    "monthly": "email_monthly_insights",
}
"""The preference by which somebody wants each; nobody else gets one by the calendar."""
REMIND = "email_reminder_to_write"
_KEY = "\x1fcalendar"
"""How our keys begin: no client's does, since theirs are printable."""


class Writers(Protocol):
    """Knows who writes where; ``adapters.writers.PostgresWriters`` does.

    Nobody who has left, or who wants no mail at all, is ever among them. Pages are by id, from
    after that one.
    """

    async def zones(self) -> Sequence[str]:
        """The time zones that people are in."""
        ...

    async def who_wrote(
        self,
        zone: str,
        switch: str,
        asked: InsightRequest,
        before: datetime.datetime,
        after: UUID | None,
        limit: int,
    ) -> Sequence[Writer]:
        """Those with that preference who wrote something then that a machine may read.

        They were here before that moment, and are not in private mode.
        """
        ...

    async def who_is_silent(
        self,
        zone: str,
        switch: str,
        since: tuple[datetime.date, datetime.date],
        after: UUID | None,
        limit: int,
    ) -> Sequence[Writer]:
        """Those with that preference whose last entry is of a day between these two."""
        ...


class Accepting(Protocol):
    """Takes work in; ``adapters.operations.PostgresOperations`` does."""

    async def accept(self, new: NewOperation) -> Operation:
        """Accept it; with a known idempotency key the operation that was accepted under it."""
        ...


class Offering(Protocol):
    """Hands operations to the broker; ``workers.broker.Offers`` is one."""

    async def offer(self, kind: str, operation_id: UUID) -> bool:
        """Whether the broker took it."""
        ...


def due(now: datetime.datetime) -> list[InsightRequest]:
    """The insights that are due at a local time, the catching-up included."""
    found: list[InsightRequest] = []
    today = now.date()
    for day in (today, today - CATCHES_UP):
        if day == today and now.hour < MORNING:
            continue
        yesterday = day - datetime.timedelta(days=1)
        if day.weekday() == 0:
            found.append(InsightRequest("weekly", day - datetime.timedelta(days=7), yesterday))
        if day.day == 1:
            found.append(InsightRequest("monthly", yesterday.replace(day=1), yesterday))
    return found


class Calendar:
    """Asks for what is due, each time that it is looked at."""

    def __init__(
        self,
        writers: Writers,
        operations: Accepting,
        offers: Offering,
        dispatch: Callable[[Any, Context], Awaitable[Outcome[Any]]],
        new_id: Callable[[], UUID],
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._writers = writers
        self._operations = operations
        self._offers = offers
        self._dispatch = dispatch
        self._new_id = new_id
        self._clock = clock
        self._next: datetime.datetime | None = None
        self._done: set[tuple[str, str, datetime.date]] = set()

    async def look(self) -> int:
        """Ask for all that is due now; how much that was. Looks once a minute at most."""
        now = self._clock()
        if self._next is not None and now < self._next:
            return 0
        self._next = now + EVERY
        asked = 0
        for zone in await self._writers.zones():
            try:
                local = now.astimezone(ZoneInfo(zone))
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue  # this machine does not know the zone (any more)
            for one in due(local):
                asked += await self._insights(zone, one, local)
            if EVENING <= local.hour < NIGHT:
                asked += await self._reminders(zone, local)
        return asked

    async def _insights(self, zone: str, one: InsightRequest, local: datetime.datetime) -> int:
        done = (zone, one.insight_type, one.end_date)
        if done in self._done:
            return 0
        # Whoever came after the time was over has nothing to look back on.
        midnight = datetime.datetime.combine(
            one.end_date + datetime.timedelta(days=1), datetime.time(), local.tzinfo
        )
        asked = 0
        after: UUID | None = None
        while True:
            page = await self._writers.who_wrote(
                zone, SWITCHES[one.insight_type], one, midnight, after, AT_ONCE
            )
            for writer in page:
                asked += await self._ask(writer, one)
            if len(page) < AT_ONCE:
                break
            after = page[-1].user_id
        self._note(done)
        return asked

    async def _ask(self, writer: Writer, one: InsightRequest) -> bool:
        """Whether it was asked for now, and not before."""
        key = f"{_KEY}/{one.insight_type}/{one.start_date}"
        new = NewOperation(
            id=self._new_id(),
            kind=INSIGHT,
            user_id=writer.user_id,
            tenant_id=writer.tenant_id,
            correlation_id=f"calendar_{one.insight_type}_{one.start_date}",
            created_at=self._clock(),
            idempotency_key=key,
            request_hash=sha256(key.encode()).digest(),
            params=msgspec.to_builtins(one) | {"scheduled": True},
        )
        accepted = await self._operations.accept(new)
        if accepted.id != new.id:
            return False
        await self._offers.offer(INSIGHT, new.id)
        return True

    async def _reminders(self, zone: str, local: datetime.datetime) -> int:
        today = local.date()
        done = (zone, "reminders", today)
        if done in self._done:
            return 0
        since = (today - datetime.timedelta(days=UNTIL), today - datetime.timedelta(days=AFTER))
        reminded = 0
        after: UUID | None = None
        while True:
            page = await self._writers.who_is_silent(zone, REMIND, since, after, AT_ONCE)
            for writer in page:
                context = Context(
                    user_id=writer.user_id,
                    tenant_id=writer.tenant_id,
                    actor="system:calendar",
                    now=self._clock(),
                    correlation_id=f"calendar_reminder_{today}",
                )
                outcome = await self._dispatch(RemindWriter(today, writer.last), context)
                reminded += bool(outcome.result)
            if len(page) < AT_ONCE:
                break
            after = page[-1].user_id
        self._note(done)
        return reminded

    def _note(self, done: tuple[str, str, datetime.date]) -> None:
        """Remember what was gone through; what is long past is forgotten."""
        horizon = done[2] - datetime.timedelta(days=40)
        self._done = {each for each in self._done if each[2] > horizon} | {done}
