"""Long work: what was accepted, how far it is, how it ended.

Owns the shape and the states of an operation, for all contexts. It is no aggregate: an operation is
a record of work in the write database, and what the work did is in its events.
"""

from __future__ import annotations

import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

REBUILD, VERIFY, ROLLBACK = "projection.rebuild", "projection.verify", "projection.rollback"
PAUSE, RESUME = "projection.pause", "projection.resume"
RETRY, DISCARD = "quarantine.retry", "quarantine.discard"
PAUSE_REACTION, RESUME_REACTION = "reaction.pause", "reaction.resume"
"""Kinds of operations that operators ask for; permanent, as they lie in the table."""
CANCEL = "operation.cancel"
"""What the audit log says when an operator ends one of them; no kind of operation."""

ERASURE = "accounts.erasure"
"""The kind of operation by which everything about a person is erased; permanent, too."""

State = Literal["pending", "running", "succeeded", "failed", "cancelled"]
End = Literal["succeeded", "failed", "cancelled"]
Held = Literal["held", "paused", "cancelled", "lost"]
"""What a worker learns of its operation: still its own, to wait, not wanted, not its own."""


ANSWERS = frozenset(
    {
        "DIFFERENCES",
        "NOTHING_KEPT",
        "NOT_FOUND",
        "RANGE_NOT_SUPPORTED",
        "TOO_LATE",
        "TOO_MANY_REFUSED",
        "UNKNOWN_KEY",
        "UNKNOWN_PROJECTION",
    }
)
"""Codes of failures that answer whoever asked for the work, and need nobody else."""


class Failure(msgspec.Struct, frozen=True):
    """Why an operation failed: a stable code and one sentence."""

    code: str
    message: str


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation as its owner sees it.

    ``progress`` is 0 to 1, ``eta_seconds`` a guess (None: not known), ``detail`` one line for a
    person, ``result`` what its kind says. A cancelled one may have a result: of what was done.
    """

    id: UUID
    kind: str
    state: State
    progress: float
    eta_seconds: int | None
    detail: str | None
    result: Any
    error: Failure | None
    created_at: datetime.datetime
    finished_at: datetime.datetime | None

    def as_owned(self) -> Operation:
        """What the API shows of it, to whomever."""
        return self


class Targeted(Operation, frozen=True, kw_only=True):
    """An operation as operators see it.

    ``target`` is the projection, reaction, stream or item that it is about, as the audit log has
    it; None for what is about a person.
    """

    target: str | None

    def as_owned(self) -> Operation:
        """Without what only operators' pages and tables have."""
        return Operation(**{name: getattr(self, name) for name in Operation.__struct_fields__})


class NewOperation(msgspec.Struct, frozen=True, kw_only=True):
    """Work to be accepted.

    ``idempotency_key`` and ``request_hash`` are the client's, None where it sent none. ``params``
    is what its kind takes, as JSON can hold it; nothing that people wrote.
    """

    id: UUID
    kind: str
    user_id: UUID
    tenant_id: UUID
    correlation_id: str
    created_at: datetime.datetime
    input_bytes: int = 0
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    params: dict[str, Any] | None = None


def is_operators(kind: str) -> bool:
    """Whether operators ask for such operations, and each may end another's."""
    return kind.startswith(("projection.", "quarantine."))


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that a worker has.

    ``attempts`` counts how often it was begun since the last progress, this time included;
    ``again`` says that somebody has worked on it before.
    """

    id: UUID
    kind: str
    user_id: UUID
    tenant_id: UUID
    correlation_id: str
    input_bytes: int
    attempts: int
    again: bool
    cancel_requested: bool
    params: dict[str, Any] = {}
