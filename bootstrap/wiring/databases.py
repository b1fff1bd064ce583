"""Where the servers are: addresses out of settings, roles, and how long Redis is waited for."""

from __future__ import annotations

import redis.asyncio as redis
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bootstrap.settings import Settings

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


def hasty_cache_of(settings: Settings) -> redis.Redis:
    """A client that gives up before anybody notices."""
    return cache_of(settings, HASTE)


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
