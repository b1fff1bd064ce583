"""Commands on insights: ask for one, settle it, note that it was looked at; and reminders.

An insight is made by an operation of the same id. Whoever accepts that appends the request; should
it be lost between the two, the worker appends it before it begins. Errors, besides those of
``commands.ports``::

    PrivateMode   the person is in private mode
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from uuid import UUID

import msgspec

from commands.bus import Outcome, handles
from commands.ports import Append, Context, EventStore, VersionConflict
from domain.accounts.person import Person
from domain.errors import NotFound
from domain.event import Event
from domain.journal.events import WriterReminded
from domain.journal.insight import Account, Figures, Insight, InsightRequest, PrivateMode
from domain.journal.reminders import Reminders

ATTEMPTS = 10
"""How often a command is tried while others keep winning the race for its stream."""


class RequestInsight(msgspec.Struct, frozen=True):
    """The context's user wants an insight, or the calendar wants it for them."""

    insight_id: UUID
    asked: InsightRequest
    scheduled: bool = False


class CompleteInsight(msgspec.Struct, frozen=True):
    """It is made."""

    insight_id: UUID
    figures: Figures
    account: Account


class FailInsight(msgspec.Struct, frozen=True):
    """It cannot be made; ``code`` is stable."""

    insight_id: UUID
    code: str


class ViewInsight(msgspec.Struct, frozen=True):
    """The context's user looked at it that day."""

    insight_id: UUID
    on: datetime.date


class RemindWriter(msgspec.Struct, frozen=True):
    """The context's user is to be reminded, if it is time for that.

    ``today`` is the date where they are, ``silent_since`` that of their last entry.
    """

    today: datetime.date
    silent_since: datetime.date


async def check_open(user_id: UUID, store: EventStore) -> None:
    """See to it that machines may read what this person writes.

    Raises:
        PrivateMode: they may not.
        NotFound: the person was erased.
    """
    person = await store.load(Person, Person.stream(user_id))
    if person is not None and person.erased_at is not None:
        raise NotFound("person")
    if person is not None and person.private_mode:
        raise PrivateMode("insights are not made in private mode")


@handles(RequestInsight)
async def request_insight(
    command: RequestInsight, context: Context, store: EventStore
) -> Outcome[Insight]:
    """The insight, which is asked for: now, or before."""
    stream = Insight.stream(command.insight_id)
    event = Insight.request(
        command.insight_id,
        context.user_id,
        command.asked,
        context.now,
        scheduled=command.scheduled,
    )
    for _ in range(ATTEMPTS):
        insight = await store.load(Insight, stream)
        if insight is not None:
            committed = await store.append(context, result=insight)
            return Outcome(insight, committed.position)
        try:
            committed = await store.append(context, Append(stream, 0, (event,)))
        except VersionConflict:
            continue
        insight = await _find(command.insight_id, context.user_id, store)
        return Outcome(insight, committed.position)
    raise VersionConflict(stream)


@handles(CompleteInsight)
async def complete_insight(
    command: CompleteInsight, context: Context, store: EventStore
) -> Outcome[Insight]:
    """The insight, which is settled: now, or before."""
    return await _decide(
        command.insight_id,
        context,
        store,
        lambda insight: insight.complete(command.figures, command.account),
    )


@handles(FailInsight)
async def fail_insight(
    command: FailInsight, context: Context, store: EventStore
) -> Outcome[Insight]:
    """The insight, which is settled: now, or before."""
    return await _decide(
        command.insight_id, context, store, lambda insight: insight.fail(command.code)
    )


@handles(ViewInsight)
async def view_insight(
    command: ViewInsight, context: Context, store: EventStore
) -> Outcome[Insight]:
    """The insight; that it was looked at is noted once for each day."""
    return await _decide(
        command.insight_id, context, store, lambda insight: insight.view(command.on)
    )


@handles(RemindWriter)
async def remind_writer(
    command: RemindWriter, context: Context, store: EventStore
) -> Outcome[bool]:
    """Whether they are reminded by this."""
    stream = Reminders.stream(context.user_id)
    before = await store.load(Reminders, stream)
    if not Reminders.due(before, command.silent_since, command.today):
        return Outcome(False, 0)
    event = WriterReminded(user_id=context.user_id, on=command.today)
    version = before.version if before is not None else 0
    try:
        committed = await store.append(context, Append(stream, version, (event,)))
    except VersionConflict:  # another scheduler was first
        return Outcome(False, 0)
    return Outcome(True, committed.position)


async def _decide(
    insight_id: UUID,
    context: Context,
    store: EventStore,
    decide: Callable[[Insight], Event | None],
) -> Outcome[Insight]:
    """The insight as it was found, and the position at which what was decided is to be seen."""
    stream = Insight.stream(insight_id)
    for _ in range(ATTEMPTS):
        insight = await _find(insight_id, context.user_id, store)
        event = decide(insight)
        appends = () if event is None else (Append(stream, insight.version, (event,)),)
        try:
            committed = await store.append(context, *appends)
        except VersionConflict:
            continue
        return Outcome(insight, committed.position)
    raise VersionConflict(stream)


async def _find(insight_id: UUID, user_id: UUID, store: EventStore) -> Insight:
    insight = await store.load(Insight, Insight.stream(insight_id))
    if insight is None or insight.user_id != user_id:
        raise NotFound("insight")
    return insight
