"""Commands on journal entries.

Owns the rule that a person has one entry for each day. The day is a claim, ``journal.day``, held
by the entry's stream and moved in the same commit as the events. A deleted entry keeps its claim
until somebody needs the day: writing there begins that entry again on its own stream, and another
entry that moves there takes the claim over.

Handlers are optimistic: they append as if nobody else did anything, and look only when that was
refused. Errors, besides those of ``commands.ports``::

    NotFound             no such entry, not this person's, or (but for restoring) deleted
    Stale                the entry has another version than the client knows
    DuplicateEntryDate   another entry has the day
    Invalid              the tags break a rule; all else is checked when the body is decoded
"""

from __future__ import annotations

import datetime
from uuid import UUID

import msgspec

from commands.bus import Outcome, handles
from commands.ports import Append, Claim, ClaimTaken, Context, EventStore, VersionConflict
from domain.errors import NotFound, Stale
from domain.journal.entry import Changes, Draft, DuplicateEntryDate, Entry, Infer, stream_of

DAY = "journal.day"
"""Kind of the claims; the key is made by ``day_key``, the holder is an entry's stream."""

ATTEMPTS = 50
"""How often a command is tried while others keep winning the race for its stream or day."""


class WriteEntry(msgspec.Struct, frozen=True):
    """Begin an entry; ``entry_id`` is a new one, unused where a deleted entry begins again.

    ``infer`` is there where the person wants moods read from what they write.
    """

    entry_id: UUID
    draft: Draft
    infer: Infer | None = None


class ReviseEntry(msgspec.Struct, frozen=True):
    """Change an entry; ``expected_version`` None means whichever there is, ``infer`` as above."""

    entry_id: UUID
    expected_version: int | None
    changes: Changes
    infer: Infer | None = None


class DeleteEntry(msgspec.Struct, frozen=True):
    """Hide an entry and free its day."""

    entry_id: UUID
    expected_version: int | None


class RestoreEntry(msgspec.Struct, frozen=True):
    """Bring a deleted entry back, if no other has its day by now."""

    entry_id: UUID


@handles(WriteEntry)
async def write_entry(command: WriteEntry, context: Context, store: EventStore) -> Outcome[Entry]:
    """Begin the entry: one append where the day is new."""
    draft, user_id = command.draft, context.user_id
    key = day_key(user_id, draft.date)
    entry_id, before, holder = command.entry_id, None, None
    event = Entry.write(entry_id, user_id, draft, command.infer)
    for _ in range(ATTEMPTS):
        stream, version = stream_of(entry_id), before.version if before else 0
        entry = Entry.after(before, event, version + 1, context.now)
        try:
            committed = await store.append(
                context,
                Append(stream, version, (event,)),
                claims=(Claim(DAY, key, holder, stream),),
                result=entry,
            )
        except (ClaimTaken, VersionConflict) as refusal:
            holder = await _holder_after(refusal, key, store)
        else:
            return Outcome(entry, committed.position)
        before = await _vacated(holder, draft.date, store)
        # A deleted entry that still stands for this day begins again, on its own stream.
        entry_id = before.entry_id if before else command.entry_id
        event = msgspec.structs.replace(event, entry_id=entry_id)
    raise VersionConflict(stream_of(entry_id))


@handles(ReviseEntry)
async def revise_entry(command: ReviseEntry, context: Context, store: EventStore) -> Outcome[Entry]:
    """Change the entry, and move its claim with its date."""
    stream = stream_of(command.entry_id)
    holder: str | None = None
    for _ in range(ATTEMPTS):
        entry = await find_entry(command.entry_id, context.user_id, store)
        _check_version(command.expected_version, entry)
        event = entry.revise(command.changes, command.infer)
        if event is None:
            committed = await store.append(context, result=entry)
            return Outcome(entry, committed.position)
        after = Entry.after(entry, event, entry.version + 1, context.now)
        claims: tuple[Claim, ...] = ()
        key = day_key(entry.user_id, after.date)
        if after.date != entry.date:
            old_key = day_key(entry.user_id, entry.date)
            claims = (Claim(DAY, key, holder, stream), Claim(DAY, old_key, stream, None))
        try:
            committed = await store.append(
                context, Append(stream, entry.version, (event,)), claims=claims, result=after
            )
        except ClaimTaken as taken:
            if taken.key == key:
                holder = taken.holder
                await _vacated(holder, after.date, store)
        except VersionConflict:
            pass  # the next round says whether the client's version is stale by that
        else:
            return Outcome(after, committed.position)
    raise VersionConflict(stream)


@handles(DeleteEntry)
async def delete_entry(command: DeleteEntry, context: Context, store: EventStore) -> Outcome[Entry]:
    """Hide the entry; its claim stays until somebody needs the day."""
    stream = stream_of(command.entry_id)
    for _ in range(ATTEMPTS):
        entry = await find_entry(command.entry_id, context.user_id, store)
        _check_version(command.expected_version, entry)
        event = entry.delete()
        assert event is not None, "only active entries are found"
        after = Entry.after(entry, event, entry.version + 1, context.now)
        try:
            committed = await store.append(
                context, Append(stream, entry.version, (event,)), result=after
            )
        except VersionConflict:
            continue
        return Outcome(after, committed.position)
    raise VersionConflict(stream)


@handles(RestoreEntry)
async def restore_entry(
    command: RestoreEntry, context: Context, store: EventStore
) -> Outcome[Entry]:
    """Bring the entry back; one that is there already stays as it is."""
    stream = stream_of(command.entry_id)
    holder: str | None = stream
    for _ in range(ATTEMPTS):
        entry = await find_entry(command.entry_id, context.user_id, store, deleted_too=True)
        event = entry.restore()
        if event is None:
            committed = await store.append(context, result=entry)
            return Outcome(entry, committed.position)
        after = Entry.after(entry, event, entry.version + 1, context.now)
        claim = Claim(DAY, day_key(entry.user_id, entry.date), holder, stream)
        try:
            committed = await store.append(
                context, Append(stream, entry.version, (event,)), claims=(claim,), result=after
            )
        except ClaimTaken as taken:
            holder = taken.holder
            if holder != stream:
                await _vacated(holder, entry.date, store)
        except VersionConflict:
            pass
        else:
            return Outcome(after, committed.position)
    raise VersionConflict(stream)


async def find_entry(
    entry_id: UUID, user_id: UUID, store: EventStore, *, deleted_too: bool = False
) -> Entry:
    """This person's entry.

    Raises:
        NotFound: there is none, it is somebody else's, or it is deleted.
    """
    entry = await store.load(Entry, stream_of(entry_id))
    if entry is None or entry.user_id != user_id:
        raise NotFound("entry")
    if entry.state == "deleted" and not deleted_too:
        raise NotFound("entry")
    return entry


def day_key(user_id: UUID, date: datetime.date) -> str:
    """The claim's key for a person's day; the day first, so that what is written today is near."""
    return f"{date.isoformat()}/{user_id}"


def _check_version(expected: int | None, entry: Entry) -> None:
    # A version to which only a job has added since is as good as the current one.
    if expected is not None and not entry.decided_on <= expected <= entry.version:
        raise Stale(expected, entry.version)


async def _holder_after(
    refusal: ClaimTaken | VersionConflict, key: str, store: EventStore
) -> str | None:
    if isinstance(refusal, ClaimTaken):
        return refusal.holder
    return (await store.holders(DAY, (key,))).get(key)


async def _vacated(holder: str | None, date: datetime.date, store: EventStore) -> Entry | None:
    """The deleted entry that still stands for this day; None if nothing does.

    Raises:
        DuplicateEntryDate: an entry has the day.
    """
    if holder is None:
        return None
    held = await store.load(Entry, holder)
    if held is None or held.date != date:
        return None
    if held.state == "active":
        raise DuplicateEntryDate(date, held.entry_id)
    return held
