"""What operators did that no other event tells.

A grant, a suspension or a flag is an event of its own context. A rebuild or a discard changes no
aggregate: it is told here, so that the audit log can be folded from events alone.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from domain.event import Event, Personal


class ActionTaken(Event, frozen=True, kw_only=True):
    """An operator asked for something to be done, and it was accepted.

    ``action`` is the kind of what was asked (``quarantine.discard``), ``target`` names what it was
    done to. ``user_id`` is the operator (all zeros: the command line, which knows no person).
    ``operation_id`` is the work that it began, if any.
    """

    TOPIC: ClassVar[str] = "ops.ActionTaken.v1"

    user_id: UUID
    action: str
    target: str
    operation_id: UUID | None = None
    reason: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    address: Personal | None = None
    agent: Personal | None = None
