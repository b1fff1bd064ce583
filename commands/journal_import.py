"""Many entries at once: a batch of numbered lines becomes one commit.

Owns the reading of a line and the rule for days that occur twice: the first line wins, and an
entry that was there before wins over all. Batches are cut, counted and run again after a crash by
``workers/journal.py``; a batch that was committed under its idempotency key raises ``Replayed``.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from commands.bus import Outcome, handles
from commands.journal import ATTEMPTS, DAY, day_key
from commands.journal_input import decode_entry
from commands.ports import Append, Claim, ClaimTaken, Context, EventStore, VersionConflict
from commands.validation import Malformed
from domain.faults import Fault, Invalid
from domain.journal.entry import Draft, Entry, Infer, stream_of
from domain.journal.events import EntryWritten

TAKEN = Fault("date", "duplicate_entry_date", "There is an entry for this day already.")


class Line(msgspec.Struct, frozen=True):
    """A line of the input: ``event`` is what it asks for, None if ``faults`` say why it cannot."""

    number: int
    event: EntryWritten | None
    faults: tuple[Fault, ...] = ()


class RefusedLine(msgspec.Struct, frozen=True):
    """A line that is not in, and why; lines count from 1."""

    line: int
    errors: tuple[Fault, ...]


class BatchResult(msgspec.Struct, frozen=True):
    """How many entries were written, and the lines that were not."""

    accepted: int
    refused: tuple[RefusedLine, ...]


class ImportEntries(msgspec.Struct, frozen=True):
    """Write an entry for each sound line whose day is free."""

    lines: tuple[Line, ...]


def read_line(
    number: int, raw: bytes, entry_id: UUID, user_id: UUID, infer: Infer | None = None
) -> Line:
    """What a line of the input asks for; never raises. ``entry_id`` is a new one.

    ``infer`` is there where the person wants moods read from what they write.
    """
    try:
        event = Entry.write(entry_id, user_id, decode_entry(raw, Draft), infer)
    except Malformed as malformed:
        return refused_line(number, "malformed_json", malformed.reason)
    except Invalid as invalid:
        return Line(number, None, invalid.faults)
    return Line(number, event)


def refused_line(number: int, code: str, message: str) -> Line:
    """A line that could not be read as an entry at all."""
    return Line(number, None, (Fault("", code, message),))


@handles(ImportEntries)
async def import_entries(
    command: ImportEntries, context: Context, store: EventStore
) -> Outcome[BatchResult]:
    """Append all entries of the batch in one commit, the lines in order."""
    wanted = [line for line in command.lines if line.event is not None]
    keys = {day_key(context.user_id, line.event.date) for line in wanted if line.event}
    for _ in range(ATTEMPTS):
        holders = await store.holders(DAY, keys) if keys else {}
        held = await store.load_many(Entry, set(holders.values())) if holders else {}
        appends: list[Append] = []
        claims: dict[str, Claim] = {}
        refused: list[RefusedLine] = []
        for line in command.lines:
            event = line.event
            if event is None:
                refused.append(RefusedLine(line.number, line.faults))
                continue
            key = day_key(context.user_id, event.date)
            holder = holders.get(key)
            before = held.get(holder) if holder is not None else None
            if key in claims or (before is not None and before.state == "active"):
                refused.append(RefusedLine(line.number, (TAKEN,)))
                continue
            if before is not None and before.date == event.date:
                event = msgspec.structs.replace(event, entry_id=before.entry_id)
            else:
                before = None
            stream = stream_of(event.entry_id)
            claims[key] = Claim(DAY, key, holder, stream)
            appends.append(Append(stream, before.version if before else 0, (event,)))
        result = BatchResult(len(appends), tuple(refused))
        try:
            committed = await store.append(
                context, *appends, claims=tuple(claims.values()), result=result
            )
        except (ClaimTaken, VersionConflict):
            continue  # somebody wrote on one of these days meanwhile: look again
        return Outcome(result, committed.position)
    raise VersionConflict("journal.import")
