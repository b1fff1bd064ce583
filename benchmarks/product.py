"""The product's own processes under a benchmark, and the peer's: their servers, people and tokens.

Each API is one process with one worker, reached without the gateway, as the peer is. The projector
runs beside them, so that what a POST leaves to it is paid for within the measurement.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from joserfc.jwk import RSAKey

from benchmarks import material
from benchmarks.peers import crud
from benchmarks.servers import Bench, Database, Unready, wait_until
from bootstrap import children
from bootstrap.embedded import free_port
from bootstrap.settings import Settings, child_environment

USERS = 8
ENTRIES = "/v1/journal/entries"


class Answer(msgspec.Struct, frozen=True):
    """One answer to a request outside the measurement."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Site(msgspec.Struct, frozen=True):
    """Somewhere that serves the journal, with people who are let in."""

    database: Database
    write_port: int
    read_port: int
    users: tuple[UUID, ...]
    tokens: tuple[str, ...]


def ask(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request; ``body`` goes as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    content = None
    if body is not None:
        content = msgspec.json.encode(body)
        sent["Content-Type"] = "application/json"
    try:
        connection.request(method, path, content, sent)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def expect(answer: Answer, status: int) -> Answer:
    """The answer, if it has that status.

    Raises:
        Unready: it has another.
    """
    if answer.status != status:
        raise Unready(f"expected {status}, got {answer.status}: {answer.body[:500]!r}")
    return answer


@contextmanager
def role(bench: Bench, name: str, settings: Settings) -> Iterator[None]:
    """Run one role in a process of its own.

    Raises:
        Unready: what was done meanwhile failed for want of it; with the last lines of its log.
    """
    argv = [sys.executable, "-m", "bootstrap.cli", "run", name]
    with bench.process(name, argv, env=child_environment(settings)):
        try:
            yield
        except Unready as error:
            log = children.tail(bench.places.log / f"{name}.log")
            raise Unready(f"{error}\n--- {name}:\n{log}") from error


@contextmanager
def ours(bench: Bench, database: Database, **more: Any) -> Iterator[Site]:
    """Run the write API, the read API and the projector; register people. ``more`` are settings."""
    write_port, read_port = free_port(), free_port()
    settings = bench.settings(
        database,
        write_api_address=f"127.0.0.1:{write_port}",
        read_api_address=f"127.0.0.1:{read_port}",
        **more,
    )
    with ExitStack() as stack:
        for name in ("write-api", "read-api", "projector"):
            stack.enter_context(role(bench, name, settings))
        for port in (write_port, read_port):
            wait_until(partial(ready, port), what="the API is ready", seconds=20)
        wait_until(partial(projecting, database), what="the projector is at work", seconds=20)
        people = [register(write_port, number) for number in range(USERS)]
        users, tokens = zip(*people, strict=True)
        yield Site(database, write_port, read_port, users, tokens)


@contextmanager
def theirs(bench: Bench, database: Database) -> Iterator[Site]:
    """Run the CRUD application with as many people."""
    key = RSAKey.generate_key(2048)
    public = bench.places.home / "crud.pem"
    public.write_bytes(key.as_pem(private=False))
    dsn = database.owner.replace("postgresql://", "postgresql+asyncpg://", 1)

    def argv(port: int) -> Sequence[str]:
        module = "benchmarks.peers.crud"
        options = ["--dsn", dsn, "--key", str(public), "--port", str(port)]
        return [sys.executable, "-m", module, *options]

    with bench.http("crud", argv, path="/health") as port:
        users = tuple(material.people(USERS))
        tokens = tuple(crud.token(key, user) for user in users)
        yield Site(database, port, port, users, tokens)


@contextmanager
def bare(bench: Bench) -> Iterator[int]:
    """Run the handler that does nothing; its port."""

    def argv(port: int) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks.peers.bare", "--port", str(port)]

    with bench.http("bare", argv, path="/bare") as port:
        yield port


def count(database: Database, table: str) -> int:
    """How many rows a table has."""
    with psycopg.connect(database.owner) as connection:
        [rows] = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
    return int(rows)


def projecting(database: Database) -> bool:
    """Whether a projector works on every projection: until it has started, all of them lag."""
    with psycopg.connect(database.owner) as connection:
        row = connection.execute(
            "SELECT count(*) > 0 AND bool_and(owner IS NOT NULL) FROM projection_checkpoints"
        ).fetchone()
    return row is not None and bool(row[0])


def projected(database: Database) -> bool:
    """Whether every projection has reached the head of the store."""
    with psycopg.connect(database.owner) as connection:
        row = connection.execute(
            "SELECT min(position) = (SELECT coalesce(max(position), 0) FROM events)"
            " FROM projection_checkpoints"
        ).fetchone()
    return row is not None and bool(row[0])


def template() -> str:
    """The body of a POST, its date left open."""
    fields = {**material.fields(0), "date": "{date}"}
    return msgspec.json.encode(fields).decode()


def ready(port: int) -> bool:
    """Whether an API answers there."""
    try:
        return ask(port, "GET", "/health/live").status == 200
    except OSError:
        return False


def register(port: int, number: int) -> tuple[UUID, str]:
    """Somebody new, ``reader-<number>@example.org``: their id and an access token."""
    email, password = f"reader-{number}@example.org", "a river runs by the old mill 7"
    consent = {
        "terms_version": "1",
        "privacy_policy_version": "1",
        "data_processing": True,
        "marketing": False,
    }
    body = {"email": email, "password": password, "display_name": "Reader", "consent": consent}
    person = expect(ask(port, "POST", "/v1/auth/register", body), 201)
    login = {"email": email, "password": password}
    answer = expect(ask(port, "POST", "/v1/auth/login", login), 200)
    user_id = UUID(msgspec.json.decode(person.body)["data"]["id"])
    return user_id, msgspec.json.decode(answer.body)["data"]["access_token"]
