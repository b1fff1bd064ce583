"""Between events and what is stored of them: a topic, and JSON whose personal part is sealed.

Owns encoding, decoding, sealing and upcasting. The eventsourcing library's default mapper takes
objects apart through ``__dict__``, which msgspec structs do not have; this one transcodes the
struct and leaves stream and version to the record.

What is stored of an event is JSON. Where personal fields of it hold something, these are not in
that JSON but sealed behind it, all of them by one call::

    JSON of the public fields | 0x00 | subject's id (16) | nonce (12) | ciphertext and tag

A zero byte is in no JSON. The ciphertext is that of the personal fields' JSON under the subject's
data key (``subject_keys``), AES-256-GCM, with the stream and the version authenticated: it opens in
its own place only.

From where the person acted (address and agent) is sealed with it, under a name that no field has;
whoever decodes an event passes over it, and the audit log asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    JSONTranscoder,
    Mapper,
    MapperDeserialisationError,
    Notification,
    StoredEvent,
)

from adapters.event_store.personal import ERASED, HIDDEN, hidden, placeholders, splits, subject_of
from commands.ports import SubjectErased
from domain.event import Event, Metadata, Recorded, type_of, upcasters

SEAL = 0
"""The byte behind which an event's personal fields are sealed."""

_NONCE = 12
_encode = msgspec.json.Encoder().encode
_to_builtins = msgspec.json.Decoder().decode
_NOBODY = UUID(int=0)
_NEVER = datetime(1, 1, 1, tzinfo=UTC)

Ciphers = dict[bytes, AESGCM | None]
"""By a subject's 16 bytes; None: erased; missing: yet to be loaded."""


ORIGIN = "@"
"""The name under which it is sealed from where somebody acted."""


class Origin(NamedTuple):
    """From where a person acts: the subject's 16 bytes, and a member of a JSON object."""

    subject: bytes
    member: bytes


@lru_cache(4096)
def origin_of(user_id: UUID, address: str | None, agent: str | None) -> Origin | None:
    """What is kept of it; None where nothing is known."""
    if address is None and agent is None:
        return None
    told = _encode({"address": address, "agent": agent})
    return Origin(user_id.bytes, b'"%b":%b' % (ORIGIN.encode(), told))


class UnknownTopic(MapperDeserialisationError):
    """No type and no upcaster is registered for a stored topic."""


class Unreadable(MapperDeserialisationError):
    """What is sealed was changed, moved, or sealed with another key than the subject's."""


class KeysMissing(LookupError):
    """A subject's cipher has not been loaded: whoever meets this loads it and tries again."""


class _Nonces:
    """Random nonces, drawn by the thousand: a call of the kernel for each takes as long as AES."""

    def __init__(self) -> None:
        self._left: list[bytes] = []
        os.register_at_fork(after_in_child=self._left.clear)

    def draw(self) -> bytes:
        """Twelve bytes that nobody else gets."""
        try:
            return self._left.pop()
        except IndexError:
            drawn = os.urandom(_NONCE * 1024)
            fresh = [drawn[at : at + _NONCE] for at in range(0, len(drawn), _NONCE)]
            nonce = fresh.pop()
            self._left.extend(fresh)
            return nonce


_nonce = _Nonces().draw


def encode(event: Event) -> bytes:
    """The event's fields as JSON, in the clear, without its topic."""
    return _encode(event)


def seal(
    event: Event,
    stream_id: str,
    version: int,
    ciphers: Ciphers,
    origin: Origin | None = None,
) -> bytes:
    """What is stored of an event at its place; with ``origin``, if it is about that very person.

    Raises:
        KeysMissing: the cipher of its subject is to be loaded first.
        SubjectErased: there is none any more.
    """
    split = splits[type(event)]
    if split is None or not any(personal := split.values_of(event)):
        if origin is None or not _is_about(event, origin):
            return _encode(event)
        return _with_origin(event, stream_id, version, ciphers, origin)
    subject = split.subject_of(event).bytes
    try:
        cipher = ciphers[subject]
    except KeyError:
        raise KeysMissing from None
    if cipher is None:
        raise SubjectErased("its subject was erased")
    shown, private = split.halves(event, personal)
    if origin is not None and origin.subject == subject and not split.tells_origin:
        private = b"%b,%b}" % (private[:-1], origin.member)
    nonce = _nonce()
    sealed = cipher.encrypt(nonce, private, f"{stream_id}|{version}".encode())
    return b"%b\x00%b%b%b" % (shown, subject, nonce, sealed)


def _is_about(event: Event, origin: Origin) -> bool:
    subject = getattr(event, type(event).SUBJECT, None)
    return isinstance(subject, UUID) and subject.bytes == origin.subject


def _with_origin(
    event: Event, stream_id: str, version: int, ciphers: Ciphers, origin: Origin
) -> bytes:
    """An event with nothing personal but from where it came."""
    try:
        cipher = ciphers[origin.subject]
    except KeyError:
        raise KeysMissing from None
    if cipher is None:
        return _encode(event)  # it may be told, but no more than it says itself
    nonce = _nonce()
    sealed = cipher.encrypt(nonce, b"{%b}" % origin.member, f"{stream_id}|{version}".encode())
    return b"%b\x00%b%b%b" % (_encode(event), origin.subject, nonce, sealed)


def subject_in(data: bytes) -> bytes | None:
    """The 16 bytes of the subject of whom something is sealed in this; None where nothing is.

    Nor is there one where what comes after the zero byte is too short to name anybody.
    """
    cut = data.find(SEAL)
    return None if cut < 0 or len(data) < cut + 17 else data[cut + 1 : cut + 17]


def subjects_in(stored: Iterable[bytes]) -> set[bytes]:
    """The subjects of many."""
    return {subject for data in stored if (subject := subject_in(data)) is not None}


def unsealed(cipher: AESGCM, data: bytes, cut: int, place: str) -> bytes:
    """What is sealed behind the byte at ``cut``.

    Raises:
        Unreadable: it does not belong there.
    """
    begin = cut + 17 + _NONCE
    try:
        return cipher.decrypt(data[cut + 17 : begin], data[begin:], place.encode())
    except (InvalidTag, ValueError):
        raise Unreadable(f"what is sealed at {place} cannot be opened") from None


def seal_snapshot(
    cipher: AESGCM, subject: bytes, state: bytes, stream_id: str, version: int
) -> bytes:
    """What is stored of a folded state: all of it sealed, in the form of an event."""
    nonce = _nonce()
    sealed = cipher.encrypt(nonce, state, f"snapshot|{stream_id}|{version}".encode())
    return b"\x00%b%b%b" % (subject, nonce, sealed)


def open_snapshot(cipher: AESGCM, data: bytes, stream_id: str, version: int) -> bytes:
    """The state that was sealed.

    Raises:
        Unreadable: it does not belong there.
    """
    return unsealed(cipher, data, 0, f"snapshot|{stream_id}|{version}")


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
    """The event of a stored topic in the clear, brought to its current version.

    Raises:
        UnknownTopic: no type is registered for it.
        msgspec.ValidationError: the data does not fit the type.
    """
    return decoding[topic](data)


def recorded(
    ciphers: Ciphers,
    position: int,
    stream_id: str,
    version: int,
    tenant_id: UUID,
    recorded_at: datetime,
    topic: str,
    data: bytes,
    metadata: Metadata | None = None,
) -> Recorded:
    """The record of a stored event, opened.

    Raises:
        KeysMissing: the cipher of its subject is to be loaded first.
        Unreadable, UnknownTopic: it is broken.
        msgspec.ValidationError: it does not fit its type.
    """
    cut = data.find(SEAL)
    erased = False
    if cut >= 0:
        try:
            cipher = ciphers[data[cut + 1 : cut + 17]]
        except KeyError:
            raise KeysMissing from None
        if cipher is None:
            erased = True
            data = _merged(data, cut, _erased_fields(topic))
        else:
            data = _merged(data, cut, unsealed(cipher, data, cut, f"{stream_id}|{version}"))
    return Recorded(
        position=position,
        stream_id=stream_id,
        stream_version=version,
        tenant_id=tenant_id,
        recorded_at=recorded_at,
        event=decoding[topic](data),
        metadata=metadata,
        erased=erased,
    )


def _merged(data: bytes, cut: int, personal: bytes) -> bytes:
    """One JSON object of the public one before ``cut`` and the personal one."""
    return data[: cut - 1] + (b"," + personal[1:] if len(personal) > 2 else b"}")


@lru_cache(1024)
def _erased_fields(topic: str) -> bytes:
    return _encode(placeholders(topic))


class EventMapper(Mapper[str]):
    """The library's mapper for ``Recorded``: what its Application and Repository call.

    ``load`` sees to it that ``ciphers`` has a subject's, making its key if that is asked for.
    """

    def __init__(self, ciphers: Ciphers, load: Callable[[bytes, bool], None]) -> None:
        super().__init__(JSONTranscoder())
        self._ciphers = ciphers
        self._load = load

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """What the recorder stores of a record.

        Raises:
            SubjectErased: it is about somebody who was erased.
        """
        assert isinstance(domain_event, Recorded)
        event, stream, version = (
            domain_event.event,
            domain_event.stream_id,
            domain_event.stream_version,
        )
        try:
            data = seal(event, stream, version, self._ciphers)
        except KeysMissing:
            subject = subject_of(event)
            assert subject is not None
            self._load(subject.bytes, True)
            data = seal(event, stream, version, self._ciphers)
        return StoredEvent(
            originator_id=stream, originator_version=version, topic=event.TOPIC, state=data
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """The record of a stored event; its position is 0 unless it came as a notification.

        Raises:
            MapperDeserialisationError: the topic or the data cannot be read.
        """
        try:
            return self._recorded(stored_event)
        except KeysMissing:
            for subject in subjects_in([stored_event.state]):
                self._load(subject, False)
            return self._recorded(stored_event)
        except msgspec.MsgspecError as error:
            raise MapperDeserialisationError(
                f"{stored_event.topic} of {stored_event.originator_id} cannot be read: {error}"
            ) from error

    def _recorded(self, stored: StoredEvent) -> Recorded:
        return recorded(
            self._ciphers,
            stored.id if isinstance(stored, Notification) else 0,
            str(stored.originator_id),
            stored.originator_version,
            _NOBODY,
            _NEVER,
            stored.topic,
            stored.state,
        )


def shown(
    topic: str,
    stream_id: str,
    version: int,
    data: bytes,
    ciphers: Ciphers,
    *,
    personal: bool,
    origin: bool = False,
) -> dict[str, Any]:
    """The stored fields for people to look at; personal ones are hidden unless ``personal``.

    Fields of a topic that nobody knows any more are all taken for personal. Of whom there is no
    cipher the names of the fields are those that the type has. With ``origin`` it is there as well,
    under its name, where it is known. Data that cannot be read are ``{"undecodable": true}``.
    """
    try:
        return _shown(topic, f"{stream_id}|{version}", data, ciphers, personal, origin)
    except (Unreadable, msgspec.MsgspecError, UnicodeError):
        return {"undecodable": True}


def _shown(
    topic: str, place: str, data: bytes, ciphers: Ciphers, personal: bool, origin: bool
) -> dict[str, Any]:
    cut = data.find(SEAL)
    if cut < 0:
        fields: dict[str, Any] = _to_builtins(data)
        return fields if personal else hidden(topic, fields, {})
    fields = _to_builtins(data[:cut])
    subject = data[cut + 1 : cut + 17]
    cipher = ciphers.get(subject)
    private: dict[str, Any] | None = None
    if cipher is not None:
        private = _to_builtins(unsealed(cipher, data, cut, place))
        assert private is not None
        if not origin:
            private.pop(ORIGIN, None)
    if not personal:
        return hidden(topic, fields, private)
    if private is None:
        private = dict.fromkeys(placeholders(topic), ERASED if subject in ciphers else HIDDEN)
    return fields | private
