"""Insights and inferred moods as a client meets them, on real servers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.event_store.source import PostgresSource
from bootstrap.engine import DirectEngine
from bootstrap.settings import Settings
from bootstrap.wiring.erasure import erasing_of
from bootstrap.wiring.keys import subject_keys_of
from domain.journal.events import InsightReady
from projections.engine.rebuild import rebuild, verify
from projections.journal.insights import Insights
from tests.support.exporting import Somebody, read, somebody
from tests.support.servers import Database
from tests.support.telling import Telling, telling
from tests.support.waiting import eventually_async
from workers.erasure import erase_person
from workers.insights import make_insight

pytestmark = pytest.mark.anyio

INSIGHTS = "/v1/journal/insights"
MARCH = ("2026-03-01", "2026-03-31")


@pytest.fixture(scope="module")
async def told(settings: Settings, signing_key: bytes) -> AsyncIterator[Telling]:
    async with telling(settings, signing_key) as running:
        yield running


@pytest.fixture
async def ada(told: Telling) -> Somebody:
    return await somebody(told.house, "Ada")


async def write(person: Somebody, day: str, content: str, **fields: Any) -> dict[str, Any]:
    body = {"date": day, "title": f"About {day}", "content": content, **fields}
    answer = await person.call("POST", "/v1/journal/entries", body)
    written: dict[str, Any] = answer.json()["data"]
    return written


async def settle(person: Somebody, **changes: Any) -> None:
    version = (await person.get("/v1/me"))["version"]
    await person.call("PATCH", "/v1/me", changes, if_match=f'"{version}"')


async def test_an_insight_is_asked_for_made_and_shown(told: Telling, ada: Somebody) -> None:
    await write(ada, "2026-03-02", "Ran along the river with Ana, slow and happy.", mood="happy")
    await write(ada, "2026-03-05", "Dinner with Ana. We laughed until midnight.", mood="happy")
    await write(ada, "2026-03-09", "The budget makes me anxious.", mood="anxious")
    await write(ada, "2026-04-01", "Not in March at all.", mood="angry")
    accepted = await told.ask(ada, *MARCH, "monthly")
    assert accepted.status_code == 202
    operation = accepted.json()["data"]
    assert accepted.headers["location"] == f"/v1/operations/{operation['id']}"
    hint = f"ai:queue:{operation['id']}"
    cache = told.house.side.cache

    async def said(state: bytes | None) -> None:
        async def stands() -> bool:
            return bool(await cache.get(hint) == state)

        await eventually_async(stands)

    await said(b"queued")
    assert 3500 < await cache.ttl(hint) <= 3600
    [requested] = await ada.get(INSIGHTS)
    assert (requested["state"], requested["summary"], requested["themes"]) == (
        "requested",
        None,
        [],
    )
    await make_insight(UUID(operation["id"]), told.making)
    await said(None)
    done = await ada.get(f"/v1/operations/{operation['id']}")
    assert (done["state"], done["progress"]) == ("succeeded", 1)
    insight = await told.shown(ada, done["result"]["insight_id"])
    assert insight["state"] == "ready"
    assert insight["insight_type"] == "monthly"
    assert (insight["start_date"], insight["end_date"]) == MARCH
    assert (insight["entries_analyzed"], insight["words"]) == (3, 21)
    assert insight["most_productive_day"] == "2026-03-02"
    assert insight["mood_distribution"] == {"happy": 66.67, "anxious": 33.33}
    assert insight["dominant_mood"] == "happy"
    assert insight["generated_by"] == "mindstream-local/1"
    assert "Ana is in 2 of these entries" in insight["summary"]
    for theme in insight["themes"]:
        assert set(theme) == {"name", "frequency", "sentiment", "related_words"}
    assert insight["milestones"]
    assert insight["suggestions"]
    # Made a second time (its worker was taken for dead, say) it is the same one.
    await make_insight(UUID(operation["id"]), told.making)
    assert await told.shown(ada, insight["id"]) == insight


async def test_what_is_private_goes_nowhere(told: Telling, ada: Somebody) -> None:
    await write(ada, "2026-03-01", "zebra canary happy", is_private=True, tags=["zebra"])
    await write(ada, "2026-02-01", "zebra canary before", is_private=True)
    hidden = await write(ada, "2026-03-02", "zebra canary in the open")
    path = f"/v1/journal/entries/{hidden['id']}"
    await ada.call("PATCH", path, {"is_private": True}, if_match='"1"')
    gone = await write(ada, "2026-03-03", "zebra canary deleted")
    await ada.call("DELETE", f"/v1/journal/entries/{gone['id']}", if_match='"1"')
    await write(ada, "2026-03-04", "An open page about the giraffe.")
    await write(await somebody(told.house, "Eve"), "2026-03-05", "zebra canary of somebody else")
    insight = await told.insight(ada, *MARCH)
    assert insight["entries_analyzed"] == 1
    assert insight["words"] == 6
    given = told.analyst.given[-1]
    assert "giraffe" in repr(given)
    assert "zebra" not in repr(given)
    assert given.before.entries == 0
    assert "zebra" not in repr(insight)


async def test_without_entries_it_says_so(told: Telling, ada: Somebody) -> None:
    insight = await told.insight(ada, *MARCH, "monthly")
    assert insight["state"] == "ready"
    assert (insight["entries_analyzed"], insight["words"]) == (0, 0)
    assert insight["most_productive_day"] is None
    assert insight["dominant_mood"] is None
    assert insight["mood_distribution"] == {}
    assert "no entry of March 2026" in insight["summary"]


async def test_in_private_mode_there_are_none(told: Telling, ada: Somebody) -> None:
    await write(ada, "2026-03-01", "A page.")
    pending = (await told.ask(ada, *MARCH)).json()["data"]["id"]
    await settle(ada, private_mode=True)
    body = {"insight_type": "monthly", "start_date": MARCH[0], "end_date": MARCH[1]}
    answer = await told.house.api.post(INSIGHTS, json=body, headers=ada.headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "PRIVATE_MODE")
    asked = len(told.analyst.given)
    await make_insight(UUID(pending), told.making)
    operation = await ada.get(f"/v1/operations/{pending}")
    assert (operation["state"], operation["error"]["code"]) == ("failed", "PRIVATE_MODE")
    insight = await told.shown(ada, pending)
    assert (insight["state"], insight["error_code"]) == ("failed", "PRIVATE_MODE")
    assert len(told.analyst.given) == asked, "nobody was given anything to read"


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"end_date": "2026-02-28"}, [("end_date", "before_start_date")]),
        ({"insight_type": "weekly"}, [("end_date", "too_long")]),
        ({"end_date": "2036-06-01"}, [("end_date", "too_long")]),
        (
            {"insight_type": "hourly", "end_date": "2026-02-01", "x": 1},
            [("insight_type", "unknown_value"), ("x", "unknown_field"), ("end_date", "before")],
        ),
        ({"start_date": "2026-02-30"}, [("start_date", "")]),
    ],
)
async def test_all_that_is_wrong_is_said(
    told: Telling, ada: Somebody, changes: dict[str, Any], faults: list[tuple[str, str]]
) -> None:
    body = {"insight_type": "custom", "start_date": MARCH[0], "end_date": MARCH[1]}
    answer = await told.house.api.post(INSIGHTS, json=body | changes, headers=ada.headers)
    assert answer.status_code == 422, answer.text
    assert sorted(each["field"] for each in answer.json()["errors"]) == sorted(
        field for field, _ in faults
    )
    if len(faults) == 1:
        assert answer.json()["errors"][0]["code"].startswith(faults[0][1])


async def test_a_retry_gets_the_first_answer(told: Telling, ada: Somebody) -> None:
    first = await told.ask(ada, *MARCH, idempotency_key="once")
    again = await told.ask(ada, *MARCH, idempotency_key="once")
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["data"]["id"] == first.json()["data"]["id"]
    assert len(await ada.get(INSIGHTS)) == 1
    body = {"insight_type": "yearly", "start_date": MARCH[0], "end_date": MARCH[1]}
    other = await told.house.api.post(
        INSIGHTS, json=body, headers=ada.headers | {"idempotency-key": "once"}
    )
    assert other.json()["code"] == "IDEMPOTENCY_KEY_REUSED"


async def test_pages_are_newest_first_and_another_persons_are_not_there(
    told: Telling, ada: Somebody
) -> None:
    ids = [
        (await told.ask(ada, *MARCH, kind)).json()["data"]["id"]
        for kind in ("monthly", "custom", "monthly", "yearly")
    ]
    assert [each["id"] for each in await ada.get(f"{INSIGHTS}?limit=100")] == ids[::-1]
    first = await ada.call("GET", f"{INSIGHTS}?limit=3", consistency_token=ada.token)
    assert [each["id"] for each in first.json()["data"]] == ids[:0:-1]
    cursor = first.json()["meta"]["next_cursor"]
    rest = await ada.call("GET", f"{INSIGHTS}?limit=3&cursor={cursor}")
    assert [each["id"] for each in rest.json()["data"]] == ids[:1]
    assert rest.json()["meta"]["next_cursor"] is None
    monthly = await ada.get(f"{INSIGHTS}?insight_type=monthly&state=requested")
    assert [each["id"] for each in monthly] == [ids[2], ids[0]]
    eve = await somebody(told.house, "Eve")
    assert await eve.get(INSIGHTS) == []
    foreign = await told.house.api.get(f"{INSIGHTS}/{ids[0]}", headers=eve.headers)
    unknown = await told.house.api.get(f"{INSIGHTS}/{uuid4()}", headers=eve.headers)
    assert foreign.status_code == unknown.status_code == 404
    stolen = await told.house.api.get(f"{INSIGHTS}?cursor={cursor}", headers=eve.headers)
    assert stolen.status_code == 422


async def test_a_look_is_noted_once_a_day_and_changes_nothing(told: Telling, ada: Somebody) -> None:
    insight = await told.insight(ada, *MARCH)
    stream = f"journal.insight-{insight['id']}"

    async def noted() -> bool:  # what a read tells is written beside it
        await told.appended_views()
        return len(await told.house.side.store.read(stream)) == 3

    await eventually_async(noted)
    for _ in range(3):
        answer = await ada.call("GET", f"{INSIGHTS}/{insight['id']}")
        assert answer.headers["etag"] == f'"{insight["version"]}"'
        tag = {"if-none-match": answer.headers["etag"]}
        same = await told.house.api.get(f"{INSIGHTS}/{insight['id']}", headers=ada.headers | tag)
        assert same.status_code == 304
    await told.appended_views()
    events = await told.house.side.store.read(stream)
    names = [type(recorded.event).__name__ for recorded in events]
    assert names == ["InsightRequested", "InsightReady", "InsightViewed"]
    assert events[-1].metadata is not None
    assert events[-1].metadata.actor == f"user:{ada.id}"


async def test_insights_are_in_the_export_with_their_events(told: Telling, ada: Somebody) -> None:
    await write(ada, "2026-03-02", "Ran along the river with Ana, slow and happy.")
    for _ in range(2):
        await told.insight(ada, *MARCH)
    bundle = await ada.exported()
    assert read(bundle, "journal/insights.json") == await ada.all(INSIGHTS)
    topics = [event["topic"] for event in read(bundle, "events.json")]
    assert topics.count("journal.InsightReady.v1") == 2


async def test_who_gives_up_before_it_begins_has_an_insight_that_says_so(
    told: Telling, ada: Somebody
) -> None:
    operation_id = (await told.ask(ada, *MARCH)).json()["data"]["id"]
    await ada.call("DELETE", f"/v1/operations/{operation_id}")
    await make_insight(UUID(operation_id), told.making)
    insight = await told.shown(ada, operation_id)
    assert (insight["state"], insight["error_code"]) == ("failed", "CANCELLED")


async def test_moods_are_inferred_for_those_who_ask_from_their_next_word_on(
    told: Telling, ada: Somebody
) -> None:
    before = await write(ada, "2026-03-01", "A wonderful, happy day.")
    assert before["mood_inferred"] is None
    await settle(ada, preferences={"infer_mood": True})
    entry = await write(ada, "2026-03-02", "I am so worried about the exam, and nervous.")
    assert (entry["mood"], entry["mood_inferred"], entry["version"]) == (None, "anxious", 1)
    path = f"/v1/journal/entries/{entry['id']}"
    assert await ada.get(path) == entry
    # Who edits right after writing holds the version that there is.
    revised = await ada.call("PATCH", path, {"mood": "neutral"}, if_match='"1"')
    assert revised.json()["data"]["mood_inferred"] is None
    assert (await ada.get(path))["mood"] == "neutral"
    history = await ada.get(f"{path}/history")
    assert history[-1]["changes"]["mood_inferred"] == {"from": "anxious", "to": None}
    given = await write(ada, "2026-03-03", "A wonderful, happy day.", mood="sad")
    assert (given["mood"], given["mood_inferred"]) == ("sad", None)
    await ada.keep_a_diary(
        b'{"date": "2026-03-04", "title": "x", "content": "We buried grandma, I cried."}'
    )
    [imported] = await ada.get("/v1/journal/entries?date_from=2026-03-04")
    assert (imported["mood"], imported["mood_inferred"]) == (None, "sad")
    await settle(ada, preferences={"infer_mood": False})
    after = await write(ada, "2026-03-05", "A wonderful, happy day.")
    assert after["mood_inferred"] is None


async def test_inferred_moods_count_nowhere(told: Telling, ada: Somebody) -> None:
    await settle(ada, preferences={"infer_mood": True})
    await write(ada, "2026-03-02", "I am so worried about the exam, and nervous.")
    assert await ada.get("/v1/journal/entries?mood=anxious") == []
    [day] = [each for each in await ada.get("/v1/journal/calendar/2026/3") if each["has_entry"]]
    assert day["mood"] is None
    insight = await told.insight(ada, *MARCH)
    assert (insight["mood_distribution"], insight["dominant_mood"]) == ({}, None)


async def test_a_rebuild_equals_the_live_rows(
    told: Telling, ada: Somebody, settings: Settings, database: Database
) -> None:
    await write(ada, "2026-03-02", "Ran along the river with Ana, slow and happy.")
    insight = await told.insight(ada, *MARCH)
    await told.appended_views()
    await told.shown(ada, insight["id"])
    sources = functools.partial(PostgresSource, database.write_dsn, keys=subject_keys_of(settings))
    checked = await asyncio.to_thread(verify, database.write_dsn, sources, Insights())
    assert checked.equal, checked
    assert checked.rows_live >= 1
    report = await asyncio.to_thread(rebuild, database.write_dsn, sources, Insights())
    assert (report.equal, report.swapped, report.rows) == (True, True, checked.rows_live)
    assert await told.shown(ada, insight["id"]) == insight


async def test_whoever_is_erased_leaves_none_of_it(
    told: Telling, ada: Somebody, database: Database
) -> None:
    await write(ada, "2026-03-02", "Ran along the river with zebra canary, happy.")
    insight = await told.insight(ada, *MARCH)
    queued = (await told.ask(ada, *MARCH)).json()["data"]["id"]
    side = told.house.side
    engine = DirectEngine(database.write_dsn, side.keys)
    accepted = await ada.call("POST", "/v1/me/erasure")
    operation_id = UUID(accepted.json()["data"]["id"])
    erasing = erasing_of(told.house.settings, side, engine)
    async with side.tokens.keeping():
        await erase_person(operation_id, erasing)
    await make_insight(UUID(queued), told.making)
    left = {
        table: f"SELECT count(*) FROM {table} WHERE user_id = %s"
        for table in ("journal_insights", "insight_views")
    }
    with psycopg.connect(database.owner_dsn) as connection:
        for table, counting in left.items():
            assert connection.execute(counting, (ada.id,)).fetchone() == (0,), table
    told_event = (await side.store.read(f"journal.insight-{insight['id']}"))[1].event
    assert isinstance(told_event, InsightReady)
    assert (told_event.summary, told_event.themes, told_event.milestones) == ("", (), ())
    assert told_event.words == insight["words"]
