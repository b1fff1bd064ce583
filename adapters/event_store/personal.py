"""What of an event is personal: told by its type, taken apart, hidden, and replaced once erased.

Owns the reading of the marks ``domain.event.Personal`` makes on types. It seals nothing:
``mapper`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
import msgspec.inspect

from domain.event import Event, erased_fields, type_of, upcasters

HIDDEN = {"sealed": True}
"""What stands for a personal field that may not be seen."""
ERASED = {"erased": True}
"""What stands for a personal field of somebody who was erased, where people look at it."""

_encode = msgspec.json.Encoder().encode


class NoSubject(TypeError):
    """An event type has personal fields, and no id that says whose they are."""


class Split:
    """How the events of one type are parted into a public and a personal half.

    Raises:
        NoSubject: the type's ``SUBJECT`` is no id, or is personal itself.
    """

    def __init__(self, kind: type[Event]) -> None:
        info = msgspec.inspect.type_info(kind)
        assert isinstance(info, msgspec.inspect.StructType)
        personal = [field for field in info.fields if _is_personal(field.type)]
        public = [field for field in info.fields if not _is_personal(field.type)]
        subject = [field for field in public if field.name == kind.SUBJECT]
        if not subject or not isinstance(subject[0].type, msgspec.inspect.UUIDType):
            raise NoSubject(f"{kind.__name__} has personal fields, but no id `{kind.SUBJECT}`")
        self.subject_of: Callable[[Event], UUID] = attrgetter(kind.SUBJECT)
        self.values_of = _getter([field.name for field in personal])
        self._public_of = _getter([field.name for field in public])
        self.tells_origin = "address" in kind.__struct_fields__
        """Whether events of this type say themselves from where the person acted."""
        self._public = _half(kind, public)
        self._personal = _half(kind, personal)
        self.placeholders = {
            field.name: _placeholder(field.type) for field in personal if field.required
        }
        """What stands for the fields that an event of this type cannot be without."""

    def halves(self, event: Event, personal: tuple[Any, ...]) -> tuple[bytes, bytes]:
        """The JSON of the public fields, and that of the personal ones; unset ones are left out."""
        return _encode(self._public(*self._public_of(event))), _encode(self._personal(*personal))


class _Splits(dict[type[Event], Split | None]):
    def __missing__(self, kind: type[Event]) -> Split | None:
        split = Split(kind) if personal_names(kind) else None
        self[kind] = split
        return split


splits = _Splits()
"""For each event type how it is parted; None where nothing of it is personal."""


def subject_of(event: Event) -> UUID | None:
    """Whose key this event is sealed with; None where there is nothing to seal."""
    split = splits[type(event)]
    if split is None or not any(split.values_of(event)):
        return None
    return split.subject_of(event)


@lru_cache(1024)
def personal_names(kind: type[Event]) -> frozenset[str]:
    """The names of the type's personal fields."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    return frozenset(field.name for field in info.fields if _is_personal(field.type))


def newest_of(topic: str) -> type[Event] | None:
    """The type that events of this topic are read as; None where nobody knows it any more."""
    while topic in upcasters:
        topic = upcasters[topic][0]
    return type_of.get(topic)


def placeholders(topic: str) -> dict[str, Any]:
    """What stands for the personal fields of an event of this topic whose person was erased."""
    kind = newest_of(topic)
    split = splits[kind] if kind is not None else None
    found = dict(split.placeholders) if split is not None else {}
    while topic in upcasters:
        found.update(erased_fields.get(topic, {}))
        topic = upcasters[topic][0]
    return found


def hidden(topic: str, public: dict[str, Any], personal: dict[str, Any] | None) -> dict[str, Any]:
    """An event's fields for those who may not see what is personal.

    ``personal`` is what was sealed (only its names show), None where it cannot be read any more.
    Of a topic that nobody knows any more all is taken for personal.
    """
    kind = newest_of(topic)
    names = frozenset(public) if kind is None else personal_names(kind)
    shown = {name: HIDDEN if name in names else value for name, value in public.items()}
    return shown | dict.fromkeys(placeholders(topic) if personal is None else personal, HIDDEN)


def _getter(names: list[str]) -> Callable[[Event], tuple[Any, ...]]:
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda event: (only(event),)
    return attrgetter(*names)


def _half(kind: type[Event], fields: list[msgspec.inspect.Field]) -> Callable[..., msgspec.Struct]:
    return msgspec.defstruct(
        f"{kind.__name__}Half", [(field.name, Any) for field in fields], gc=False
    )


def _placeholder(kind: msgspec.inspect.Type) -> Any:
    """The emptiest value of a type that personal fields have.

    Raises:
        TypeError: there is none that could be chosen without asking.
    """
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    if isinstance(kind, msgspec.inspect.UnionType):
        kinds = kind.types
        if any(isinstance(each, msgspec.inspect.NoneType) for each in kinds):
            return None
        return _placeholder(kinds[0])
    if isinstance(kind, msgspec.inspect.StrType):
        return ""
    if isinstance(kind, msgspec.inspect.CollectionType):
        return []
    if isinstance(kind, msgspec.inspect.DictType):
        return {}
    raise TypeError(f"nothing can stand for an erased {kind!r}")


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
