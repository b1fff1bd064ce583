"""Erasing a person: whatever is about them goes, store after store, and a signed report says so.

Owns the order of the steps. The logins end first, then the key is destroyed; when every process has
forgotten it, ``SubjectErased`` is appended, on which the projections delete the person's rows; then
the rest. Each step may be done again: a worker that dies is followed by another, and counts are
kept with the operation.

There is no way back, so that nobody can cancel it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import dramatiq
import msgspec
import structlog

from commands.ports import Append, Context, EventStore, VersionConflict
from domain.accounts.events import SubjectErased
from domain.accounts.person import Person
from domain.operation import ERASURE, Claimed, Failure
from workers.broker import declare
from workers.operations import LEASE, LeaseLost, Operations, Run, owner_name

log = structlog.get_logger()

FORGOTTEN = 3.0
"""Seconds after which every process has forgotten a key that was destroyed."""
PASSED_WITHIN = 30.0
"""Seconds that projections have to come to the erasure, before it is done without them."""
LOOK_EVERY = 0.2
AGAIN = 2.0
"""Seconds before an erasure that failed on the way is taken up again."""
SYSTEM = "system:erasure"


class Erasable(Protocol):
    """A store that holds something about people; ``name`` is the report's."""

    @property
    def name(self) -> str:
        """Which store."""
        ...

    async def erase(self, person: Person, operation_id: UUID) -> int:
        """Erase what it holds about the person, now and for good; how many things.

        ``operation_id`` is the erasure's own operation, which stays.
        """
        ...


class Noting(Operations, Protocol):
    """The operations, and what is kept with one for whoever takes it next."""

    async def note(self, operation_id: UUID, owner: str, params: dict[str, Any]) -> None:
        """Keep other params with it."""
        ...


class ReadModels(Protocol):
    """The rows of projections; ``bootstrap.engine.DirectEngine`` has them. By table, how many."""

    def rows_of(self, user_id: UUID) -> dict[str, int]:
        """Rows of this person."""
        ...

    def release(self, user_id: UUID) -> int:
        """Settle what is in quarantine of their streams."""
        ...

    def not_passed(self, position: int) -> Sequence[str]:
        """The projections that have not come to this position."""
        ...

    def purge(self, user_id: UUID, position: int) -> dict[str, int]:
        """Delete their rows where projectors do not."""
        ...


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased where. ``position`` is that of ``SubjectErased``.

    ``erased`` counts by store; read models go by their tables. ``signature`` is a JWS (compact)
    whose payload is the JSON of all the other fields.
    """

    subject_id: UUID
    operation_id: UUID
    requested_at: datetime
    erased_at: datetime
    position: int
    erased: dict[str, int]
    signature: str = ""


class Erasing(msgspec.Struct, frozen=True):
    """What an erasure needs.

    ``first`` comes before the key, ``key`` destroys it, ``then`` is the rest.
    ``sign`` makes a JWS of bytes.
    """

    operations: Noting
    store: EventStore
    first: Sequence[Erasable]
    key: Erasable
    then: Sequence[Erasable]
    models: ReadModels
    sign: Callable[[bytes], Awaitable[str]]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


class NobodyThere(Exception):
    """There is no such person."""


def declare_erasure(
    broker: dramatiq.Broker, erasing: Callable[[], Awaitable[Erasing]]
) -> dramatiq.Actor[[str], None]:
    """Declare the actor; ``erasing`` opens what it needs, on the worker's event loop, once."""

    async def work_on(operation_id: UUID) -> None:
        await erase_person(operation_id, await erasing())

    return declare(broker, ERASURE, work_on)


async def erase_person(operation_id: UUID, erasing: Erasing) -> None:
    """Work on an erasure until it is done, or is somebody else's."""
    operations, owner = erasing.operations, owner_name()
    claimed = await operations.claim(operation_id, owner, LEASE)
    if claimed is None:
        return
    try:
        async with Run(operations, claimed, owner) as run:
            report = await _Erasure(claimed, erasing, run, owner).done()
        await operations.finish(operation_id, owner, "succeeded", result=report)
    except NobodyThere:
        error = Failure("NOT_FOUND", "There is no such person.")
        await operations.finish(operation_id, owner, "failed", error=error)
    except asyncio.CancelledError:  # the worker shuts down: another may go on at once
        await operations.release(operation_id, owner, 0)
        raise
    except LeaseLost:
        log.info("operation_lost", operation_id=str(operation_id))
    except Exception as error:  # noqa: BLE001  whatever it was, another run may get further
        log.warning(
            "erasure_interrupted", operation_id=str(operation_id), reason=type(error).__name__
        )
        # As often as it takes: a person who asked to be erased is not kept.
        await operations.release(operation_id, owner, AGAIN, failed=False)


class _Erasure:
    """One run of one erasure."""

    def __init__(self, claimed: Claimed, erasing: Erasing, run: Run, owner: str) -> None:
        self._claimed = claimed
        self._with = erasing
        self._run = run
        self._owner = owner
        self._params = dict(claimed.params)
        self._counts: dict[str, int] = dict(self._params.get("erased", {}))

    async def done(self) -> Report:
        """Erase, and tell what."""
        user_id = self._claimed.user_id
        person = await self._with.store.load(Person, Person.stream(user_id))
        if person is None:
            raise NobodyThere
        await self._each(self._with.first, person, 0.1)
        await self._each([self._with.key], person, 0.2)
        await asyncio.sleep(FORGOTTEN)  # the lease is renewed meanwhile
        models = self._with.models
        if person.erased_at is None:
            await self._note(await asyncio.to_thread(models.rows_of, user_id), add=False)
            await asyncio.to_thread(models.release, user_id)
        await self._step(0.4, "read models")
        position = await self._append(user_id)
        await self._passed(position)
        purged = await asyncio.to_thread(models.purge, user_id, position)
        await self._note({name: count for name, count in purged.items() if count}, add=False)
        await self._each(self._with.then, person, 0.8)
        left = {
            name: count
            for name, count in (await asyncio.to_thread(models.rows_of, user_id)).items()
            if count
        }
        if left:
            raise RuntimeError(f"rows are left in {', '.join(left)}")
        await self._step(1.0, "done")
        report = Report(
            subject_id=user_id,
            operation_id=self._claimed.id,
            requested_at=self._requested_at(),
            erased_at=self._with.clock(),
            position=position,
            erased=dict(sorted(self._counts.items())),
        )
        return msgspec.structs.replace(report, signature=await self._with.sign(signed_part(report)))

    def _requested_at(self) -> datetime:
        said = self._params.get("requested_at")
        return self._with.clock() if said is None else msgspec.convert(said, datetime)

    async def _each(self, stores: Sequence[Erasable], person: Person, progress: float) -> None:
        for one in stores:
            await self._step(progress, one.name)
            await self._note({one.name: await one.erase(person, self._claimed.id)}, add=True)

    async def _step(self, progress: float, detail: str) -> None:
        await self._run.step(progress, detail)

    async def _note(self, counts: Mapping[str, int], *, add: bool) -> None:
        """Keep counts with the operation: who goes on after us finds nothing left to count."""
        for name, count in counts.items():
            before = self._counts.get(name, 0)
            self._counts[name] = before + count if add else max(before, count)
        self._params["erased"] = self._counts
        await self._with.operations.note(self._claimed.id, self._owner, self._params)

    async def _append(self, user_id: UUID) -> int:
        """The position of ``SubjectErased``, appended now or before."""
        stream = Person.stream(user_id)
        while True:
            person = await self._with.store.load(Person, stream)
            assert person is not None
            events = person.erase()
            if not events:
                recorded = await self._with.store.read(stream)
                return next(one.position for one in recorded if type(one.event) is SubjectErased)
            context = Context(
                user_id=user_id,
                tenant_id=person.tenant_id,
                actor=SYSTEM,
                now=self._with.clock(),
                correlation_id=self._claimed.correlation_id,
            )
            try:
                done = await self._with.store.append(
                    context, Append(stream, person.version, events)
                )
            except VersionConflict:
                continue
            return done.position

    async def _passed(self, position: int) -> None:
        """Wait until the projections have come so far, or have had their time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PASSED_WITHIN
        while behind := await asyncio.to_thread(self._with.models.not_passed, position):
            if loop.time() > deadline:
                log.warning("erasure_ahead_of_projections", projections=list(behind))
                return
            await self._step(0.5, f"waiting for {', '.join(behind)}")
            await asyncio.sleep(LOOK_EVERY)


def signed_part(report: Report) -> bytes:
    """What the signature of a report is over: the JSON of its other fields."""
    fields: dict[str, Any] = msgspec.structs.asdict(report)
    del fields["signature"]
    return msgspec.json.encode(fields)
