"""Decisions on an entry: given what happened, when somebody decides, then this happens."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.event import Event
from domain.faults import Invalid
from domain.journal.entry import (
    Changes,
    Draft,
    Entry,
    clean_tags,
    count_words,
    reading_seconds,
    tags_and_faults,
)
from domain.journal.events import EntryDeleted, EntryRestored, EntryRevised, EntryWritten

ENTRY, USER = UUID(int=1), UUID(int=2)
DAY = datetime.date(2026, 3, 1)
NOW = datetime.datetime(2026, 3, 1, 20, tzinfo=datetime.UTC)


def draft(**fields: Any) -> Draft:
    return Draft(**{"date": DAY, "title": "t", "content": "one two", **fields})


def given_events(*events: Event) -> Entry:
    entry: Entry | None = None
    for version, event in enumerate(events, 1):
        entry = Entry.after(entry, event, version, NOW + datetime.timedelta(hours=version))
    assert entry is not None
    return entry


WRITTEN = Entry.write(ENTRY, USER, draft(tags=["A", " a ", "b"], location="Porto"))
DELETED = EntryDeleted(entry_id=ENTRY, user_id=USER, date=DAY)


def test_writing_cleans_tags_and_counts_words() -> None:
    assert WRITTEN.tags == ("a", "b")
    assert WRITTEN.word_count == 2


def test_revising_says_only_what_changed() -> None:
    entry = given_events(WRITTEN)
    changes = Changes(title="new", content="one two", location=None, tags=["b", "B", "a"])
    assert entry.revise(changes) == EntryRevised(
        entry_id=ENTRY, user_id=USER, title="new", location=None, tags=("b", "a")
    )


def test_new_content_brings_its_word_count() -> None:
    event = given_events(WRITTEN).revise(Changes(content="a\u00a0b\u2003c"))
    assert event == EntryRevised(
        entry_id=ENTRY, user_id=USER, content="a\u00a0b\u2003c", word_count=3
    )


def test_revising_nothing_is_no_event() -> None:
    entry = given_events(WRITTEN)
    assert entry.revise(Changes()) is None
    assert entry.revise(Changes(title="t", tags=[" B", "A"][::-1])) is None


def test_deleting_and_restoring() -> None:
    entry = given_events(WRITTEN)
    assert entry.delete() == DELETED
    assert entry.restore() is None
    deleted = given_events(WRITTEN, DELETED)
    assert deleted.delete() is None
    assert deleted.restore() == EntryRestored(entry_id=ENTRY, user_id=USER, date=DAY)


def test_writing_again_starts_afresh() -> None:
    revised = EntryRevised(entry_id=ENTRY, user_id=USER, mood="sad")
    again = Entry.write(ENTRY, USER, draft(title="again"))
    entry = given_events(WRITTEN, revised, DELETED, again)
    assert (entry.state, entry.version, entry.mood, entry.tags) == ("active", 4, None, ())
    assert entry.created_at == entry.updated_at == NOW + datetime.timedelta(hours=4)


def test_a_stream_begins_with_writing() -> None:
    with pytest.raises(TypeError):
        given_events(DELETED)


def test_a_snapshot_is_the_entry() -> None:
    entry = given_events(WRITTEN, DELETED)
    assert msgspec.json.decode(msgspec.json.encode(entry), type=Entry) == entry


@pytest.mark.parametrize(
    ("tags", "faults"),
    [
        (["x" * 50, " " + "x" * 50 + " "], []),
        (["x" * 51], [("tags.0", "too_long")]),
        (["ok", "\t"], [("tags.1", "too_short")]),
        ([str(n) for n in range(50)] * 2, []),
        ([str(n) for n in range(51)], [("tags", "too_long")]),
        (["İ" * 26], [("tags.0", "too_long")]),  # lower-cased it has two code points
    ],
)
def test_tags(tags: list[str], faults: list[tuple[str, str]]) -> None:
    assert [(fault.field, fault.code) for fault in tags_and_faults(tags)[1]] == faults
    if faults:
        with pytest.raises(Invalid):
            clean_tags(tags)


@given(st.lists(st.text(max_size=12), max_size=60))
def test_clean_tags_stay_clean(tags: list[str]) -> None:
    kept, faults = tags_and_faults(tags)
    assert tags_and_faults(kept)[0] == tuple(dict.fromkeys(tag.strip().lower() for tag in kept))
    assert len(set(kept)) == len(kept)
    assert all(1 <= len(tag) <= 50 for tag in kept)
    assert faults or len(kept) <= 50


@given(st.integers(0, 10_000))
def test_reading_time_is_rounded_up(words: int) -> None:
    seconds = reading_seconds(words)
    assert (seconds - 1) * 200 < words * 60 <= seconds * 200


@given(st.lists(st.text(st.characters(exclude_categories=["Zs", "Zl", "Zp", "Cc"]), min_size=1)))
def test_words_are_runs_between_white_space(words: list[str]) -> None:
    assert count_words(" \u00a0".join(words)) == len(words)


_texts = st.text(min_size=1, max_size=20)
_fields: dict[str, st.SearchStrategy[Any]] = {
    "date": st.dates(),
    "title": _texts,
    "content": _texts,
    "mood": st.sampled_from([None, "happy", "sad"]),
    "location": st.none() | _texts,
    "weather": st.none() | _texts,
    "tags": st.none() | st.lists(st.sampled_from(["a", " A", "b", "C "]), max_size=4),
    "is_private": st.booleans(),
}


class EntryLife(RuleBasedStateMachine):
    """The aggregate against a plain dictionary."""

    entry: Entry
    model: dict[str, Any]
    version = 0

    def _apply(self, event: Event | None) -> None:
        if event is not None:
            self.version += 1
            at = NOW + datetime.timedelta(self.version)
            before: Entry | None = self.entry if self.version > 1 else None
            self.entry = Entry.after(before, event, self.version, at)

    def _write(self, fields: dict[str, Any]) -> None:
        self._apply(Entry.write(ENTRY, USER, Draft(**fields)))
        self.model = {**fields, "tags": clean_tags(fields["tags"]), "state": "active"}

    @initialize(fields=st.fixed_dictionaries(_fields))
    def write(self, fields: dict[str, Any]) -> None:
        self._write(fields)

    @precondition(lambda self: self.model["state"] == "active")
    @rule(fields=st.fixed_dictionaries({}, optional=_fields))
    def revise(self, fields: dict[str, Any]) -> None:
        before = dict(self.model)
        self.model |= fields
        if "tags" in fields:
            self.model["tags"] = clean_tags(fields["tags"])
        event = self.entry.revise(Changes(**fields))
        assert (event is None) == (before == self.model)
        self._apply(event)

    @rule()
    def delete(self) -> None:
        event = self.entry.delete()
        assert (event is None) == (self.model["state"] == "deleted")
        self._apply(event)
        self.model["state"] = "deleted"

    @rule()
    def restore(self) -> None:
        event = self.entry.restore()
        assert (event is None) == (self.model["state"] == "active")
        self._apply(event)
        self.model["state"] = "active"

    @precondition(lambda self: self.model["state"] == "deleted")
    @rule(fields=st.fixed_dictionaries(_fields))
    def write_again(self, fields: dict[str, Any]) -> None:
        self._write(fields)

    @invariant()
    def the_entry_is_the_model(self) -> None:
        if not self.version:
            return
        assert {name: getattr(self.entry, name) for name in self.model} == self.model
        assert self.entry.version == self.version
        assert self.entry.word_count == len(self.model["content"].split())
        assert self.entry.created_at <= self.entry.updated_at


TestEntryLife = EntryLife.TestCase


def test_events_are_frozen() -> None:
    with pytest.raises(AttributeError):
        WRITTEN.title = "x"  # type: ignore[misc]
    assert isinstance(WRITTEN, EntryWritten)
