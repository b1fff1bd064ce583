"""Which mood a text tells, and for whom it is read."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec import UNSET

from adapters.models.asked import REMEMBERED, MoodsAsked
from adapters.models.tone import infer, tone
from commands.ports import Append, Context
from domain.accounts.events import PersonRegistered, SettingsRevised
from domain.accounts.person import Person
from domain.event import Event
from tests.support.memory_store import MemoryEventStore

ADA = UUID(int=7)


@pytest.mark.parametrize(
    ("text", "mood"),
    [
        ("Got the job!!! The best day of my life, absolutely wonderful!", "ecstatic"),
        ("A quiet walk along the river. Nice weather all day.", "happy"),
        ("I am so worried about the exam, I cannot sleep and feel nervous.", "anxious"),
        ("I am furious. He lied to me and I hate it.", "angry"),
        ("We buried grandma today. I cried all day and miss her.", "sad"),
        ("A nice breakfast. Then the meeting was a failure.", "neutral"),
        ("Estou ansiosa e com medo do exame.", "anxious"),
        ("Um dia feliz. O jantar foi no centro.", "happy"),
        ("My mind troubled through a doubtfulness; melancholy, and afeard to bed.", "anxious"),
        ("The train left at nine.", None),
        ("Der Zug fuhr um neun.", None),
        ("", None),
    ],
)
def test_a_text_tells_its_mood(text: str, mood: str | None) -> None:
    assert infer(text) == mood


def test_a_long_text_is_no_brighter_than_a_short_one() -> None:
    once = "A nice walk. The rain was awful. "
    assert tone(once * 30) == pytest.approx(tone(once))


async def happens(store: MemoryEventStore, *events: Event) -> None:
    context = Context(
        user_id=ADA,
        tenant_id=ADA,
        actor=f"user:{ADA}",
        now=datetime(2026, 3, 1, tzinfo=UTC),
        correlation_id="req_test",
    )
    stream = Person.stream(ADA)
    known = len(await store.read(stream))
    await store.append(context, Append(stream, known, events))


@pytest.mark.anyio
async def test_who_wants_moods_is_learnt_once_and_forgotten_in_time() -> None:
    store, now = MemoryEventStore(), [0.0]
    asked = MoodsAsked(store, infer, clock=lambda: now[0])
    await happens(
        store,
        PersonRegistered(
            user_id=ADA,
            tenant_id=ADA,
            email="ada@example.org",
            display_name="Ada",
            timezone="UTC",
            language="en",
        ),
    )
    assert asked.known(ADA) is UNSET
    assert await asked.learn(ADA) is None
    assert asked.known(ADA) is None
    await happens(store, SettingsRevised(user_id=ADA, preferences={"infer_mood": True}))
    assert asked.known(ADA) is None
    asked.forget(ADA)
    assert asked.known(ADA) is UNSET
    assert await asked.learn(ADA) is infer
    assert asked.known(ADA) is infer
    now[0] += REMEMBERED + 1
    assert asked.known(ADA) is UNSET
    await happens(store, SettingsRevised(user_id=ADA, private_mode=True))
    assert await asked.learn(ADA) is None, "in private mode nothing is read by a machine"
