"""What command handlers need of the world: an event store that loads and appends.

Owns the shape of a commit and the ways in which it can fail. The tree of failures::

    CommitError
    ├── VersionConflict       a stream has moved on since it was loaded
    ├── ClaimTaken            a unique name or day belongs to another stream
    ├── Replayed              this idempotency key has its answer already
    ├── KeyReused             this idempotency key was used for another request
    └── SubjectErased         it is about somebody who was erased

``adapters/event_store/`` implements the port on PostgreSQL, ``tests/support/`` in memory; one
contract suite runs on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol, Self, TypeVar
from uuid import UUID

import msgspec

from domain.event import Event, Recorded


class Response(msgspec.Struct, frozen=True):
    """An answer as it is kept for retries: ``headers`` without those made afresh each time."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Idempotency(msgspec.Struct, frozen=True):
    """A client's key, and how to make the answer that is stored with the events.

    ``request_hash`` is SHA-256 over method, path and body. ``render`` turns a handler's result
    into the answer; it runs before the append, so that both commit together.
    """

    principal: str
    key: str
    request_hash: bytes
    render: Callable[[Any], Response]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Who commands, when, and in answer to what. ``now`` is aware and in UTC.

    ``address`` and ``agent`` say from where; they are kept with the events, sealed for that person.
    """

    user_id: UUID
    tenant_id: UUID
    actor: str
    now: datetime
    correlation_id: str
    causation_id: UUID | None = None
    trace_id: str | None = None
    address: str | None = None
    agent: str | None = None
    idempotency: Idempotency | None = None


class Append(msgspec.Struct, frozen=True):
    """Events for one stream whose last version is ``expected_version`` (0: it does not exist)."""

    stream_id: str
    expected_version: int
    events: tuple[Event, ...]


class Claim(msgspec.Struct, frozen=True):
    """A unique name, such as a person's day, that passes from one stream to another.

    ``expected`` is the holder now (None: nobody), ``holder`` the one afterwards (None: freed).
    """

    kind: str
    key: str
    expected: str | None
    holder: str | None


class Committed(msgspec.Struct, frozen=True):
    """``position`` of the last event appended; of the store's head where there was none."""

    position: int


class CommitError(Exception):
    """A commit that did not happen, whole."""


class VersionConflict(CommitError):
    """Another commit was first on this stream."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"{stream_id} has moved on")
        self.stream_id = stream_id


class ClaimTaken(CommitError):
    """The claim's holder is not the expected one; ``holder`` is None where it is free."""

    def __init__(self, kind: str, key: str, holder: str | None) -> None:
        super().__init__(f"claim {kind} is held by {holder}")  # the key may be personal
        self.kind = kind
        self.key = key
        self.holder = holder


class Replayed(CommitError):
    """The key's first answer, with the position that its write had."""

    def __init__(self, response: Response, position: int) -> None:
        super().__init__("answered before")
        self.response = response
        self.position = position


class KeyReused(CommitError):
    """The key was used for another request."""


class SubjectErased(CommitError):
    """An event is about somebody who was erased: nothing can be kept of them any more."""


class Aggregate(Protocol):
    """State folded from one stream. ``SNAPSHOT`` names its form; change it with the form."""

    CATEGORY: ClassVar[str]
    SNAPSHOT: ClassVar[str]

    @property
    def version(self) -> int:
        """Version of the stream's last event."""
        ...

    @classmethod
    def evolve(cls, state: Self | None, recorded: Recorded) -> Self:
        """The state after one more event; pure."""
        ...


A = TypeVar("A", bound=Aggregate)


class EventStore(Protocol):
    """One total order of events."""

    async def load(self, aggregate: type[A], stream_id: str) -> A | None:
        """Fold the stream, or None where it does not exist."""
        ...

    async def load_many(self, aggregate: type[A], stream_ids: Iterable[str]) -> dict[str, A]:
        """Fold several streams in one round trip; those that do not exist are left out."""
        ...

    async def read(self, stream_id: str, *, after: int = 0) -> Sequence[Recorded]:
        """The stream's events after that version, in order, with metadata."""
        ...

    async def holders(self, kind: str, keys: Iterable[str]) -> dict[str, str]:
        """Who holds which of these claims; free ones are left out."""
        ...

    async def append(
        self,
        context: Context,
        *appends: Append,
        claims: Sequence[Claim] = (),
        result: Any = None,
    ) -> Committed:
        """Append all events, claims and the idempotency record together, or nothing.

        ``result`` is what ``context.idempotency.render`` is given. Durable when it returns.

        Raises:
            CommitError: one of its kinds; nothing was written.
        """
        ...

    async def answered(self, principal: str, key: str, request_hash: bytes) -> None:
        """Return if this key is new.

        Raises:
            Replayed: it has an answer.
            KeyReused: it belongs to another request.
        """
        ...

    async def remember(
        self, context: Context, idempotency: Idempotency, response: Response
    ) -> None:
        """Keep an answer that came without events (a refusal, say).

        Raises:
            Replayed: another answer was first.
            KeyReused: it belongs to another request.
        """
        ...
