"""Reactions as those see them who keep their ledger and those who look at it.

Owns the shapes. What a reaction is and how it is kept going is ``workers/reactions.py``'s.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

Status = Literal["live", "catching_up", "paused", "stalled", "stopped"]


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: ids and names only. ``subject_id`` is whom it was about, for erasure."""

    did: str
    id: str
    subject_id: UUID | None = None


class Standing(msgspec.Struct, frozen=True):
    """How a reaction stands in the ledger; ``open_items`` of its events are in quarantine."""

    position: int
    paused: bool
    open_items: int


class ReactionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A reaction and how far it is, as a projection is.

    ``began_at`` is the position after which it reacts; ``owner`` is host and process.
    """

    name: str
    status: Status
    position: int
    head: int
    gap_events: int
    gap_seconds: float
    began_at: int
    owner: str | None
    quarantined_streams: int
    error: str | None
