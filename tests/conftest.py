"""Fixtures that every test folder shares: real servers, and a fresh database for each module."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import redis
from joserfc.jwk import RSAKey

from bootstrap.settings import Settings, load
from tests.support.outside import opensearch_node
from tests.support.servers import Database, Servers, running

_REDIS_DATABASES = 16


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--long``, which ``make test-faults`` gives."""
    parser.addoption(
        "--long", action="store_true", help="kill and starve as often as a release asks for"
    )


LANES = ("killing", "serving", "starting", "storing")
"""Those that last begin first: systems that are treated badly, the one that tests share, how
systems begin and end, and stores. What else there is fills up, module by module."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Part the tests between the processes of a parallel run: a module's stay together."""
    lanes = {item.path: _lane(item) for item in items}
    for item in items:
        if item.path.parent.name == "e2e" and (
            "rough" in getattr(item, "fixturenames", ()) or item.get_closest_marker("faults")
        ):
            lanes[item.path] = "killing"
    for item in items:
        item.add_marker(pytest.mark.xdist_group(lanes[item.path]))
    first = {lane: number for number, lane in enumerate(LANES)}
    items.sort(key=lambda item: first.get(lanes[item.path], len(LANES)))


def _lane(item: pytest.Item) -> str:
    path = item.path.relative_to(item.config.rootpath).as_posix()
    if path.startswith(("tests/e2e/", "tests/bootstrap/")):
        return "serving" if path.startswith("tests/e2e/") else "starting"
    return "storing" if path.startswith(("tests/adapters/search/", "tests/faults/")) else path


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """``@pytest.mark.anyio`` runs on asyncio alone, as the product does."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Valkey, started when the first test asks."""
    with running() as found:
        yield found


@pytest.fixture(scope="session")
def opensearch() -> Iterator[str]:
    """The address of a real OpenSearch, started when the first test asks."""
    with opensearch_node() as (node, _):
        yield node.url


@pytest.fixture(scope="module")
def database(servers: Servers) -> Iterator[Database]:
    """A migrated database for this module alone."""
    made = servers.fresh_database()
    yield made
    servers.drop_database(made.name)


_next_redis = iter(range(1 << 30))


@pytest.fixture(scope="module")
def redis_url(servers: Servers) -> str:
    """An empty Valkey database for this module; channels are shared with the others."""
    url = f"{servers.valkey.url[:-1]}{next(_next_redis) % _REDIS_DATABASES}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="module")
def settings(
    database: Database, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Settings that point at this module's database and Valkey, with a home of their own."""
    return load(
        {},
        home=tmp_path_factory.mktemp("home"),
        write_dsn=database.write_dsn,
        read_dsn=database.read_dsn,
        owner_dsn=database.owner_dsn,
        redis_url=redis_url,
        demo=False,
    )


@pytest.fixture
def empty_database(database: Database) -> Database:
    """This module's database without a single event."""
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE events, snapshots, claims, idempotency, subject_keys")
        connection.execute("DELETE FROM projection_checkpoints")
        connection.execute("TRUNCATE reactions, reaction_effects")
        connection.execute("TRUNCATE projection_quarantine, projection_generations CASCADE")
    return database


@pytest.fixture(scope="session")
def signing_key() -> bytes:
    """A signing key in PEM, made once: that takes a while."""
    return RSAKey.generate_key(2048).as_pem(private=True)
