"""What is written in every benchmark: a page of a diary, about 600 bytes, on a day of its own."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from commands.ports import Context
from domain.journal.entry import Draft

FIRST_DAY = datetime.date(1, 1, 1).toordinal()

TITLE = "A walk along the river"
CONTENT = (
    "Up early and by the river before anybody, the mist still on it. Met the old man with the two "
    "dogs, who says that the heron is back. Then to the office, where all the talk was of the move "
    "in spring, and nobody knows anything. Dined at home, cold beef and a salad; read an hour in "
    "the new book, which I like better than I thought. In the evening my brother came and we sat "
    "late over the plan of the garden: two apple trees, a bench, and the old wall left as it is. "
    "So to bed, content, and with a good mind to rise early again tomorrow. “Home”, I wrote, and "
    "thought of father."
)
MOOD = "happy"
LOCATION = "By the river"
TAGS = ("walk", "family", "garden")


def fields(day: int) -> dict[str, Any]:
    """The body of a POST for the day with that number, counted from 0."""
    return {
        "date": datetime.date.fromordinal(FIRST_DAY + day).isoformat(),
        "title": TITLE,
        "content": CONTENT,
        "mood": MOOD,
        "location": LOCATION,
        "tags": list(TAGS),
    }


def draft(day: int) -> Draft:
    """The same, as the domain takes it."""
    return Draft(
        date=datetime.date.fromordinal(FIRST_DAY + day),
        title=TITLE,
        content=CONTENT,
        mood="happy",
        location=LOCATION,
        tags=list(TAGS),
    )


def context(user_id: UUID) -> Context:
    """A command's context, made anew for each one as a request would."""
    return Context(
        user_id=user_id,
        tenant_id=user_id,
        actor=f"user:{user_id}",
        now=datetime.datetime.now(datetime.UTC),
        correlation_id=f"req_{uuid7().hex}",
    )


def people(count: int) -> list[UUID]:
    """Ids of so many people."""
    return [uuid7() for _ in range(count)]


def pages(users: list[UUID]) -> Iterator[tuple[UUID, int]]:
    """Endless pairs of a person and a day that is new for that person."""
    for day in itertools.count():
        for user in users:
            yield user, day
