"""Who writes where, told by the read models: ``workers.insight_schedule.Writers``.

Owns the SQL that looks at many people at once, which only the projector's role may. It reads no
more of an entry than its date and whether it is private.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from uuid import UUID

from adapters.postgres.pipeline import Pipeline, Statement
from domain.accounts.profile import PREFERENCES
from domain.journal.insight import InsightRequest
from domain.journal.reminders import Writer

_NOBODY = UUID(int=0)

ZONES = Statement("writers_zones", "SELECT DISTINCT timezone FROM accounts_people", ())
_WANTED = """
    SELECT p.user_id, p.tenant_id, p.created_at, p.document::jsonb AS person
    FROM accounts_people p WHERE p.timezone = $1 AND p.user_id > $2
"""
_CONDITION = """
    coalesce(person->'preferences'->>$3, $4) = 'true'
      AND coalesce(person->'notifications'->>'email', 'true') = 'true'
      AND person->>'deleted_at' IS NULL
"""
WHO_WROTE = Statement(
    "writers_who_wrote",
    f"""
    SELECT user_id, tenant_id, created_at::date FROM ({_WANTED}) AS wanted
    WHERE {_CONDITION} AND created_at < $7
      AND coalesce(person->>'private_mode', 'false') <> 'true'
      AND EXISTS (SELECT FROM journal_entries e
                  WHERE e.user_id = wanted.user_id AND e.date BETWEEN $5 AND $6
                    AND e.state = 'active' AND NOT e.is_private)
    ORDER BY user_id LIMIT $8
    """,
    ("text", "uuid", "text", "text", "date", "date", "timestamptz", "int8"),
)
WHO_IS_SILENT = Statement(
    "writers_who_is_silent",
    f"""
    SELECT user_id, tenant_id, last FROM ({_WANTED}) AS wanted
    CROSS JOIN LATERAL (
        SELECT coalesce(
            (SELECT max(d.date) FROM journal_days d
             WHERE d.user_id = wanted.user_id AND d.active),
            (wanted.created_at AT TIME ZONE $1)::date) AS last
    ) AS entry
    WHERE {_CONDITION} AND last BETWEEN $5 AND $6
    ORDER BY user_id LIMIT $7
    """,
    ("text", "uuid", "text", "text", "date", "date", "int8"),
)


class PostgresWriters:
    """``pipeline`` connects as ``mindstream_project`` to the read models."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def zones(self) -> Sequence[str]:
        """The time zones that people are in."""
        [rows] = await self._pipeline.run((ZONES, ()))
        return [row[0] for row in rows]

    async def who_wrote(
        self,
        zone: str,
        switch: str,
        asked: InsightRequest,
        before: datetime.datetime,
        after: UUID | None,
        limit: int,
    ) -> Sequence[Writer]:
        """Those with that preference who wrote something in that time that a machine may read."""
        dates = (asked.start_date, asked.end_date)
        values = (*_choice(zone, switch, after), *dates, before, limit)
        [rows] = await self._pipeline.run((WHO_WROTE, values))
        return [Writer(*row) for row in rows]

    async def who_is_silent(
        self,
        zone: str,
        switch: str,
        since: tuple[datetime.date, datetime.date],
        after: UUID | None,
        limit: int,
    ) -> Sequence[Writer]:
        """Those with that preference whose last entry is of a day between these two."""
        values = (*_choice(zone, switch, after), *since, limit)
        [rows] = await self._pipeline.run((WHO_IS_SILENT, values))
        return [Writer(*row) for row in rows]


def _choice(zone: str, switch: str, after: UUID | None) -> tuple[str, UUID, str, str]:
    default = "true" if PREFERENCES[switch] else "false"
    return zone, after or _NOBODY, switch, default
