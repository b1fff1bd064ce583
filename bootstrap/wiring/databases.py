"""Where the servers are: addresses out of settings, roles, and how long Redis is waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import redis.asyncio as redis
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.postgres.freshness import ProjectionWatch
from adapters.postgres.pipeline import Pipeline, PipelineLost, Statement
from adapters.postgres.standby import Primary
from adapters.postgres.watches import Other, Watches
from adapters.statuses import Elsewhere
from bootstrap.settings import Settings
from bootstrap.views import VIEWS

WRITE, READ, PROJECT = "mindstream_write", "mindstream_read", "mindstream_project"
CACHE_PATIENCE = 1.0
"""Seconds that Redis has for an answer before a request goes on without it."""
HASTE = 0.05
"""Seconds that it has where the answer would only save a query."""


def write_dsn_of(settings: Settings) -> str:
    """The database that is written to; events lie there."""
    assert settings.write_dsn is not None, "settings are connected before a role is composed"
    return settings.write_dsn


def read_dsn_of(settings: Settings) -> str:
    """The database that is read from; often the same one."""
    return settings.read_dsn or write_dsn_of(settings)


def watch_of(settings: Settings, pipeline: Pipeline | None = None) -> ProjectionWatch:
    """How far projections are where they are read, which may be a standby."""
    primary = Primary(write_dsn_of(settings), WRITE)
    return ProjectionWatch(read_dsn_of(settings), role=READ, pipeline=pipeline, primary=primary)


def hasty_cache_of(settings: Settings) -> redis.Redis:
    """A client that gives up before anybody notices."""
    return cache_of(settings, HASTE)


def series_dsn_of(settings: Settings) -> str | None:
    """The database of time series, where it is one of its own."""
    return settings.timeseries_dsn


def series_versions() -> dict[str, int]:
    """The projections whose rows it has, with their versions."""
    return {view.name: view.version for view in VIEWS if view.store == "timeseries"}


class SeriesStore:
    """The database of time series as an API or a job asks it: one of its own, or none besides.

    ``reads`` is where series are read; ``elsewhere`` what others must know of it.
    """

    def __init__(self, settings: Settings) -> None:
        dsn = series_dsn_of(settings)
        self.dsn = dsn
        self.reads = Pipeline(dsn or read_dsn_of(settings), role=READ)
        # Operators' look-ups must hold up no reader; and they change what is in quarantine.
        self.care = None if dsn is None else Pipeline(dsn, role=PROJECT)
        self.elsewhere = () if self.care is None else (Elsewhere(self.care, series_versions()),)

    @property
    def probes(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """What a health check asks."""
        ping = Statement("series_ping", "SELECT 1", ())
        return {} if self.dsn is None else {"timeseries": lambda: self.reads.run((ping, ()))}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connected as long as the context lasts; one of its own may be away."""
        pipelines = [self.reads] if self.care is None else [self.reads, self.care]
        try:
            for pipeline in pipelines:
                try:
                    await pipeline.open(within=10.0 if self.dsn is None else 1.0)
                except PipelineLost:
                    if self.dsn is None:
                        raise
            yield
        finally:
            for pipeline in pipelines:
                await pipeline.close()

    def watching(self, main: ProjectionWatch, events: Pipeline | None) -> ProjectionWatch | Watches:
        """``main`` together with the watch of this one; ``events`` asks about events."""
        if self.dsn is None:
            return main
        watch = ProjectionWatch(self.dsn, role=READ, pipeline=events, quarantine=self.care)
        return Watches(main, (Other(watch, series_versions()),))


def cache_of(settings: Settings, patience: float = CACHE_PATIENCE) -> redis.Redis:
    """A client of Redis that gives up soon."""
    assert settings.redis_url is not None, "settings are connected before a role is composed"
    return redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=patience,
        socket_connect_timeout=patience,
        # Once more and at once: a server that came back leaves dead connections in the pool.
        retry=Retry(NoBackoff(), 1),
    )


def same_database(one: str, other: str) -> bool:
    """Whether two DSNs name one database."""
    ours, theirs = conninfo_to_dict(one), conninfo_to_dict(other)
    return all(ours.get(part) == theirs.get(part) for part in ("host", "port", "dbname"))
