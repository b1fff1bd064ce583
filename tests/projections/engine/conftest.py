"""Fixtures of the engine's own tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from projections.engine.runner import Runner
from tests.support import forms
from tests.support.diary_of_notes import Diary
from tests.support.diary_view import DDL
from tests.support.forms import FormDatabase
from tests.support.servers import Database


@pytest.fixture
def diary(empty_database: Database) -> Iterator[Diary]:
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS engine_notes")
        connection.execute(DDL)
    made = Diary(empty_database)
    yield made
    for one in made.opened:
        one.close()
    made.pool.close()


@pytest.fixture
def background(diary: Diary) -> Iterator[Callable[[Runner], threading.Event]]:
    running: list[tuple[threading.Thread, threading.Event]] = []

    def start(runner: Runner) -> threading.Event:
        stop = threading.Event()
        thread = threading.Thread(target=runner.run, args=(stop,))
        thread.start()
        running.append((thread, stop))
        return stop

    yield start
    for thread, stop in running:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def none_form(database: Database) -> Callable[[], FormDatabase]:
    """Time series without TimescaleDB."""
    return lambda: FormDatabase("none", database.owner_dsn)


@pytest.fixture(scope="session")
def apache_server() -> Iterator[FormDatabase]:
    with forms.apache() as found:
        yield found


@pytest.fixture(scope="session")
def community_server() -> Iterator[FormDatabase]:
    with forms.community() as found:
        yield found


@pytest.fixture
def apache_form(apache_server: FormDatabase) -> Callable[[], FormDatabase]:
    """Time series of TimescaleDB under the Apache licence."""
    return lambda: apache_server


@pytest.fixture
def community_form(community_server: FormDatabase) -> Callable[[], FormDatabase]:
    """Time series of TimescaleDB Community."""
    return lambda: community_server
