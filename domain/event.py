"""What an event is, and how the types of all events are found by topic.

An event is a frozen struct of plain facts in the past tense. It holds no position and no stream:
those belong to the record of it, ``Recorded``. Each type names its topic by a permanent literal,
``TOPIC = "journal.EntryWritten.v1"``, so that classes may move without orphaning history.

Owns the registry of types and of upcasters. It does not encode: ``adapters/event_store/mapper.py``
does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec

type_of: dict[str, type[Event]] = {}
"""The event type of each current topic."""

upcasters: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""For each topic that was superseded: the topic that follows it, and the step between the two."""

erased_fields: dict[str, dict[str, Any]] = {}
"""For superseded topics: what stands for personal fields that the newest form no longer has."""

Personal = Annotated[str, msgspec.Meta(extra={"personal": True})]
"""Text about a person: what must become unreadable when that person is erased."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all events: subclasses declare ``TOPIC`` and are registered under it.

    ``SUBJECT`` names the field with the id of the person whom its personal fields are about: they
    are sealed with that person's key. It matters only where there are personal fields.

    An event is a tree of plain values without cycles, so the garbage collector need not look.
    """

    TOPIC: ClassVar[str]
    SUBJECT: ClassVar[str] = "user_id"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # msgspec builds the class in its metaclass, which runs this hook once for each class.
        topic = cls.__dict__.get("TOPIC")
        if topic is None:
            raise TypeError(f"{cls.__name__} declares no TOPIC")
        known = type_of.get(topic)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise TypeError(f"topic {topic} belongs to {known.__qualname__}")
        type_of[topic] = cls


def upcasts(
    old: str, new: str, *, erased: dict[str, Any] | None = None
) -> Callable[[Callable[[dict[str, Any]], dict[str, Any]]], Callable[[dict[str, Any]], Any]]:
    """Register the decorated function as the step from topic ``old`` to topic ``new``.

    The function takes the decoded fields as they were written and returns those of ``new``. Steps
    chain, so each version needs only the step to the next one. ``erased`` gives placeholders for
    personal fields of ``old`` that the step reads and the newest form has not, for events of people
    who were erased; the others have theirs by type.
    """

    def register(
        step: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        if old in upcasters:
            raise TypeError(f"topic {old} has an upcaster already")
        upcasters[old] = (new, step)
        if erased:
            erased_fields[old] = erased
        return step

    return register


class UndecodableEvent(AttributeError):
    """Something was asked of an event whose stored form cannot be read."""


class Undecodable:
    """Stands where an event should be whose stored form cannot be read.

    It has the topic, and whoever asks anything else of it is told why there is no more: so a fold
    fails on it as on any event that it cannot take, and nobody passes it over unseen.
    """

    SUBJECT: ClassVar[str] = ""

    def __init__(self, topic: str, error: Exception) -> None:
        self.TOPIC = topic
        self.error = UndecodableEvent(f"{topic} cannot be read: {type(error).__name__}")

    def __getattr__(self, name: str) -> Any:
        raise self.error


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Who and what caused an event.

    ``correlation_id`` is the id of the request that began it all; ``causation_id`` the event that
    this one reacts to; ``actor`` is ``user:<id>``, ``key:<id>`` or ``system:<name>``.
    """

    event_id: UUID
    correlation_id: str
    causation_id: UUID | None = None
    actor: str
    trace_id: str | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event with its place in the store.

    ``position`` counts all events of the store from 1 without gaps; ``stream_version`` those of
    the stream, likewise. ``metadata`` is None where the reader did not ask for it. ``erased`` says
    that the person was erased: the event's personal fields are placeholders. ``elsewhere`` says
    that it is of another partition than was asked for, and here because every partition gets it.
    """

    position: int
    stream_id: str
    stream_version: int
    tenant_id: UUID
    recorded_at: datetime
    event: Event
    metadata: Metadata | None = None
    erased: bool = False
    elsewhere: bool = False

    @property
    def originator_id(self) -> str:
        """The stream, by the name that the eventsourcing library gives it."""
        return self.stream_id

    @property
    def originator_version(self) -> int:
        """The version, by the name that the eventsourcing library gives it."""
        return self.stream_version


def undecodable(recorded: Recorded) -> Undecodable | None:
    """What stands in the place of the event, if that cannot be read."""
    event: Any = recorded.event
    return event if type(event) is Undecodable else None


def topics_of(types: Iterable[type[Event]]) -> list[str]:
    """The topics under which events of these types are stored, superseded ones included."""
    wanted = {kind.TOPIC for kind in types}
    for old in upcasters:
        newest = old
        while newest in upcasters:
            newest = upcasters[newest][0]
        if newest in wanted:
            wanted.add(old)
    return sorted(wanted)
