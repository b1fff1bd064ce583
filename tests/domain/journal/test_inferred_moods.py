"""Moods that a machine reads: beside those that people give, and never in their place."""

from __future__ import annotations

import datetime
from uuid import UUID

import pytest
from msgspec import UNSET

from domain.event import Event
from domain.journal.entry import Changes, Draft, Entry, Infer
from domain.journal.events import Mood

ENTRY, USER = UUID(int=1), UUID(int=2)
NOW = datetime.datetime(2026, 3, 1, 20, tzinfo=datetime.UTC)


def by_words(text: str) -> Mood | None:
    return "sad" if "rain" in text else "happy" if "sun" in text else None


def written(content: str, mood: Mood | None = None, infer: Infer | None = by_words) -> Entry:
    draft = Draft(date=NOW.date(), title="A day", content=content, mood=mood)
    return after(None, Entry.write(ENTRY, USER, draft, infer))


def after(entry: Entry | None, event: Event | None) -> Entry:
    assert event is not None
    return Entry.after(entry, event, 1 if entry is None else entry.version + 1, NOW)


def test_a_mood_is_inferred_in_the_event_that_writes() -> None:
    entry = written("sun")
    assert (entry.mood, entry.mood_inferred, entry.version) == (None, "happy", 1)


@pytest.mark.parametrize(
    "entry", [written("sun", mood="angry"), written("sun", infer=None), written("fog")]
)
def test_none_is_inferred_beside_a_given_one_or_unasked_or_without_a_sign(entry: Entry) -> None:
    assert entry.mood_inferred is None


def test_another_text_has_another_mood_and_the_same_text_the_same() -> None:
    entry = written("sun")
    revised = entry.revise(Changes(content="rain"), by_words)
    assert after(entry, revised).mood_inferred == "sad"
    tagged = entry.revise(Changes(tags=["x"]), by_words)
    assert tagged is not None
    assert tagged.mood_inferred is UNSET
    assert after(entry, tagged).mood_inferred == "happy"


def test_a_given_mood_takes_the_place_and_a_cleared_one_leaves_it() -> None:
    entry = written("sun")
    given = after(entry, entry.revise(Changes(mood="sad"), by_words))
    assert (given.mood, given.mood_inferred) == ("sad", None)
    cleared = after(given, given.revise(Changes(mood=None), by_words))
    assert (cleared.mood, cleared.mood_inferred) == (None, "happy")


def test_who_does_not_want_it_any_more_is_rid_of_it_at_the_next_change() -> None:
    entry = written("sun")
    assert after(entry, entry.revise(Changes(tags=["x"]))).mood_inferred is None
    assert entry.revise(Changes(title="A day")) is None, "nothing was changed, so nothing happens"
