"""Which logins a person has had; that a rebuild equals it, ``tests/e2e/test_rebuild.py`` shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from domain.accounts.events import LoggedIn
from domain.accounts.login import Login
from domain.event import Recorded
from projections.accounts.login_history import LOGIN_IDS, LoginHistory, LoginRow, login_ids
from projections.engine.writer import ViewWriter
from tests.support.servers import Database

ADA, EVE = uuid7(), uuid7()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def logged_in(user_id: UUID, login_id: UUID, hours: int) -> Recorded:
    return Recorded(
        position=hours,
        stream_id=Login.stream(login_id),
        stream_version=1,
        tenant_id=user_id,
        recorded_at=NOON + timedelta(hours=hours),
        event=LoggedIn(login_id=login_id, user_id=user_id, address="192.0.2.1", agent="curl"),
    )


def test_a_row_holds_ids_and_nothing_personal() -> None:
    view, login_id = LoginHistory(), uuid7()
    one = logged_in(ADA, login_id, 1)
    [key] = view.keys_of(one)
    row = view.fold(key, None, one)
    assert row == LoginRow(login_id, ADA, one.recorded_at)
    assert view.stream_of(key) == one.stream_id


@pytest.mark.anyio
async def test_ids_come_by_time_and_only_ones_own(database: Database) -> None:
    ids = [uuid7() for _ in range(4)]
    events = [
        logged_in(ADA, ids[0], 2),
        logged_in(EVE, ids[1], 1),
        logged_in(ADA, ids[2], 1),
        logged_in(ADA, ids[3], 3),
    ]
    with psycopg.connect(database.project_dsn) as connection:
        writer = ViewWriter(LoginHistory(), connection, "accounts_login_history")
        writer.apply(events)
    pipeline = Pipeline(database.read_dsn, role="mindstream_read")
    await pipeline.open()
    try:
        reader = PipelineReader([pipeline])
        assert await login_ids(reader, ADA) == b"".join(ids[n].bytes for n in (2, 0, 3))
        assert await login_ids(reader, uuid7()) == b""
        # Row-level security holds where a query's own filter would not.
        assert await reader.rows(LOGIN_IDS, ADA, user_id=EVE) == [(None,)]
    finally:
        await pipeline.close()
