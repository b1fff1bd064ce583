"""What each projection says of itself: how far it is, how fast, and whether anybody works on it.

Owns the judgement. A projection with events to fold that has not moved for ten seconds is stalled,
whatever it says; one that nobody has is stopped, and never reported as up to date because it is
silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from projections.engine.checkpoints import Checkpoint

STALLED_AFTER = 10.0
"""Seconds without progress, while events wait."""

Status = Literal["live", "catching_up", "rebuilding", "paused", "stalled", "stopped"]


class Partition(msgspec.Struct, frozen=True):
    """One part of a projection and who works on it; ``owner`` is host and process."""

    index: int
    position: int
    owner: str | None
    status: Status


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A projection as the API and the command line show it."""

    name: str
    version: int
    status: Status
    generation: int
    position: int
    head: int
    gap_events: int
    gap_seconds: float
    events_per_second: float
    partitions: tuple[Partition, ...]
    quarantined_streams: int
    blocked_by: list[dict[str, Any]] | None
    rebuild: dict[str, Any] | None
    error: str | None


STATUSES = """
SELECT c.name, c.version, c.generation, c.position, c.status, c.owner, c.error, c.batch_seconds,
       c.events_per_second, c.rebuild, c.advanced_at, c.heartbeat_at,
       extract(epoch FROM clock_timestamp() - c.heartbeat_at)::float8,
       extract(epoch FROM clock_timestamp() - c.advanced_at)::float8,
       coalesce((SELECT max(position) FROM events), 0),
       coalesce((SELECT extract(epoch FROM clock_timestamp() - e.recorded_at)::float8
                 FROM events e WHERE e.position = c.position + 1), 0),
       c.paused,
       (SELECT count(DISTINCT q.stream_id) FROM projection_quarantine q
        WHERE q.projection = c.name AND NOT q.settled)
FROM projection_checkpoints c WHERE c.partition = 0 ORDER BY c.name
"""
"""All checkpoints, with the head and the age of the first event that each has not folded."""


def status_of(row: Sequence[Any]) -> ProjectionStatus:
    """The status of one row of ``STATUSES``."""
    checkpoint = Checkpoint(*row[:14])
    head, age = max(row[14], checkpoint.position), max(0.0, row[15])
    gap = head - checkpoint.position
    status = "paused" if row[16] else _judge(checkpoint, gap, age)
    return ProjectionStatus(
        name=checkpoint.name,
        version=checkpoint.version,
        status=status,
        generation=checkpoint.generation,
        position=checkpoint.position,
        head=head,
        gap_events=gap,
        gap_seconds=round(age if gap else 0.0, 3),
        events_per_second=round(checkpoint.events_per_second, 1),
        partitions=(Partition(0, checkpoint.position, checkpoint.owner, status),),
        quarantined_streams=row[17],
        blocked_by=None,
        rebuild=checkpoint.rebuild,
        error=checkpoint.error,
    )


def _judge(checkpoint: Checkpoint, gap: int, age: float) -> Status:
    if checkpoint.status == "stopped":
        return "stopped"
    waited = min(checkpoint.idle_seconds, age)
    if gap and (checkpoint.error is not None or waited > STALLED_AFTER):
        return "stalled"
    if checkpoint.owner is None or checkpoint.silent_seconds > STALLED_AFTER:
        return "stopped"
    if checkpoint.rebuild is not None:
        return "rebuilding"
    return "catching_up" if gap > 0 and checkpoint.status != "live" else "live"
