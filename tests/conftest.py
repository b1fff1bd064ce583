"""Fixtures that every test folder shares: real servers, and a fresh database for each module."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from joserfc.jwk import RSAKey
from xdist.scheduler import LoadScopeScheduling

from bootstrap.settings import Settings, load
from tests.support.outside import opensearch_node
from tests.support.servers import Database, Servers, running

_REDIS_DATABASES = 16
ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--long``, which ``make test-faults`` gives."""
    parser.addoption(
        "--long", action="store_true", help="kill and starve as often as a release asks for"
    )


@pytest.fixture(scope="session")
def slack(request: pytest.FixtureRequest) -> float:
    """How many times as long as a bar allows: what shares a machine with other tests waits."""
    return 1.0 if request.config.getoption("--long") else 5.0


LANES = ("operating", "killing", "serving", "starting", "storing")
"""Those that last begin first: what operators do, systems that are treated badly, what people do,
how systems begin and end, and stores. Whatever is in one lane shares its servers. What else there
is fills up, module by module, those with a system of their own first."""


SIGNS = {
    "killing": re.compile(r"\brough\b"),
    "alone": re.compile(r"def (system|impatient|gateway)\("),
    "operating": re.compile(r"\bup\.cli\(|\bOPERATOR\b"),
}
"""What tells the lane of a module of tests over HTTP, in its text; the rest serves."""


class Lanes(LoadScopeScheduling):
    """Parts the tests between the processes of a parallel run: a lane's stay together."""

    def _split_scope(self, nodeid: str) -> str:
        return lane_of(nodeid.partition("::")[0])


@functools.cache
def lane_of(path: str) -> str:
    """The lane of a module, from its path below the root."""
    if path.startswith("tests/e2e/"):
        text = (ROOT / path).read_text(encoding="utf-8")
        lane = next((lane for lane, sign in SIGNS.items() if sign.search(text)), "serving")
        return path if lane == "alone" else lane
    if path.startswith("tests/bootstrap/"):
        return "starting"
    return "storing" if path.startswith(("tests/adapters/search/", "tests/faults/")) else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """Have ``make test`` use the lanes."""
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the lanes that last longest."""
    items.sort(key=lambda item: _rank(item.nodeid.partition("::")[0]))


def _rank(path: str) -> int:
    lane = lane_of(path)
    if lane in LANES:
        return LANES.index(lane)
    return len(LANES) + (not path.startswith("tests/e2e/"))


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
