"""What a rebuild would touch, where counting it takes longer than anybody waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters import planning
from adapters.planning import PostgresPlans
from adapters.postgres.pipeline import Pipeline, Statement
from bootstrap.views import VIEWS
from projections.engine.measures import USUAL_FINISHING, USUAL_SPEED
from tests.support.servers import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plans(database: Database) -> AsyncIterator[PostgresPlans]:
    pipeline = Pipeline(database.read_dsn, role="mindstream_read")
    await pipeline.open()
    yield PostgresPlans(pipeline, VIEWS)
    await pipeline.close()


async def test_an_empty_store_is_read_at_once(plans: PostgresPlans) -> None:
    plan = await plans.plan("journal.tags")
    assert plan is not None
    assert plan.events_by_topic is not None
    assert set(plan.events_by_topic.values()) == {0}
    assert (plan.events_total, plan.expected_seconds) == (0, 0.1)
    assert (plan.table, plan.measured, plan.kept) == ("journal_tags", False, None)
    assert await plans.plan("no.such") is None


async def test_nobody_waits_for_a_count_that_takes_long(
    plans: PostgresPlans, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Statement("plan_slow", "SELECT pg_sleep(30)::text, $1::text", ("text[]",))
    hasty = "SELECT set_config('statement_timeout', '50', true)"
    head = Statement("plan_much", "SELECT 40000::bigint", ())
    monkeypatch.setattr(planning, "_COUNTS", slow)
    monkeypatch.setattr(planning, "_PATIENCE", Statement("plan_hasty", hasty, ()))
    monkeypatch.setattr(planning, "_HEAD", head)
    plan = await plans.plan("journal.tags")
    assert plan is not None
    assert (plan.events_by_topic, plan.events_total) == (None, 40_000)
    assert plan.expected_seconds == round(40_000 / USUAL_SPEED + 40_000 * USUAL_FINISHING, 1)
