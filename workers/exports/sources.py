"""What a context adds to the export of a person: a port for sources, and what they hand over.

Each context has a source, and ``bootstrap/wiring/exports.py`` lists them all. A source says what it
has of a person when the export begins (``Share``); it is read piece by piece while the file is
written, so that no diary need fit into memory.
"""

from __future__ import annotations

import datetime
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from itertools import chain, islice
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec

from domain.event import Recorded
from projections.left_out import left_out
from projections.reading import Reader

AT_ONCE = 50
"""Streams that are read together: what of a person is in memory at a time."""


class Owner(msgspec.Struct, frozen=True):
    """Whose export it is; ``now`` is when this attempt began, in UTC."""

    user_id: UUID
    tenant_id: UUID
    now: datetime.datetime


class Listing(msgspec.Struct, frozen=True):
    """A list of like things: a JSON array, one item a line. ``about`` is a sentence for people.

    ``items`` are what msgspec encodes.
    """

    path: str
    about: str
    items: AsyncIterable[Any]


class File(msgspec.Struct, frozen=True):
    """A file as it is, in pieces of bytes."""

    path: str
    about: str
    pieces: AsyncIterable[bytes]


Part = Listing | File


class Share(msgspec.Struct, frozen=True):
    """What one source has of one person.

    ``streams`` are the streams whose events are theirs, ``size`` is about how many items the parts
    have, to tell progress by.
    """

    parts: Sequence[Part] = ()
    streams: Iterable[str] = ()
    size: int = 0


class Exported(Protocol):
    """A source. ``projections`` must have passed the store's head before it is asked."""

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of the projections that it reads."""
        ...

    async def share(self, owner: Owner) -> Share:
        """What there is of this person, and of nobody else.

        Raises:
            OwnerGone: there is no such person (any more).
        """
        ...


class OwnerGone(Exception):
    """Nobody is there whose data could be exported."""


class Placed(Protocol):
    """An event that knows its stream."""

    @property
    def stream_id(self) -> str:
        """The stream."""
        ...


E = TypeVar("E", bound=Placed)


class Streams(Protocol):
    """Reads the event store; ``adapters.event_store.store.PostgresEventStore`` is one."""

    async def read_many(self, stream_ids: Sequence[str]) -> Sequence[Recorded]:
        """All events of these streams with metadata, by stream and version."""
        ...


async def streams_of(
    owner: Owner, streams: Streams, stream_ids: Iterable[str]
) -> AsyncIterator[list[Recorded]]:
    """Each of the streams as its events, in the order given; those of anybody else are left out."""

    def own(recorded: Recorded) -> bool:
        return getattr(recorded.event, "user_id", None) == owner.user_id

    async for stream in in_order(streams.read_many, own, stream_ids):
        yield stream


async def in_order(
    read: Callable[[Sequence[str]], Awaitable[Sequence[E]]],
    own: Callable[[E], bool],
    stream_ids: Iterable[str],
) -> AsyncIterator[list[E]]:
    """The streams one by one as they are read together; what is not the owner's is left out."""
    ids = iter(stream_ids)
    while batch := list(islice(ids, AT_ONCE)):
        found: dict[str, list[E]] = {}
        for event in await read(batch):
            if own(event):
                found.setdefault(event.stream_id, []).append(event)
        for stream_id in batch:
            if stream_id in found:
                yield found.pop(stream_id)


async def each(items: Iterable[Any]) -> AsyncIterator[Any]:
    """Items that are at hand, as a source hands them over."""
    for item in items:
        yield item


async def with_left_out(
    reader: Reader, owner: Owner, projection: str, stream_ids: Callable[[], Iterable[str]]
) -> Callable[[], Iterable[str]]:
    """The streams that a projection's rows name, and those that are in no row of it."""
    more = await left_out(reader, owner.user_id, projection)
    if more:
        there = set(stream_ids())
        more = [stream_id for stream_id in more if stream_id not in there]
    return lambda: chain(stream_ids(), more)


def uuids(packed: bytes) -> Iterator[UUID]:
    """Ids that lie one after the other, 16 bytes each."""
    for at in range(0, len(packed), 16):
        yield UUID(bytes=packed[at : at + 16])
