"""What a person may follow as it happens: their own events, opened, and nobody else's.

Owns the choice: which contexts are shown at all, whose an event is, what the names in ``topics=``
stand for, and the port of the feed that hands the events on. It reads nothing:
``adapters/live/feed.py`` does, and ``read_api/live.py`` shows it.

Only the contexts named here are shown, so that a new one is closed until somebody opens it. What
operators did (``ops``) and what holds for everybody (``flags``) is nobody's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

from domain.accounts.events import SubjectErased
from domain.event import Event, Recorded, topics_of, type_of

CONTEXTS: Mapping[str, str | None] = {"journal": "journal:read", "accounts": None}
"""The contexts that people follow, each with the permission that an API key needs for it; None: no
key may, it is for people who are logged in."""

OWNER = "user_id"
"""The field that says whose an event is."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """An event as it is told to its owner.

    ``topic`` is of the version that ``data`` is in, ``timestamp`` when it was recorded.
    """

    position: int
    topic: str
    stream_id: str
    data: msgspec.Raw
    timestamp: datetime

    @property
    def name(self) -> str:
        """The topic without its version: ``journal.EntryWritten``."""
        return name_of(self.topic)


Reason = Literal["gone", "closing", "slow", "unauthenticated", "forbidden", "unavailable", "failed"]
"""Why somebody is told no more: they went, we go, they did not read in time, their credentials or
their right are good no more, the store does not answer, or something is wrong with us."""


class Ended(Exception):
    """There is nothing more to be told, for this reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Beyond(Exception):
    """A position that no event has yet."""


class TooMany(Exception):
    """A principal has as many connections as one may have."""

    def __init__(self, most: int) -> None:
        super().__init__(str(most))
        self.most = most


class Credentials(Protocol):
    """Whether whoever opened a connection may keep it; asked again and again."""

    def good(self) -> bool:
        """Whether it is known without waiting that they may."""
        ...

    async def check(self) -> Reason | None:
        """Find out: why they may not, None if they may."""
        ...


class Line(Protocol):
    """One connection's events, from where it began, each once and in order."""

    position: int
    """Of the last event that was told, or where it began."""

    async def next(self, within: float) -> list[Told]:
        """The next events; none if none came within that time, or somebody nudged.

        Raises:
            Ended: that was all.
        """
        ...

    def nudge(self) -> None:
        """Have ``next`` return."""
        ...

    def end(self, reason: Reason) -> None:
        """Tell nothing more; the first reason counts."""
        ...

    def close(self) -> None:
        """The connection is closed."""
        ...


class Feed(Protocol):
    """Hands events to the connections of those whose they are."""

    async def follow(
        self,
        user_id: UUID,
        who: str,
        *,
        names: Collection[str],
        after: int | None,
        credentials: Credentials,
        kind: Literal["sse", "ws"],
    ) -> Line:
        """Begin a connection of the principal ``who``: what comes after a position, or from now.

        Raises:
            Beyond: the position is ahead of the store.
            TooMany: ``who`` has too many connections already.
            Ended: nobody is let in any more, or for now.
            projections.reading.ReadUnavailable: the store does not answer.
        """
        ...


def name_of(topic: str) -> str:
    """A topic without its version."""
    return topic.rpartition(".v")[0] or topic


@cache
def followed() -> Mapping[str, type[Event]]:
    """The events that people follow, by their topics without version."""
    return {
        name_of(topic): kind
        for topic, kind in sorted(type_of.items())
        if topic.partition(".")[0] in CONTEXTS
        and OWNER in kind.__struct_fields__
        and kind is not SubjectErased
    }


@cache
def stored_topics() -> tuple[str, ...]:
    """The topics under which they are stored, and that of erasures, which end what they reach."""
    return tuple(topics_of([*followed().values(), SubjectErased]))


def told(recorded: Recorded) -> Told:
    """An event for its owner, with all that it says."""
    event = recorded.event
    return Told(
        recorded.position,
        event.TOPIC,
        recorded.stream_id,
        msgspec.Raw(msgspec.json.encode(event)),
        recorded.recorded_at,
    )


def owner_of(recorded: Recorded) -> UUID | None:
    """Whose the event is."""
    event: Any = recorded.event
    owner: UUID | None = event.user_id
    return owner


def open_to(permissions: Collection[str] | None) -> frozenset[str]:
    """The contexts that a key with these permissions may follow; None: a person, who may all."""
    if permissions is None:
        return frozenset(CONTEXTS)
    return frozenset(
        context
        for context, needed in CONTEXTS.items()
        if needed is not None and needed in permissions
    )


def chosen(part: str) -> frozenset[str]:
    """What one part of ``topics=`` stands for: a context, an event's name, or both together.

    Nothing where there is no such thing.
    """
    return frozenset(name for name in followed() if part in (name, *name.split(".", 1)))
