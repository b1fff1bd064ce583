"""How projections are, whichever database has their rows: the statuses that everybody is shown.

A store of its own has checkpoints but no events, so head and age come from the event store. While
such a store does not answer, its projections are ``stopped``, as far as they were when last heard
of, and everything behind that is their gap: nothing is taken for up to date because it is silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import psycopg

from adapters.postgres.pipeline import Pipeline, PipelineLost, Statement
from projections.engine.telemetry import (
    AGES,
    CHECKPOINTS,
    STATUSES,
    ProjectionStatus,
    filled_in,
    statuses_of,
)

PATIENCE = 2.0
"""Seconds that a store of its own has for an answer."""

_STATUSES = Statement("statuses", STATUSES, ())
_CHECKPOINTS = Statement("statuses_elsewhere", CHECKPOINTS, ())
_AGES = Statement("statuses_ages", AGES, ("int8[]",))


class Elsewhere(msgspec.Struct, frozen=True):
    """A store of its own, and the projections whose rows it has, by name and version."""

    pipeline: Pipeline
    versions: Mapping[str, int]


class Statuses:
    """Reads them; ``pipeline`` is the event store's, which has every other projection's."""

    def __init__(self, pipeline: Pipeline, elsewhere: Sequence[Elsewhere] = ()) -> None:
        self._pipeline = pipeline
        self._elsewhere = elsewhere
        self._heard: dict[str, ProjectionStatus] = {}

    async def all(self) -> list[ProjectionStatus]:
        """Every projection that ever ran, by name; none that has moved to another store twice."""
        own, *others = await asyncio.gather(
            self._pipeline.run((_STATUSES, ())), *map(self._of, self._elsewhere)
        )
        moved = {name for store in self._elsewhere for name in store.versions}
        found = [each for each in statuses_of(own[0]) if each.name not in moved]
        for statuses in others:
            found += statuses
        return sorted(found, key=lambda each: each.name)

    async def _of(self, store: Elsewhere) -> list[ProjectionStatus]:
        try:
            async with asyncio.timeout(PATIENCE):
                [rows] = await store.pipeline.run((_CHECKPOINTS, ()), within=PATIENCE / 2)
        except (psycopg.Error, PipelineLost, TimeoutError):
            return await self._silent(store.versions)
        rows = [row for row in rows if row[0] in store.versions]
        [ages] = await self._pipeline.run((_AGES, ([row[4] for row in rows],)))
        found = statuses_of(filled_in(rows, ages))
        self._heard.update((each.name, each) for each in found)
        return found

    async def _silent(self, versions: Mapping[str, int]) -> list[ProjectionStatus]:
        """What can be said of projections whose store does not answer."""
        known = {
            name: self._heard.get(name) or never_begun(name, version, 0)
            for name, version in versions.items()
        }
        positions = [each.position for each in known.values()]
        [ages] = await self._pipeline.run((_AGES, (positions,)))
        age_at = {position: age for _, position, age in ages}
        head = max((row[0] for row in ages), default=0)
        return [
            msgspec.structs.replace(
                each,
                status="stopped",
                head=head,
                gap_events=max(head - each.position, 1),
                gap_seconds=round(max(0.0, age_at.get(each.position, 0.0)), 3),
                events_per_second=0.0,
                error="its database does not answer",
            )
            for each in known.values()
        ]


def never_begun(name: str, version: int, head: int) -> ProjectionStatus:
    """A projection that no projector has met yet."""
    return ProjectionStatus(
        name=name,
        version=version,
        status="stopped",
        generation=1,
        position=0,
        head=head,
        gap_events=head,
        gap_seconds=0.0,
        events_per_second=0.0,
        partitions=(),
        quarantined_streams=0,
        blocked_by=None,
        rebuild=None,
        error=None,
    )
