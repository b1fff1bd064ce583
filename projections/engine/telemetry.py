"""What each projection says of itself: how far it is, how fast, and whether anybody works on it.

Owns the judgement. A projection with events to fold that has not moved for ten seconds is stalled,
whatever it says; one that nobody has is stopped, and never reported as up to date because it is
silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
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


_STATUSES = """
SELECT c.name, c.partition, c.version, c.generation, c.position, c.status, c.owner, c.error,
       c.batch_seconds, c.events_per_second, c.rebuild, c.advanced_at, c.heartbeat_at,
       extract(epoch FROM clock_timestamp() - c.heartbeat_at)::float8,
       extract(epoch FROM clock_timestamp() - c.advanced_at)::float8,
       {head},
       {age},
       c.paused,
       (SELECT count(DISTINCT q.stream_id) FROM projection_quarantine q
        WHERE q.projection = c.name AND NOT q.settled)
FROM projection_checkpoints c ORDER BY c.name, c.partition
"""
HEAD = "coalesce((SELECT max(position) FROM events), 0)"
AGE = """coalesce((SELECT extract(epoch FROM clock_timestamp() - e.recorded_at)::float8
                 FROM events e WHERE e.position = {position} + 1), 0)"""
STATUSES = _STATUSES.format(head=HEAD, age=AGE.format(position="c.position"))
"""All checkpoints, with the head and the age of the first event that each has not folded."""
CHECKPOINTS = _STATUSES.format(head="0::bigint", age="0::float8")
"""The same of a database that has no events: head and age are to be filled in."""
AGES = f"SELECT {HEAD}, p, {AGE.format(position='p')} FROM unnest($1) AS p"
"""What is to be filled in, for the positions of such checkpoints."""


def filled_in(rows: Sequence[Sequence[Any]], ages: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """The rows of ``CHECKPOINTS`` with what ``AGES`` said of their positions."""
    head = ages[0][0] if ages else 0
    age_at = {position: age for _, position, age in ages}
    return [(*row[:15], head, age_at.get(row[4], 0.0), *row[17:]) for row in rows]


class _Row(msgspec.Struct, frozen=True):
    """A row of ``STATUSES``; ``age`` is that of the first event not included, in seconds."""

    checkpoint: Checkpoint
    head: int
    age: float
    paused: bool
    quarantined: int

    @property
    def gap(self) -> int:
        return self.head - self.checkpoint.position

    @property
    def status(self) -> Status:
        return "paused" if self.paused else _judge(self.checkpoint, self.gap, self.age)


def statuses_of(rows: Iterable[Sequence[Any]]) -> list[ProjectionStatus]:
    """The statuses of all projections, by name, of the rows of ``STATUSES``."""
    read = [_row(row) for row in rows]
    grouped = groupby(read, key=lambda row: row.checkpoint.name)
    return [_status_of(list(partitions)) for _, partitions in grouped]


def _row(row: Sequence[Any]) -> _Row:
    checkpoint = Checkpoint(*row[:15])
    head = max(row[15], checkpoint.position)
    return _Row(checkpoint, head, max(0.0, row[16]), row[17], row[18])


def _status_of(rows: Sequence[_Row]) -> ProjectionStatus:
    """A projection is as far as its hindmost partition, and as badly off as its worst."""
    found = [row.checkpoint for row in rows]
    head = max(row.head for row in rows)
    position = min(each.position for each in found)
    rebuild = found[0].rebuild
    status = min((row.status for row in rows), key=_WORST_FIRST.index)
    if rebuild is not None and status in ("catching_up", "live"):
        status = "rebuilding"
    # What is held by one process is folded in one batch, whose rate stands with each partition.
    rates = {each.owner: each.events_per_second for each in found}
    return ProjectionStatus(
        name=found[0].name,
        version=found[0].version,
        status=status,
        generation=found[0].generation,
        position=position,
        head=head,
        gap_events=head - position,
        gap_seconds=round(max((row.age for row in rows if row.gap), default=0.0), 3),
        events_per_second=round(sum(rates.values()), 1),
        partitions=tuple(
            Partition(
                row.checkpoint.partition, row.checkpoint.position, row.checkpoint.owner, row.status
            )
            for row in rows
        ),
        quarantined_streams=rows[0].quarantined,
        blocked_by=None,
        rebuild=rebuild,
        error=next((each.error for each in found if each.error), None),
    )


_WORST_FIRST: list[Status] = ["paused", "stalled", "stopped", "catching_up", "live"]


def _judge(checkpoint: Checkpoint, gap: int, age: float) -> Status:
    if checkpoint.status == "stopped":
        return "stopped"
    waited = min(checkpoint.idle_seconds, age)
    if gap and (checkpoint.error is not None or waited > STALLED_AFTER):
        return "stalled"
    if checkpoint.owner is None or checkpoint.silent_seconds > STALLED_AFTER:
        return "stopped"
    return "catching_up" if gap > 0 and checkpoint.status != "live" else "live"
