"""Insights as a worker makes them, and what the calendar brings: when, to whom, by which letter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest
import stamina
from uuid_utils.compat import uuid7

from adapters.models.endpoint import EndpointAnalyst
from adapters.postgres.pipeline import Pipeline
from adapters.writers import PostgresWriters
from bootstrap.settings import Settings
from commands.analyst import Analyst
from commands.mail import Letter
from domain.journal.events import WriterReminded
from domain.journal.insight import INSIGHT, InsightRequest
from domain.journal.reminders import Reminders
from domain.operation import NewOperation
from tests.support.exporting import Somebody, somebody
from tests.support.model_server import TOLD, model_server
from tests.support.servers import Database
from tests.support.telling import Telling, telling
from workers.insight_schedule import Calendar, due
from workers.insights import MODEL_ATTEMPTS, Making, make_insight
from workers.journal_mail import InsightMail, JournalMail, ReminderMail
from workers.reactions import key_of

pytestmark = pytest.mark.anyio

WEEK = InsightRequest("weekly", date(2026, 3, 2), date(2026, 3, 8))
EARLIER = InsightRequest("weekly", date(2026, 2, 23), date(2026, 3, 1))
FEBRUARY = InsightRequest("monthly", date(2026, 2, 1), date(2026, 2, 28))


@pytest.mark.parametrize(
    ("local", "insights"),
    [
        ("2026-03-09T05:59", []),
        ("2026-03-09T06:00", [WEEK]),
        ("2026-03-10T23:59", [WEEK]),
        ("2026-03-11T00:00", []),
        ("2026-03-01T06:00", [FEBRUARY]),
        ("2026-03-02T00:00", [FEBRUARY]),
        (
            "2026-03-02T06:00",
            [InsightRequest("weekly", date(2026, 2, 23), date(2026, 3, 1)), FEBRUARY],
        ),
        ("2024-03-01T12:00", [InsightRequest("monthly", date(2024, 2, 1), date(2024, 2, 29))]),
    ],
)
def test_weeks_are_due_on_monday_morning_and_months_on_the_first(
    local: str, insights: list[InsightRequest]
) -> None:
    assert due(datetime.fromisoformat(local)) == insights


def test_a_reminder_is_due_after_three_days_and_once_a_week() -> None:
    today = date(2026, 3, 20)

    def silent(days: int, last: date | None = None) -> bool:
        before = None if last is None else Reminders(user_id=UUID(int=1), last=last, version=1)
        return Reminders.due(before, today - timedelta(days=days), today)

    assert [silent(days) for days in (0, 2, 3, 60, 61)] == [False, False, True, True, False]
    assert not silent(5, today - timedelta(days=6))
    assert silent(9, today - timedelta(days=7))


@pytest.fixture(scope="module")
async def told(settings: Settings, signing_key: bytes) -> AsyncIterator[Telling]:
    async with telling(settings, signing_key) as running:
        yield running


@pytest.fixture(scope="module")
async def writers(database: Database) -> AsyncIterator[PostgresWriters]:
    pipeline = Pipeline(database.project_dsn, role="mindstream_project")
    await pipeline.open()
    yield PostgresWriters(pipeline)
    await pipeline.close()


class Offered:
    """A broker that only remembers."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []

    async def offer(self, kind: str, operation_id: UUID) -> bool:
        self.ids.append(operation_id)
        return True


class Outbox:
    def __init__(self) -> None:
        self.letters: list[Letter] = []

    async def send(self, letter: Letter) -> str:
        self.letters.append(letter)
        return f"<{letter.key}@x>"


def calendar(told: Telling, writers: PostgresWriters, now: datetime, offered: Offered) -> Calendar:
    side = told.house.side
    return Calendar(writers, side.operations, offered, side.bus.dispatch, uuid7, lambda: now)


async def person_in(
    told: Telling, zone: str, *entries: str, private: bool = False, **changes: object
) -> Somebody:
    """Somebody who writes ahead: the times in question are such that all have long been here."""
    person = await somebody(told.house, "Ada", timezone=zone)
    for day in entries:
        body = {"date": day, "title": "A day", "content": "zebra canary happy words here"}
        await person.call("POST", "/v1/journal/entries", body | {"is_private": private})
    if changes:
        version = (await person.get("/v1/me"))["version"]
        await person.call("PATCH", "/v1/me", changes, if_match=f'"{version}"')
    for view in ("me", "journal/streak", "journal/entries"):
        await person.get(f"/v1/{view}")
    return person


async def asked_of(told: Telling, person: Somebody) -> list[str]:
    operations = await told.house.side.operations.of_person(UUID(person.id), after=None, limit=50)
    return [each.kind for each in operations]


async def react(told: Telling, reaction: JournalMail, stream: str) -> None:
    for recorded in await told.house.side.store.read(stream):
        if isinstance(recorded.event, reaction.takes):
            await reaction.react(recorded, key_of(reaction.name, recorded))


async def test_each_zone_has_its_morning_and_nobody_is_asked_for_twice(
    told: Telling, writers: PostgresWriters
) -> None:
    lisbon = await person_in(told, "Europe/Lisbon", "2027-03-03")
    tokyo = await person_in(told, "Asia/Tokyo", "2027-03-07")
    hidden = await person_in(told, "Asia/Tokyo", "2027-03-04", private=True)
    silent = await person_in(told, "Asia/Tokyo", "2027-02-28")
    off = await person_in(
        told, "Asia/Tokyo", "2027-03-04", preferences={"email_weekly_insights": False}
    )
    closed = await person_in(told, "Asia/Tokyo", "2027-03-04", private_mode=True)
    morning = datetime(2027, 3, 8, 6, 30, tzinfo=ZoneInfo("Asia/Tokyo")).astimezone(UTC)
    offered = Offered()
    first = calendar(told, writers, morning, offered)
    assert await first.look() == 1
    assert await first.look() == 0, "it looks once a minute"
    assert await calendar(told, writers, morning, offered).look() == 0, "another scheduler"
    assert await asked_of(told, tokyo) == ["journal.insight"]
    for person in (lisbon, hidden, silent, off, closed):
        assert await asked_of(told, person) == []
    later = datetime(2027, 3, 8, 7, 0, tzinfo=ZoneInfo("Europe/Lisbon")).astimezone(UTC)
    assert await calendar(told, writers, later, offered).look() == 1
    assert await asked_of(told, lisbon) == ["journal.insight"]
    assert len(offered.ids) == 2
    # Nobody gets an insight into a time before they came.
    early = await person_in(told, "Asia/Tokyo", "2025-03-05")
    past = datetime(2025, 3, 10, 6, 30, tzinfo=ZoneInfo("Asia/Tokyo")).astimezone(UTC)
    assert await calendar(told, writers, past, offered).look() == 0
    assert await asked_of(told, early) == []
    # The letter says how much it was, and nothing of what.
    for operation_id in offered.ids:
        await make_insight(operation_id, told.making)
    insight = await told.shown(tokyo, offered.ids[0])
    assert (insight["state"], insight["scheduled"]) == ("ready", True)
    assert (insight["start_date"], insight["end_date"]) == ("2027-03-01", "2027-03-07")
    outbox = Outbox()
    mail = InsightMail(told.house.side.store, outbox, only_verified=False)
    await react(told, mail, f"journal.insight-{offered.ids[0]}")
    [letter] = outbox.letters
    assert (letter.template, letter.to) == ("weekly_insight", tokyo.email)
    assert "1 entry, 5 words, the most on 2027-03-07" in " ".join(letter.text.split())
    for canary in ("zebra", "canary"):
        assert canary not in letter.text + letter.html + letter.subject
    # Who has changed their mind meanwhile gets none.
    version = (await lisbon.get("/v1/me"))["version"]
    changes = {"preferences": {"email_weekly_insights": False}}
    await lisbon.call("PATCH", "/v1/me", changes, if_match=f'"{version}"')
    await react(told, mail, f"journal.insight-{offered.ids[1]}")
    assert len(outbox.letters) == 1
    strict = InsightMail(told.house.side.store, outbox, only_verified=True)
    await react(told, strict, f"journal.insight-{offered.ids[0]}")
    assert len(outbox.letters) == 1


async def test_who_asked_for_an_insight_gets_no_letter(told: Telling) -> None:
    ada = await person_in(told, "UTC", "2027-03-03")
    insight = await told.insight(ada, "2027-03-01", "2027-03-07", "weekly")
    outbox = Outbox()
    mail = InsightMail(told.house.side.store, outbox, only_verified=False)
    await react(told, mail, f"journal.insight-{insight['id']}")
    assert outbox.letters == []


async def test_the_silent_are_reminded_in_the_evening_once_a_week(
    told: Telling, writers: PostgresWriters
) -> None:
    wants = {"email_reminder_to_write": True}
    zone = "America/Sao_Paulo"
    ada = await person_in(told, zone, "2027-03-10", preferences=wants, language="pt")
    await person_in(told, zone, "2027-03-10")  # does not want it
    await person_in(told, zone, "2027-03-12", preferences=wants)  # wrote yesterday

    async def look(day: int, hour: int) -> int:
        now = datetime(2027, 3, day, hour, 5, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        return await calendar(told, writers, now, Offered()).look()

    assert await look(12, 20) == 0
    assert [await look(13, hour) for hour in (18, 22)] == [0, 0]
    assert await look(13, 19) == 1
    assert await look(13, 20) == 0
    stream = Reminders.stream(UUID(ada.id))
    assert [each.event for each in await told.house.side.store.read(stream)] == [
        WriterReminded(user_id=UUID(ada.id), on=date(2027, 3, 13))
    ]
    outbox = Outbox()
    await react(told, ReminderMail(told.house.side.store, outbox, only_verified=False), stream)
    [letter] = outbox.letters
    assert (letter.template, letter.subject) == (
        "reminder_to_write",
        "Uma linha para o seu diário?",
    )


def working(told: Telling, analyst: Analyst) -> Making:
    return msgspec.structs.replace(told.making, analyst=analyst)


async def state_of(told: Telling, person: Somebody, operation_id: UUID) -> tuple[str, str | None]:
    operation = await person.get(f"/v1/operations/{operation_id}")
    error = operation["error"]
    return operation["state"], error["code"] if error is not None else None


async def taken_again(told: Telling, operation_id: UUID, making: Making) -> None:
    """Work on it as if the pause before another try were over."""
    with psycopg.connect(told.house.settings.owner_dsn or "") as connection:
        connection.execute(
            "UPDATE operations SET lease_until = NULL WHERE id = %s", (operation_id,)
        )
    await make_insight(operation_id, making)


async def test_a_model_that_is_away_is_tried_some_times(told: Telling) -> None:
    ada = await person_in(told, "UTC", "2027-03-03")
    operation_id = UUID((await told.ask(ada, "2027-03-01", "2027-03-07")).json()["data"]["id"])
    async with model_server() as server:
        server.answers = [503]
        with stamina.set_testing(True, attempts=1):
            making = working(told, EndpointAnalyst(server.url, "tiny", "key"))
            await taken_again(told, operation_id, making)
            assert await state_of(told, ada, operation_id) == ("running", None)
            tries = 1
            while await state_of(told, ada, operation_id) == ("running", None):
                await taken_again(told, operation_id, making)
                tries += 1
                assert tries < 3 * MODEL_ATTEMPTS
    assert await state_of(told, ada, operation_id) == ("failed", "MODEL_UNAVAILABLE")
    assert tries >= MODEL_ATTEMPTS  # more, where one got further than the one before it
    insight = await told.shown(ada, operation_id)
    assert (insight["state"], insight["error_code"]) == ("failed", "MODEL_UNAVAILABLE")


async def test_what_a_model_tells_is_shown_and_nothing_private_reaches_it(
    told: Telling, capfd: pytest.CaptureFixture[str]
) -> None:
    ada = await person_in(told, "UTC", "2027-03-03")
    for day, private in (("2027-03-04", True), ("2027-03-05", False), ("2027-02-01", True)):
        body = {"date": day, "title": "t", "content": f"{'giraffe' if private else 'panda'} secret"}
        await ada.call("POST", "/v1/journal/entries", body | {"is_private": private})
    operation_id = UUID((await told.ask(ada, "2027-03-01", "2027-03-07")).json()["data"]["id"])
    async with model_server() as server:
        await make_insight(operation_id, working(told, EndpointAnalyst(server.url, "tiny", "key")))
        assert "panda" in server.text
        assert "giraffe" not in server.text
        for personal in (ada.id, ada.email, "Ada"):
            assert personal not in server.text
    insight = await told.shown(ada, operation_id)
    assert insight["summary"] == TOLD["summary"]
    assert insight["themes"] == TOLD["themes"]
    assert insight["generated_by"] == "tiny-2026-01"
    assert insight["entries_analyzed"] == 2, "figures are counted, whatever a model says"
    logged = "".join(capfd.readouterr())
    assert "panda" not in logged
    assert TOLD["summary"] not in logged


async def test_a_model_that_answers_something_else_fails_the_insight(told: Telling) -> None:
    ada = await person_in(told, "UTC", "2027-03-03")
    operation_id = UUID((await told.ask(ada, "2027-03-01", "2027-03-07")).json()["data"]["id"])
    async with model_server() as server:
        server.answers = ["Certainly! Here is your insight."]
        await make_insight(operation_id, working(told, EndpointAnalyst(server.url, "tiny", "key")))
    assert await state_of(told, ada, operation_id) == ("failed", "MODEL_FAILED")


class Dying:
    """The operations of a worker that dies before it can say that it has finished."""

    def __init__(self, other: Any) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)

    async def finish(self, *values: Any, **named: Any) -> bool:
        raise asyncio.CancelledError


async def test_a_worker_that_dies_at_the_end_leaves_one_insight(told: Telling) -> None:
    ada = await person_in(told, "UTC", "2027-03-03")
    operation_id = UUID((await told.ask(ada, "2027-03-01", "2027-03-07")).json()["data"]["id"])
    dying: Any = Dying(told.making.operations)
    with pytest.raises(asyncio.CancelledError):
        await make_insight(operation_id, msgspec.structs.replace(told.making, operations=dying))
    asked = len(told.analyst.given)
    await taken_again(told, operation_id, told.making)
    assert await state_of(told, ada, operation_id) == ("succeeded", None)
    events = await told.house.side.store.read(f"journal.insight-{operation_id}")
    names = [type(recorded.event).__name__ for recorded in events]
    assert names == ["InsightRequested", "InsightReady"]
    assert len(told.analyst.given) == asked, "what was told is not asked for again"


async def test_a_request_that_was_lost_is_appended_by_the_worker(told: Telling) -> None:
    ada = await person_in(told, "UTC", "2027-03-03")
    operation_id = uuid7()
    me = await ada.get("/v1/me")
    await told.house.side.operations.accept(
        NewOperation(
            id=operation_id,
            kind=INSIGHT,
            user_id=UUID(ada.id),
            tenant_id=UUID(me["tenant_id"]),
            correlation_id="req_lost",
            created_at=datetime.now(UTC),
            params={
                "insight_type": "weekly",
                "start_date": "2027-03-01",
                "end_date": "2027-03-07",
            },
        )
    )
    await make_insight(operation_id, told.making)
    assert (await told.shown(ada, operation_id))["entries_analyzed"] == 1
