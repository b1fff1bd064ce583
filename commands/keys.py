"""Commands on API keys, and their handlers.

No command holds a key: what proves it lies behind the port ``KeySecrets``. A key is kept there
before it is told, and taken away after its end is told, so that a crash between the two leaves
nothing that opens anything: whoever checks a key asks its stream as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import msgspec

from commands.bus import Outcome, handles
from commands.folding import fold_ahead
from commands.ports import Append, Context, EventStore, VersionConflict
from domain.accounts.key import ApiKey, KeyChanges, KeyDraft
from domain.errors import NotFound, Stale
from domain.event import Event

_TRIES = 5


class NewKey(msgspec.Struct, frozen=True):
    """A key that was drawn: told once, known by its hash."""

    key: str
    prefix: str
    hash: bytes

    def __repr__(self) -> str:
        """Nothing that a log should not have."""
        return f"NewKey({self.prefix}…)"


class KeySecrets(Protocol):
    """Draws keys and keeps their hashes; ``adapters.keys.PostgresKeys`` does."""

    def draw(self) -> NewKey:
        """A new key of 256 random bits."""
        ...

    async def keep(self, key_id: UUID, user_id: UUID, key_hash: bytes) -> None:
        """Keep the hash of a key."""
        ...

    async def forget(self, key_id: UUID) -> None:
        """Forget a key that came to nothing or is deleted."""
        ...

    async def changed(self) -> None:
        """Tell every process that keys are to be looked at again; a lost call costs a second."""
        ...


class MakeKey(msgspec.Struct, frozen=True):
    """Give the context's user a key; ``rights`` are what they may themselves."""

    key_id: UUID
    prefix: str
    draft: KeyDraft
    rights: frozenset[str]


class ReviseKey(msgspec.Struct, frozen=True):
    """Change a key of the context's user; None expects no certain version."""

    key_id: UUID
    expected_version: int | None
    changes: KeyChanges
    rights: frozenset[str]


class DeleteKey(msgspec.Struct, frozen=True):
    """End a key of the context's user."""

    key_id: UUID
    expected_version: int | None


@handles(MakeKey)
async def make_key(command: MakeKey, context: Context, store: EventStore) -> Outcome[ApiKey]:
    """The new key.

    Raises:
        TooWide: it would be allowed more than its maker.
    """
    stream = ApiKey.stream(command.key_id)
    events = ApiKey.make(
        key_id=command.key_id,
        user_id=context.user_id,
        tenant_id=context.tenant_id,
        prefix=command.prefix,
        draft=command.draft,
        rights=command.rights,
    )
    made = fold_ahead(ApiKey, None, events, stream, context)
    committed = await store.append(context, Append(stream, 0, events), result=made)
    return Outcome(made, committed.position)


@handles(ReviseKey)
async def revise_key(command: ReviseKey, context: Context, store: EventStore) -> Outcome[ApiKey]:
    """The key after the change, or as before where nothing changes.

    Raises:
        NotFound, Stale, TooWide.
    """
    return await _change(
        store,
        context,
        command.key_id,
        command.expected_version,
        lambda key: key.revise(command.changes, command.rights),
    )


@handles(DeleteKey)
async def delete_key(command: DeleteKey, context: Context, store: EventStore) -> Outcome[ApiKey]:
    """The key that is no more.

    Raises:
        NotFound, Stale.
    """
    return await _change(
        store, context, command.key_id, command.expected_version, lambda key: key.delete()
    )


async def find_key(key_id: UUID, user_id: UUID, store: EventStore) -> ApiKey:
    """This person's key.

    Raises:
        NotFound: there is none, it is somebody else's, or it is deleted.
    """
    key = await store.load(ApiKey, ApiKey.stream(key_id))
    if key is None or key.user_id != user_id or key.state == "deleted":
        raise NotFound("key")
    return key


async def _change(
    store: EventStore,
    context: Context,
    key_id: UUID,
    expected: int | None,
    decide: Callable[[ApiKey], tuple[Event, ...]],
) -> Outcome[ApiKey]:
    stream = ApiKey.stream(key_id)
    for _ in range(_TRIES):
        key = await find_key(key_id, context.user_id, store)
        if expected is not None and expected != key.version:
            raise Stale(expected, key.version)
        events = decide(key)
        after = fold_ahead(ApiKey, key, events, stream, context)
        appends = [Append(stream, key.version, events)] if events else []
        try:
            committed = await store.append(context, *appends, result=after)
        except VersionConflict:
            continue
        return Outcome(after, committed.position)
    raise VersionConflict(stream)
