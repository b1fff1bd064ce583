"""The making of an insight: one operation, one event, whoever dies on the way.

Owns the order: wait for the read models, read the entries of the time that are not private and
some of those before, have an analyst tell of them, append what it told. What is handed to the
analyst is decided here and nowhere else (``pages_of``). Who is in private mode gets none, even if
they switched it on after they asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any, Protocol
from uuid import UUID

import dramatiq
import msgspec
import structlog

from commands.analyst import (
    Analyst,
    AnalystFailed,
    AnalystUnavailable,
    Before,
    Hint,
    Material,
    no_hint,
)
from commands.bus import Outcome
from commands.insights import CompleteInsight, FailInsight, RequestInsight, check_open
from commands.ports import Context, EventStore, SubjectErased
from domain.accounts.person import Person
from domain.errors import NotFound
from domain.journal.events import Mood
from domain.journal.insight import INSIGHT, Insight, InsightRequest, Page, PrivateMode, figures_of
from domain.operation import Claimed, Failure, Operation
from projections.journal import entries, insights
from projections.journal.days import Days
from projections.journal.entries import Entries, EntryFilter
from projections.reading import Freshness, Reader
from workers.broker import declare
from workers.operations import (
    LEASE,
    MAX_ATTEMPTS,
    Cancelled,
    LeaseLost,
    Operations,
    Run,
    owner_name,
)

log = structlog.get_logger()

PAUSE = 2.0
"""Seconds before an operation that failed on the way (no database, say) is taken again."""
MODEL_PAUSE = 10.0
"""Seconds before a model that cannot be had is asked again."""
MODEL_ATTEMPTS = 4
"""How often it is tried while the model cannot be had."""
CAUGHT_UP_WITHIN = 10.0
"""Seconds that the read models have, before the operation makes room for others and waits."""
AT_ONCE = 100
"""Entries that are read together."""
BEFORE = 400
"""Entries from before the time that the analyst sees: what is new is told by them."""

_FAILURES = {
    "PRIVATE_MODE": "The account is in private mode.",
    "MODEL_UNAVAILABLE": "The model could not be reached.",
    "MODEL_FAILED": "The model did not answer with what was asked.",
    "GAVE_UP": f"It was begun {MAX_ATTEMPTS} times and got no further.",
}


class Work(Operations, Protocol):
    """The operations, and how long the store is."""

    async def head(self) -> int:
        """The position of the last event."""
        ...

    async def get_any(self, operation_id: UUID) -> Operation | None:
        """Anybody's operation."""
        ...


class Making(msgspec.Struct, frozen=True):
    """What the making of insights needs."""

    operations: Work
    store: EventStore
    dispatch: Callable[[Any, Context], Awaitable[Outcome[Any]]]
    reader: Reader
    freshness: Freshness
    analyst: Analyst
    hint: Hint = no_hint
    clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(UTC)


class Params(msgspec.Struct, frozen=True):
    """What an operation is asked for, beside its owner."""

    insight_type: str
    start_date: datetime.date
    end_date: datetime.date
    scheduled: bool = False


class Unfit(Exception):
    """There will be no insight; ``code`` is one of ``_FAILURES``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Behind(Exception):
    """A read model does not show all that was there when the insight was asked for."""


class _Read(msgspec.Struct):
    """Of an entry's document what an analyst may see, and whether it may."""

    date: datetime.date
    title: str
    content: str
    mood: Mood | None
    tags: tuple[str, ...]
    location: str | None
    word_count: int
    is_private: bool


_decode = msgspec.json.Decoder(_Read).decode


def declare_insights(
    broker: dramatiq.Broker, making: Callable[[], Awaitable[Making]]
) -> dramatiq.Actor[[str], None]:
    """Declare the actor; ``making`` opens what it needs, on the worker's event loop, once."""

    async def work_on(operation_id: UUID) -> None:
        await make_insight(operation_id, await making())

    return declare(broker, INSIGHT, work_on)


async def make_insight(operation_id: UUID, making: Making) -> None:
    """Work on an insight until it is there, cannot be, or is somebody else's."""
    operations, owner = making.operations, owner_name()
    claimed = await operations.claim(operation_id, owner, LEASE)
    if claimed is None:
        await _cancelled_before(operation_id, making)
        return
    result = {"insight_id": str(operation_id)}
    making.hint(operation_id, "running")
    try:
        if claimed.attempts > MAX_ATTEMPTS:
            raise Unfit("GAVE_UP")
        await making.dispatch(_request(claimed), context_of(claimed, making.clock()))
        if claimed.cancel_requested:
            raise Cancelled
        async with Run(operations, claimed, owner) as run:
            await _make(claimed, making, run)
        await operations.finish(operation_id, owner, "succeeded", result=result)
    except Cancelled:
        await _fail(claimed, making, "CANCELLED")
        await operations.finish(operation_id, owner, "cancelled")
    except Unfit as unfit:
        await _fail(claimed, making, unfit.code)
        error = Failure(unfit.code, _FAILURES[unfit.code])
        await operations.finish(operation_id, owner, "failed", result=result, error=error)
    except (NotFound, SubjectErased):
        error = Failure("NOT_FOUND", "There is nobody whose journal could be read.")
        await operations.finish(operation_id, owner, "failed", error=error)
    except asyncio.CancelledError:  # the worker shuts down: another may begin at once
        await operations.release(operation_id, owner, 0)
        raise
    except Behind:
        making.hint(operation_id, "queued")
        await operations.release(operation_id, owner, PAUSE, failed=False)
        return
    except AnalystUnavailable:
        making.hint(operation_id, "queued")
        await operations.release(operation_id, owner, MODEL_PAUSE)
        return
    except LeaseLost:
        log.info("operation_lost", operation_id=str(operation_id))
    except Exception as error:  # noqa: BLE001  whatever it was, another attempt may get further
        log.warning(
            "insight_interrupted", operation_id=str(operation_id), reason=type(error).__name__
        )
        making.hint(operation_id, "queued")
        await operations.release(operation_id, owner, PAUSE)
        return
    making.hint(operation_id, None)


async def _make(claimed: Claimed, making: Making, run: Run) -> None:
    """Have it made, unless an attempt before this one did all but say so."""
    insight = await making.store.load(Insight, Insight.stream(claimed.id))
    if insight is not None and insight.state == "ready":
        return
    try:
        await check_open(claimed.user_id, making.store)
    except PrivateMode:
        raise Unfit("PRIVATE_MODE") from None
    await _caught_up(making, run)
    await run.step(0.05, "reading")
    material = await material_of(claimed, making)

    async def progress(done: float) -> None:
        await run.step(0.1 + 0.85 * done, f"{len(material.pages)} entries read")

    await progress(0.0)
    try:
        account = await making.analyst.tell(material, progress)
    except AnalystUnavailable:
        if claimed.attempts < MODEL_ATTEMPTS:
            raise
        raise Unfit("MODEL_UNAVAILABLE") from None
    except AnalystFailed:
        raise Unfit("MODEL_FAILED") from None
    # Whoever went into private mode, or was erased, while it was made, is not told of.
    try:
        await check_open(claimed.user_id, making.store)
    except PrivateMode:
        raise Unfit("PRIVATE_MODE") from None
    await run.step(0.95, f"{len(material.pages)} entries read", last=True)
    command = CompleteInsight(claimed.id, material.figures, account)
    await making.dispatch(command, context_of(claimed, making.clock()))


async def _caught_up(making: Making, run: Run) -> None:
    """Wait until whatever is read has seen all that happened before."""
    wanted = (Entries.name, Days.name)
    position = await making.operations.head()
    if making.freshness.position(*wanted) < position:
        await run.step(0.0, "waiting for the read models")
        if await making.freshness.passed(position, *wanted, within=CAUGHT_UP_WITHIN):
            raise Behind


async def material_of(claimed: Claimed, making: Making) -> Material:
    """All that an analyst is given for this operation."""
    params = _params(claimed)
    pages = await pages_of(
        making.reader,
        claimed.user_id,
        EntryFilter(date_from=params.start_date, date_to=params.end_date, is_private=False),
    )
    earlier = Before()
    if pages:  # or else there is nothing to compare
        count, words, longest = await insights.before(
            making.reader, claimed.user_id, params.start_date
        )
        if count:
            last = params.start_date - datetime.timedelta(days=1)
            older = await pages_of(
                making.reader,
                claimed.user_id,
                EntryFilter(date_to=last, is_private=False),
                most=BEFORE,
            )
            earlier = Before(entries=count, words=words, longest=longest, pages=older)
    person = await making.store.load(Person, Person.stream(claimed.user_id))
    asked = _asked(params)
    return Material(
        insight_type=asked.insight_type,
        start_date=asked.start_date,
        end_date=asked.end_date,
        language=person.language if person is not None else "en",
        pages=pages,
        figures=figures_of(pages),
        before=earlier,
    )


async def pages_of(
    reader: Reader, user_id: UUID, wanted: EntryFilter, *, most: int | None = None
) -> list[Page]:
    """The entries by date, the last ``most`` of them; private ones are left out in any case."""
    found: list[Page] = []
    after: entries.Keyset | None = None
    while most is None or len(found) < most:
        documents, after = await entries.page(
            reader, user_id, wanted, sort="-date", after=after, limit=AT_ONCE
        )
        for document in documents:
            read = _decode(document)
            if not read.is_private:
                fields = msgspec.structs.asdict(read)
                del fields["is_private"]
                found.append(Page(**fields))
        if after is None:
            break
    return found[:most][::-1]


async def _fail(claimed: Claimed, making: Making, code: str) -> None:
    with contextlib.suppress(NotFound, SubjectErased):  # then there is nothing to be settled
        await making.dispatch(FailInsight(claimed.id, code), context_of(claimed, making.clock()))


async def _cancelled_before(operation_id: UUID, making: Making) -> None:
    """Settle an insight whose operation was ended before anybody had begun it."""
    operation = await making.operations.get_any(operation_id)
    if operation is None or operation.state != "cancelled":
        return
    stream = Insight.stream(operation_id)
    asked = await making.store.read(stream)
    if asked:
        context = Context(
            user_id=asked[0].event.user_id,  # type: ignore[attr-defined]
            tenant_id=asked[0].tenant_id,
            actor="system:insights",
            now=making.clock(),
            correlation_id=asked[0].metadata.correlation_id if asked[0].metadata else "",
        )
        await making.dispatch(FailInsight(operation_id, "CANCELLED"), context)


def _params(claimed: Claimed) -> Params:
    return msgspec.convert(claimed.params, Params)


def _asked(params: Params) -> InsightRequest:
    values = (params.insight_type, params.start_date, params.end_date)
    named = dict(zip(InsightRequest.__struct_fields__, values, strict=True))
    return msgspec.convert(named, InsightRequest)


def _request(claimed: Claimed) -> RequestInsight:
    params = _params(claimed)
    return RequestInsight(claimed.id, _asked(params), params.scheduled)


def context_of(claimed: Claimed, now: datetime.datetime) -> Context:
    """Who commands: the system, in answer to the request that was accepted."""
    return Context(
        user_id=claimed.user_id,
        tenant_id=claimed.tenant_id,
        actor="system:insights",
        now=now,
        correlation_id=claimed.correlation_id,
    )
