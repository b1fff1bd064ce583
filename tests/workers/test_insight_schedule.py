"""What comes by the calendar: when it is due where somebody is, for whom, once; and its letters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from uuid_utils.compat import uuid7

from adapters.postgres.pipeline import Pipeline
from adapters.writers import PostgresWriters
from bootstrap.settings import Settings
from commands.mail import Letter
from domain.journal.events import WriterReminded
from domain.journal.insight import Asked
from domain.journal.reminders import Reminders
from tests.support.exporting import Somebody, somebody
from tests.support.servers import Database
from tests.support.telling import Telling, telling
from workers.insight_schedule import Calendar, due
from workers.insights import make_insight
from workers.journal_mail import InsightMail, JournalMail, ReminderMail
from workers.reactions import key_of

pytestmark = pytest.mark.anyio

WEEK = Asked("weekly", date(2026, 3, 2), date(2026, 3, 8))
FEBRUARY = Asked("monthly", date(2026, 2, 1), date(2026, 2, 28))


@pytest.mark.parametrize(
    ("local", "insights"),
    [
        ("2026-03-09T05:59", []),
        ("2026-03-09T06:00", [WEEK]),
        ("2026-03-10T23:59", [WEEK]),
        ("2026-03-11T00:00", []),
        ("2026-03-01T06:00", [FEBRUARY]),
        ("2026-03-02T00:00", [FEBRUARY]),
        ("2026-03-02T06:00", [Asked("weekly", date(2026, 2, 23), date(2026, 3, 1)), FEBRUARY]),
        ("2024-03-01T12:00", [Asked("monthly", date(2024, 2, 1), date(2024, 2, 29))]),
    ],
)
def test_weeks_are_due_on_monday_morning_and_months_on_the_first(
    local: str, insights: list[Asked]
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
