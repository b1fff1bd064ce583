"""Between events and what is stored of them: a topic and JSON.

Owns encoding, decoding and upcasting. The eventsourcing library's default mapper takes objects
apart through ``__dict__``, which msgspec structs do not have; this one transcodes the struct and
leaves stream and version to the record.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
import msgspec.inspect
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    JSONTranscoder,
    Mapper,
    MapperDeserialisationError,
    Notification,
    StoredEvent,
)

from domain.event import Event, Recorded, type_of, upcasters

_encode = msgspec.json.Encoder().encode
_to_builtins = msgspec.json.Decoder().decode
_NOBODY = UUID(int=0)
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


class UnknownTopic(MapperDeserialisationError):
    """No type and no upcaster is registered for a stored topic."""


def encode(event: Event) -> bytes:
    """The event's fields as JSON, without its topic."""
    return _encode(event)


class Decoding(dict[str, Callable[[bytes], Event]]):
    """For each topic the fastest function from stored JSON to event; filled as topics are met."""

    def __missing__(self, topic: str) -> Callable[[bytes], Event]:
        decode = self._decoder(topic)
        self[topic] = decode
        return decode

    def _decoder(self, topic: str) -> Callable[[bytes], Event]:
        current = type_of.get(topic)
        if current is not None:
            return msgspec.json.Decoder(current).decode
        steps: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        newest = topic
        while newest in upcasters:
            newest, step = upcasters[newest]
            steps.append(step)
        kind = type_of.get(newest)
        if kind is None:
            raise UnknownTopic(f"topic {topic} has no event type")

        def upcast(data: bytes) -> Event:
            fields = _to_builtins(data)
            for step in steps:
                fields = step(fields)
            return msgspec.convert(fields, kind)

        return upcast


decoding = Decoding()


def decode(topic: str, data: bytes) -> Event:
    """The event of a stored topic, brought to its current version.

    Raises:
        UnknownTopic: no type is registered for it.
        msgspec.ValidationError: the data does not fit the type.
    """
    return decoding[topic](data)


class EventMapper(Mapper[str]):
    """The library's mapper for ``Recorded``: what its Application and Repository call."""

    def __init__(self) -> None:
        super().__init__(JSONTranscoder())

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """What the recorder stores of a record."""
        assert isinstance(domain_event, Recorded)
        return StoredEvent(
            originator_id=domain_event.stream_id,
            originator_version=domain_event.stream_version,
            topic=domain_event.event.TOPIC,
            state=encode(domain_event.event),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """The record of a stored event; its position is 0 unless it came as a notification.

        Raises:
            MapperDeserialisationError: the topic or the data cannot be read.
        """
        try:
            event = decode(stored_event.topic, stored_event.state)
        except msgspec.MsgspecError as error:
            raise MapperDeserialisationError(
                f"{stored_event.topic} of {stored_event.originator_id} cannot be read: {error}"
            ) from error
        return Recorded(
            position=stored_event.id if isinstance(stored_event, Notification) else 0,
            stream_id=str(stored_event.originator_id),
            stream_version=stored_event.originator_version,
            tenant_id=_NOBODY,
            recorded_at=_NEVER,
            event=event,
        )


HIDDEN = {"sealed": True}
"""What stands for a personal field that may not be seen."""


def shown(topic: str, data: bytes, *, personal: bool) -> dict[str, Any]:
    """The stored fields for people to look at; personal ones are hidden unless ``personal``.

    Fields of a topic that nobody knows any more are all taken for personal.
    """
    fields: dict[str, Any] = _to_builtins(data)
    if personal:
        return fields
    newest = topic
    while newest in upcasters:
        newest = upcasters[newest][0]
    kind = type_of.get(newest)
    if kind is None:
        return dict.fromkeys(fields, HIDDEN)
    names = _personal_names(kind)
    return {name: HIDDEN if name in names else value for name, value in fields.items()}


@lru_cache
def _personal_names(kind: type[Event]) -> frozenset[str]:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    return frozenset(field.name for field in info.fields if _is_personal(field.type))


def _is_personal(kind: msgspec.inspect.Type) -> bool:
    """Whether the type or anything in it is marked as personal."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return bool((kind.extra or {}).get("personal")) or _is_personal(kind.type)
    inner: list[msgspec.inspect.Type] = []
    if isinstance(kind, msgspec.inspect.UnionType):
        inner = list(kind.types)
    elif isinstance(kind, msgspec.inspect.StructType):
        inner = [field.type for field in kind.fields]
    elif isinstance(kind, msgspec.inspect.CollectionType):
        inner = [kind.item_type]
    elif isinstance(kind, msgspec.inspect.DictType):
        inner = [kind.key_type, kind.value_type]
    elif isinstance(kind, msgspec.inspect.TupleType):
        inner = list(kind.item_types)
    return any(_is_personal(each) for each in inner)
