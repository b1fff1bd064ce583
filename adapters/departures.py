"""Who has left, found in the events themselves: ``commands.departure.Departures``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from adapters.postgres.pipeline import Pipeline, Statement
from commands.departure import Departed
from domain.accounts.events import PersonDeleted, PersonRestored, SubjectErased
from domain.accounts.person import Person

AT_ONCE = 1_000
ERASED = SubjectErased.TOPIC
"""The topic of the event after which nothing of a person is left to be erased."""

BEFORE = Statement(
    "accounts_departures",
    f"""
    SELECT e.stream_id, e.tenant_id, e.position FROM events e
    WHERE e.topic = '{PersonDeleted.TOPIC}' AND e.recorded_at < $1 AND NOT EXISTS (
        SELECT FROM events later
        WHERE later.stream_id = e.stream_id AND later.stream_version > e.stream_version
          AND later.topic IN ('{PersonRestored.TOPIC}', '{ERASED}'))
    ORDER BY e.position LIMIT {AT_ONCE}
    """,
    ("timestamptz",),
)


class PostgresDepartures:
    """``pipeline`` connects as ``mindstream_write``."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def before(self, moment: datetime) -> Sequence[Departed]:
        """Those who left before that moment, did not come back and are not erased yet."""
        [rows] = await self._pipeline.run((BEFORE, (moment,)))
        return [
            Departed(UUID(stream_id.removeprefix(f"{Person.CATEGORY}-")), tenant_id, position)
            for stream_id, tenant_id, position in rows
        ]
