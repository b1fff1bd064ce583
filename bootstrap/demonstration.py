"""The demo: a few invented people and some months of their diaries, made up and never copied.

Owns the invention. The same day makes the same diaries, so that what a demo shows can be talked
about. Whoever logs in as the first person sees everything that an operator sees.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from commands.accounts import RegisterPerson
from commands.bus import Bus
from commands.journal import WriteEntry
from commands.logins import Logins, Visit
from commands.ports import Context
from commands.tenants import AddMember, CreateTenant, ShareNumbers
from domain.accounts.person import OPERATOR
from domain.accounts.profile import Terms
from domain.journal.entry import Draft
from domain.journal.events import Mood

DAYS = 240
TERMS = Terms(
    terms_version="v1.0", privacy_policy_version="v1.0", data_processing=True, marketing=False
)


class Invented(msgspec.Struct, frozen=True):
    """Somebody who does not exist; ``diligence`` is the share of days with an entry."""

    email: str
    name: str
    timezone: str
    diligence: float
    places: tuple[str, ...]
    themes: tuple[str, ...]


class DemoLogin(msgspec.Struct, frozen=True):
    """How to log in as the first person; ``permissions`` beyond everyone's."""

    email: str
    password: str


PEOPLE = (
    Invented(
        "ada@demo.example",
        "Ada Moreira",
        "Europe/Lisbon",
        0.9,
        ("Lisbon", "Sintra", "home"),
        ("work", "garden", "reading", "family", "running"),
    ),
    Invented(
        "bruno@demo.example",
        "Bruno Tavares",
        "America/Sao_Paulo",
        0.7,
        ("São Paulo", "Santos", "the studio"),
        ("music", "friends", "work", "cooking", "travel"),
    ),
    Invented(
        "chiyo@demo.example",
        "Chiyo Lindqvist",
        "Asia/Tokyo",
        0.5,
        ("Kyoto", "the lab", "home"),
        ("research", "walks", "tea", "sleep", "letters"),
    ),
)
_OPENINGS = (
    "Woke before the alarm and lay listening to the street.",
    "A slow start, and better for it.",
    "Rain all morning, so nobody expected much of the day.",
    "Up early; the light on the table was worth it.",
    "Slept badly and noticed it by noon.",
)
_MIDDLES = {
    "work": "The long task finally came apart into small ones, and two of them are done.",
    "garden": "Cut back the roses and found the first figs under their leaves.",
    "reading": "Read forty pages and argued with the author in the margins.",
    "family": "Called home; the news is mostly about the neighbours' dog.",
    "running": "Ran along the river, slower than last week and happier.",
    "music": "Worked on the bridge of the new song until it stopped fighting.",
    "friends": "Dinner for six became dinner for nine, as it should.",
    "cooking": "The stew needed an hour more than I gave it.",
    "travel": "Looked at maps, which is half of every journey.",
    "research": "The measurement agrees with the model for once, so I distrust both.",
    "walks": "Took the path behind the temple and met nobody.",
    "tea": "A new tea, grassy and a little salty; bought more of it.",
    "sleep": "In bed by ten, a small victory.",
    "letters": "Wrote two letters by hand and posted one.",
}
_CLOSINGS = (
    "Tomorrow: less screen, more sky.",
    "Grateful for an ordinary day.",
    "Must not forget the dentist.",
    "Something is shifting, slowly.",
    "Enough for today.",
)
_TITLES = ("Small steps", "An ordinary day", "Notes before sleep", "What the day was", "Later")
_MOODS: tuple[Mood | None, ...] = (
    "happy",
    "happy",
    "neutral",
    "neutral",
    "ecstatic",
    "sad",
    "anxious",
    "angry",
    None,
)
_WEATHER = ("sunny", "cloudy", "rain", "wind", None)


async def fill(bus: Bus, logins: Logins, *, now: datetime, new_id: Callable[[], UUID]) -> DemoLogin:
    """Register the people and write their diaries up to yesterday; how to log in as the first.

    All of them share a tenant and let it count them, so that there is something to analyse.
    """
    first: DemoLogin | None = None
    contexts: list[Context] = []
    for invented in PEOPLE:
        password = "-".join(secrets.token_hex(2) for _ in range(4))
        visit = Visit(now=now, correlation_id=f"demo_{new_id().hex}")
        registration = RegisterPerson(
            email=invented.email,
            display_name=invented.name,
            timezone=invented.timezone,
            terms=TERMS,
            permissions=OPERATOR if first is None else (),
            verified=True,
        )
        outcome = await logins.register(registration, password, visit)
        person = outcome.result
        context = visit.by(person.id, person.tenant_id)
        drafts = list(_diary(invented, now.date()))
        for start in range(0, len(drafts), 64):
            await asyncio.gather(
                *(
                    bus.dispatch(WriteEntry(new_id(), draft), context)
                    for draft in drafts[start : start + 64]
                )
            )
        first = first or DemoLogin(invented.email, password)
        contexts.append(context)
    assert first is not None
    tenant_id = new_id()
    await bus.dispatch(CreateTenant(tenant_id, "Three diaries"), contexts[0])
    for context in contexts:
        if context is not contexts[0]:
            await bus.dispatch(AddMember(tenant_id, context.user_id, "member"), contexts[0])
        await bus.dispatch(ShareNumbers(tenant_id, analytics=True), context)
    return first


def _diary(invented: Invented, today: date) -> Iterator[Draft]:
    dice = random.Random(invented.email)  # noqa: S311 - it invents, it guards nothing
    for back in range(DAYS, 0, -1):
        if dice.random() > invented.diligence:
            continue
        themes = dice.sample(invented.themes, k=dice.randint(1, 3))
        text = [dice.choice(_OPENINGS), *(_MIDDLES[theme] for theme in themes)]
        text.append(dice.choice(_CLOSINGS))
        fields: dict[str, Any] = {
            "date": today - timedelta(days=back),
            "title": dice.choice(_TITLES),
            "content": "\n\n".join(text),
            "mood": dice.choice(_MOODS),
            "location": dice.choice(invented.places),
            "weather": dice.choice(_WEATHER),
            "tags": themes,
            "is_private": dice.random() < 0.1,
        }
        yield Draft(**fields)
