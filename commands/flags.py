"""Commands on feature flags, and their handlers. Who may give them is the API's to check."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from commands.bus import Outcome, handles
from commands.folding import fold_ahead
from commands.ports import Append, Context, EventStore, VersionConflict
from domain.errors import NotFound, Stale
from domain.event import Event
from domain.flags.flag import Flag, FlagChanges, FlagRules

_TRIES = 5


class PutFlag(msgspec.Struct, frozen=True):
    """Set a flag as a whole, be it new or not; None expects no certain version."""

    name: str
    rules: FlagRules
    expected_version: int | None = None


class ReviseFlag(msgspec.Struct, frozen=True):
    """Change some of a flag."""

    name: str
    expected_version: int | None
    changes: FlagChanges


class DeleteFlag(msgspec.Struct, frozen=True):
    """End a flag."""

    name: str
    expected_version: int | None


@handles(PutFlag)
async def put_flag(command: PutFlag, context: Context, store: EventStore) -> Outcome[Flag]:
    """The flag as it was set.

    Raises:
        Stale: there is none, or it has another version than expected.
    """

    def decide(flag: Flag | None) -> tuple[Event, ...]:
        _check(flag, command.expected_version)
        return Flag.put(flag, command.name, command.rules)

    return await _change(store, context, command.name, decide)


@handles(ReviseFlag)
async def revise_flag(command: ReviseFlag, context: Context, store: EventStore) -> Outcome[Flag]:
    """The flag after the change.

    Raises:
        NotFound, Stale.
    """

    def decide(flag: Flag | None) -> tuple[Event, ...]:
        known = _known(flag)
        _check(known, command.expected_version)
        return known.revise(command.changes)

    return await _change(store, context, command.name, decide)


@handles(DeleteFlag)
async def delete_flag(command: DeleteFlag, context: Context, store: EventStore) -> Outcome[Flag]:
    """The flag that is no more.

    Raises:
        NotFound, Stale.
    """

    def decide(flag: Flag | None) -> tuple[Event, ...]:
        known = _known(flag)
        _check(known, command.expected_version)
        return known.delete()

    return await _change(store, context, command.name, decide)


async def find_flag(name: str, store: EventStore) -> Flag:
    """The flag of this name.

    Raises:
        NotFound: there is none.
    """
    return _known(await store.load(Flag, Flag.stream(name)))


def _known(flag: Flag | None) -> Flag:
    if flag is None or flag.deleted:
        raise NotFound("flag")
    return flag


def _check(flag: Flag | None, expected: int | None) -> None:
    version = 0 if flag is None else flag.version
    if expected is not None and expected != version:
        raise Stale(expected, version)


async def _change(
    store: EventStore,
    context: Context,
    name: str,
    decide: Callable[[Flag | None], tuple[Event, ...]],
) -> Outcome[Flag]:
    stream = Flag.stream(name)
    for _ in range(_TRIES):
        flag = await store.load(Flag, stream)
        version = 0 if flag is None else flag.version
        events = decide(flag)
        after = fold_ahead(Flag, flag, events, stream, context)
        appends = [Append(stream, version, events)] if events else []
        try:
            committed = await store.append(context, *appends, result=after)
        except VersionConflict:
            continue
        return Outcome(after, committed.position)
    raise VersionConflict(stream)
