"""The import of a diary: lines in, entries out, each line taken once whatever happens.

Owns the cutting of the input into lines and of lines into batches. A batch is one commit under an
idempotency key of its own, so that a second run of an operation finds the answers of the batches
that the first one committed, and goes on after them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import dramatiq
import msgspec
import structlog

from commands.bus import Outcome
from commands.journal_import import (
    BatchResult,
    ImportEntries,
    Line,
    RefusedLine,
    read_line,
    refused_line,
)
from commands.ports import Context, EventStore, Idempotency, Replayed, Response
from domain.journal.entry import Infer
from domain.operation import Claimed, Failure
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

IMPORT = "journal.import"
"""Kind of the operations and name of the actor; permanent."""
BATCH = 100
"""Lines of one commit. A part of the meaning of the keys under which batches are kept."""
MAX_LINE = 1024 * 1024
"""Bytes of one line."""
MAX_REFUSED = 100_000
"""Lines that may be refused before it is plain that the file is no diary."""
PAUSE = 2.0
"""Seconds before an operation that failed on the way (no database, say) is taken again."""

_encode = msgspec.json.Encoder().encode
_decode_result = msgspec.json.Decoder(BatchResult).decode


async def never(user_id: UUID) -> Infer | None:
    """Nobody wants moods read from what they write."""
    return None


class Importing(msgspec.Struct, frozen=True):
    """What an import needs; ``new_id`` draws the ids of entries (UUIDv7).

    ``infers`` says how moods are read from what a person writes, None where they do not want that.
    """

    operations: Operations
    store: EventStore
    dispatch: Callable[[Any, Context], Awaitable[Outcome[Any]]]
    new_id: Callable[[], UUID]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    infers: Callable[[UUID], Awaitable[Infer | None]] = never


class ImportResult(msgspec.Struct):
    """The operation's result: how many entries were written, and each line that was not.

    It grows with each batch, so that whoever stops half way can tell what was done.
    """

    accepted: int
    refused: list[RefusedLine]


class TooManyRefused(Exception):
    """The input is no diary."""


def declare_import(
    broker: dramatiq.Broker, importing: Callable[[], Awaitable[Importing]]
) -> dramatiq.Actor[[str], None]:
    """Declare the actor; ``importing`` opens what it needs, on the worker's event loop, once."""

    async def work_on(operation_id: UUID) -> None:
        await import_journal(operation_id, await importing())

    return declare(broker, IMPORT, work_on)


async def import_journal(operation_id: UUID, importing: Importing) -> None:
    """Work on an import until it ends, is cancelled, or is somebody else's."""
    operations, owner = importing.operations, owner_name()
    claimed = await operations.claim(operation_id, owner, LEASE)
    if claimed is None:
        return
    result = ImportResult(0, [])
    try:
        if claimed.cancel_requested:
            raise Cancelled
        if claimed.attempts > MAX_ATTEMPTS:
            error = Failure("GAVE_UP", f"It was begun {MAX_ATTEMPTS} times and got no further.")
            await operations.finish(operation_id, owner, "failed", error=error)
            return
        async with Run(operations, claimed, owner) as run:
            await _import(claimed, importing, run, result)
        await operations.finish(operation_id, owner, "succeeded", result=result)
    except Cancelled:
        await operations.finish(operation_id, owner, "cancelled", result=result)
    except TooManyRefused:
        error = Failure("TOO_MANY_REFUSED", f"More than {MAX_REFUSED} lines were refused.")
        await operations.finish(operation_id, owner, "failed", result=result, error=error)
    except asyncio.CancelledError:  # the worker shuts down: another may go on at once
        await operations.release(operation_id, owner, 0)
        raise
    except LeaseLost:
        log.info("operation_lost", operation_id=str(operation_id))
    except Exception as error:  # noqa: BLE001  whatever it was, another run may get further
        log.warning(
            "import_interrupted", operation_id=str(operation_id), reason=type(error).__name__
        )
        await operations.release(operation_id, owner, PAUSE)


async def _import(claimed: Claimed, importing: Importing, run: Run, result: ImportResult) -> None:
    """Import batch after batch."""
    batch_no = number = 0
    batch: list[Line] = []
    infer = await importing.infers(claimed.user_id)
    async for number, raw, offset in numbered(importing.operations.input(claimed.id)):
        if raw is None:
            message = f"A line has at most {MAX_LINE} bytes."
            batch.append(refused_line(number, "too_long", message))
        else:
            batch.append(read_line(number, raw, importing.new_id(), claimed.user_id, infer))
        if len(batch) == BATCH:
            await _commit(claimed, importing, batch_no, batch, result)
            batch, batch_no = [], batch_no + 1
            await run.step(offset / max(claimed.input_bytes, 1), _read(number))
    if batch:
        await _commit(claimed, importing, batch_no, batch, result)
    await run.step(1.0, _read(number), last=True)


async def _commit(
    claimed: Claimed, importing: Importing, batch_no: int, batch: list[Line], result: ImportResult
) -> None:
    """Write the batch or find that it was written, and add what became of its lines."""
    key = Idempotency(
        principal=f"op:{claimed.id}",
        key=str(batch_no),
        request_hash=hashlib.sha256(f"{claimed.id}/{batch_no}".encode()).digest(),
        render=lambda batch_result: Response(200, (), _encode(batch_result)),
    )
    context = Context(
        user_id=claimed.user_id,
        tenant_id=claimed.tenant_id,
        actor=f"user:{claimed.user_id}",
        now=importing.clock(),
        correlation_id=claimed.correlation_id,
        idempotency=key,
    )
    try:
        if claimed.again:  # cheaper than to offer all the events once more
            await importing.store.answered(key.principal, key.key, key.request_hash)
        outcome = await importing.dispatch(ImportEntries(tuple(batch)), context)
        done: BatchResult = outcome.result
    except Replayed as replayed:
        done = _decode_result(replayed.response.body)
    result.accepted += done.accepted
    result.refused.extend(done.refused)
    if len(result.refused) > MAX_REFUSED:
        raise TooManyRefused


async def numbered(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes | None, int]]:
    """The lines of a text that comes in pieces: number from 1, bytes, offset of the line's end.

    A line over ``MAX_LINE`` is None and takes no memory. Empty lines are counted and left out. A
    byte order mark at the start is no part of the first line.
    """
    number = offset = 0
    rest = bytearray()
    too_long = False
    async for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            if not too_long:
                rest += piece[start:end]
            offset += end + 1 - start
            number += 1
            if too_long or len(rest) > MAX_LINE:
                yield number, None, offset
            elif line := _stripped(rest, number):
                yield number, line, offset
            rest.clear()
            too_long = False
            start = end + 1
        offset += len(piece) - start
        if not too_long:
            rest += piece[start:]
            if len(rest) > MAX_LINE:
                too_long = True
                rest.clear()
    if too_long:
        yield number + 1, None, offset
    elif line := _stripped(rest, number + 1):
        yield number + 1, line, offset


def _stripped(line: bytearray, number: int) -> bytes:
    if number == 1 and line.startswith(b"\xef\xbb\xbf"):
        return bytes(line[3:]).strip(b" \t\r")
    return bytes(line).strip(b" \t\r")


def _read(lines: int) -> str:
    return f"{lines} line{'' if lines == 1 else 's'} read"
