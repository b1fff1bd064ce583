"""Who registered before tenants had streams: ``commands.homes.Homeless``."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from adapters.postgres.pipeline import Pipeline, Statement
from commands.homes import Unhoused
from domain.accounts.events import PersonRegistered, SubjectErased, TenantCreated
from domain.accounts.person import Person
from domain.accounts.tenant import Tenant

AT_ONCE = 1_000

# The first tenant there ever was bounds the search: at a later start it looks at hardly anything.
UNHOUSED = Statement(
    "accounts_unhoused",
    f"""
    SELECT e.stream_id, e.tenant_id FROM events e
    WHERE e.topic = '{PersonRegistered.TOPIC}' AND e.position < coalesce(
        (SELECT min(position) FROM events WHERE topic = '{TenantCreated.TOPIC}'), {(1 << 63) - 1})
      AND NOT EXISTS (SELECT FROM events t
                      WHERE t.stream_id = '{Tenant.CATEGORY}-' || e.tenant_id)
      AND NOT EXISTS (SELECT FROM events x
                      WHERE x.stream_id = e.stream_id AND x.topic = '{SubjectErased.TOPIC}')
    ORDER BY e.position LIMIT {AT_ONCE}
    """,
    (),
)


class PostgresHomeless:
    """``pipeline`` connects as ``mindstream_write``."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def some(self) -> Sequence[Unhoused]:
        """Some of those whose tenant has no stream; none when all have one."""
        [rows] = await self._pipeline.run((UNHOUSED, ()))
        return [
            Unhoused(UUID(stream_id.removeprefix(f"{Person.CATEGORY}-")), tenant_id)
            for stream_id, tenant_id in rows
        ]
