"""The eventsourcing library's own recorder test cases, run from the installed package on ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

from adapters.event_store.recorder import (
    Pool,
    PostgresRecorder,
    PostgresSnapshotRecorder,
    open_pool,
)


class _OnPostgres:
    pool: Pool

    @pytest.fixture(autouse=True)
    def _connected(self, empty_database: Any) -> Iterator[None]:
        self.pool = open_pool(empty_database.write_dsn, role="mindstream_write")
        yield
        self.pool.close()

    def new_originator_id(self) -> str:
        return f"library.test-{uuid4()}"

    def create_recorder(self) -> PostgresRecorder:
        return PostgresRecorder(self.pool)


class TestApplicationRecorder(_OnPostgres, ApplicationRecorderTestCase[PostgresRecorder]):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleavingPositions(_OnPostgres, NonInterleavingNotificationIDsBaseCase):
    pass


class TestSnapshotRecorder(_OnPostgres, AggregateRecorderTestCase):
    def create_recorder(self) -> PostgresSnapshotRecorder:  # type: ignore[override]
        return PostgresSnapshotRecorder(self.pool)


# The base classes are abstract: pytest must not collect them from this module.
del AggregateRecorderTestCase, ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase
