"""What the databases and the broker tell of the whole system, as gauges that one process sets.

A process that died tells nothing more; who asks the database learns of it. So the gaps here, and
whether anybody works on a projection, are as operators are shown them, and go on when a projector
is gone. Owns the questions and the gauges. While a question cannot be asked its gauges are empty:
what is not known any more must not look as if it were still so.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import redis.asyncio as redis
from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from adapters import reactions
from adapters.postgres.pipeline import Pipeline, Statement
from adapters.statuses import Statuses
from domain.reaction import Status as ReactionState
from projections.engine.telemetry import Status

PATIENCE = 3.0
"""Seconds that everything together may take."""

_SERVER = Statement(
    "census_server",
    """
    SELECT (SELECT sum(numbackends) FROM pg_stat_database)::float8,
           (current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int)::float8,
           pg_database_size(current_database())::float8,
           (SELECT count(*) FROM projection_generations WHERE state = 'kept')::float8
    """,
    (),
)
_OPERATIONS = Statement(
    "census_operations",
    """
    SELECT kind, state, count(*)::float8,
           max(extract(epoch FROM now() - coalesce(started_at, created_at)))::float8
    FROM operations WHERE state IN ('pending', 'running') GROUP BY kind, state
    """,
    (),
)
_REACTIONS = Statement("census_reactions", reactions.STATUSES, ())
_AS_PROJECTOR = Statement(
    "census_role", "SELECT set_config('role', 'mindstream_project', true)", ()
)
_TIERS = Statement(
    "census_tiers",
    "SELECT document::json ->> 'tier', count(*)::float8 FROM accounts_people GROUP BY 1",
    (),
)


class _Gauges:
    """Made where a census is taken: elsewhere they would be 0, as if that had been counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, says: str, *labels: str) -> Gauge:
            return Gauge(name, says, labels, registry=registry)

        self.connections = gauge("database_connections_active", "Sessions at the database server")
        self.connections_max = gauge("database_connections_max", "That it allows applications")
        self.size = gauge("database_size_bytes", "Of the database of events")
        self.kept = gauge("mindstream_generations_kept", "Tables kept for a rollback")
        self.tiers = gauge("user_tier_distribution", "People by tier", "tier")
        self.queued = gauge("mindstream_queue_messages", "Taken by no worker yet", "queue")
        self.lag_events = gauge(
            "mindstream_projection_lag_events", "Not included, as the database tells", "projection"
        )
        self.lag_seconds = gauge(
            "mindstream_projection_lag_seconds", "Age of the oldest of them", "projection"
        )
        self.states = gauge(
            "mindstream_projection_state", "1 for the one it is in", "projection", "state"
        )
        self.reaction_states = gauge(
            "mindstream_reaction_state", "1 for the one it is in", "reaction", "state"
        )
        self.quarantine = gauge(
            "mindstream_quarantined_streams", "That wait, as the database tells", "projection"
        )
        self.operations = gauge("mindstream_operations", "Under way", "kind", "state")
        self.oldest = gauge(
            "mindstream_operations_oldest_seconds", "Age of the oldest under way", "kind", "state"
        )
        self.server = (self.connections, self.connections_max, self.size, self.kept)
        self._of_now = (
            self.lag_events,
            self.lag_seconds,
            self.states,
            self.reaction_states,
            self.quarantine,
            self.operations,
            self.oldest,
        )

    def forget(self) -> None:
        """Tell nothing of what is not known any more."""
        for each in self._of_now:
            each.clear()
        for one in self.server:
            one.set(math.nan)


class Census:
    """Sets the gauges.

    The pipeline's role is ``mindstream_write``; ``queues`` are lists of the broker, by their names.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        statuses: Statuses,
        broker: redis.Redis,
        queues: Mapping[str, str],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._told = _Gauges(registry)
        self._pipeline = pipeline
        self._statuses = statuses
        self._broker = broker
        self._queues = queues

    async def take(self) -> int:
        """Ask for all that changes from one moment to the next."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._ask()
        except BaseException:
            self._told.forget()
            raise
        await self._ask_broker()
        return 0

    async def count_people(self) -> int:
        """Count people by their tiers: all of them are looked at, so not often."""
        _, rows = await self._pipeline.run((_AS_PROJECTOR, ()), (_TIERS, ()))
        self._told.tiers.clear()
        for tier, count in rows:
            self._told.tiers.labels(tier or "none").set(count)
        return 0

    async def _ask(self) -> None:
        [server], under_way, reacting = await self._pipeline.run(
            (_SERVER, ()), (_OPERATIONS, ()), (_REACTIONS, ())
        )
        found = await self._statuses.all()
        told = self._told
        told.forget()
        for gauge, value in zip(told.server, server, strict=True):
            gauge.set(value)
        for each in found:
            told.lag_events.labels(each.name).set(each.gap_events)
            told.lag_seconds.labels(each.name).set(each.gap_seconds)
            told.quarantine.labels(each.name).set(each.quarantined_streams)
            _state(told.states, each.name, each.status, get_args(Status))
        for row in reacting:
            status = reactions.status_of(row)
            _state(told.reaction_states, status.name, status.status, get_args(ReactionState))
        for kind, state, count, age in under_way:
            told.operations.labels(kind, state).set(count)
            told.oldest.labels(kind, state).set(age)

    async def _ask_broker(self) -> None:
        for name, key in self._queues.items():
            try:
                length: Any = await self._broker.llen(key)
                self._told.queued.labels(name).set(length)
            except (redis.RedisError, OSError):
                self._told.queued.clear()


def _state(gauge: Gauge, name: str, state: str, every: Iterable[str]) -> None:
    for one in every:
        gauge.labels(name, one).set(one == state)
