"""What can happen in a journal: to an entry, to an insight, and to whoever writes.

All events of one entry are one stream, ``journal.entry-<entry_id>``; those of an insight are
``journal.insight-<insight_id>``, and reminders ``journal.reminders-<user_id>``. Each says whose it
is, so that a projection needs no other stream to place it. Text about a person is ``Personal``.
"""

from __future__ import annotations

import datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from domain.event import Event, Personal

Mood = Literal["ecstatic", "happy", "neutral", "sad", "anxious", "angry"]
"""How a day felt."""

InsightType = Literal["weekly", "monthly", "yearly", "custom"]


class Theme(msgspec.Struct, frozen=True, gc=False):
    """What comes back in a time: in how many entries, with which words, and in which tone.

    ``sentiment`` is from -1 (dark) to 1 (bright).
    """

    name: Personal
    frequency: int
    sentiment: float
    related_words: tuple[Personal, ...] = ()


class EntryWritten(Event, frozen=True, kw_only=True, gc=False):
    """A day's entry begins, for the first time or afresh after a deletion.

    ``word_count`` is of the content alone, runs of characters between white space.
    ``mood_inferred`` is what a machine read from the text, where nobody gave a mood and the person
    asked for that.
    """

    TOPIC: ClassVar[str] = "journal.EntryWritten.v1"

    entry_id: UUID
    user_id: UUID
    date: datetime.date
    title: Personal
    content: Personal
    mood: Mood | None
    location: Personal | None
    weather: Personal | None
    tags: tuple[Personal, ...]
    is_private: bool
    word_count: int
    mood_inferred: Mood | UnsetType = UNSET


class EntryRevised(Event, frozen=True, kw_only=True, gc=False):
    """Some fields have new values; those that kept theirs are unset.

    ``word_count`` is set whenever ``content`` is; ``mood_inferred`` where another one, or none,
    comes of the change.
    """

    TOPIC: ClassVar[str] = "journal.EntryRevised.v1"

    entry_id: UUID
    user_id: UUID
    date: datetime.date | UnsetType = UNSET
    title: Personal | UnsetType = UNSET
    content: Personal | UnsetType = UNSET
    mood: Mood | UnsetType | None = UNSET
    location: Personal | UnsetType | None = UNSET
    weather: Personal | UnsetType | None = UNSET
    tags: tuple[Personal, ...] | UnsetType = UNSET
    is_private: bool | UnsetType = UNSET
    word_count: int | UnsetType = UNSET
    mood_inferred: Mood | UnsetType | None = UNSET


class EntryDeleted(Event, frozen=True, kw_only=True, gc=False):
    """The entry is hidden and its day is free; it can be restored."""

    TOPIC: ClassVar[str] = "journal.EntryDeleted.v1"

    entry_id: UUID
    user_id: UUID
    date: datetime.date


class EntryRestored(Event, frozen=True, kw_only=True, gc=False):
    """The entry is back as it was before its deletion."""

    TOPIC: ClassVar[str] = "journal.EntryRestored.v1"

    entry_id: UUID
    user_id: UUID
    date: datetime.date


class InsightRequested(Event, frozen=True, kw_only=True):
    """Somebody wants to know what a time was like; both dates are inclusive.

    ``scheduled`` says that nobody asked but the calendar, so that a letter tells of it.
    """

    TOPIC: ClassVar[str] = "journal.InsightRequested.v1"

    insight_id: UUID
    user_id: UUID
    insight_type: InsightType
    start_date: datetime.date
    end_date: datetime.date
    requested_at: datetime.datetime
    scheduled: bool = False


class InsightReady(Event, frozen=True, kw_only=True):
    """The insight is there.

    The figures are counted, whoever wrote the rest: ``generated_by`` names that model and its
    version. ``mood_distribution`` is per cent of the entries with a mood, those moods alone that
    occur; ``most_productive_day`` the date with most words, None without entries.
    """

    TOPIC: ClassVar[str] = "journal.InsightReady.v1"

    insight_id: UUID
    user_id: UUID
    requested_at: datetime.datetime
    summary: Personal
    entries_analyzed: int
    words: int
    most_productive_day: datetime.date | None
    mood_distribution: dict[Mood, float]
    dominant_mood: Mood | None
    themes: tuple[Theme, ...]
    milestones: tuple[Personal, ...]
    suggestions: tuple[Personal, ...]
    generated_by: str
    scheduled: bool = False


class InsightFailed(Event, frozen=True, kw_only=True):
    """The insight will not be there; ``code`` is stable and says why."""

    TOPIC: ClassVar[str] = "journal.InsightFailed.v1"

    insight_id: UUID
    user_id: UUID
    requested_at: datetime.datetime
    code: str


class InsightViewed(Event, frozen=True, kw_only=True):
    """The person looked at it: at most one of these for an insight and a day (of UTC)."""

    TOPIC: ClassVar[str] = "journal.InsightViewed.v1"

    insight_id: UUID
    user_id: UUID
    on: datetime.date


class WriterReminded(Event, frozen=True, kw_only=True):
    """Somebody who wants that is to be reminded to write; ``on`` is the date where they are."""

    TOPIC: ClassVar[str] = "journal.WriterReminded.v1"

    user_id: UUID
    on: datetime.date


class AttachmentAdded(Event, frozen=True, kw_only=True, gc=False):
    """A file belongs to the entry; it was looked at and is what it was said to be.

    ``object_id`` names its bytes in the object store, which never change; ``sha256`` is theirs, in
    hexadecimal.
    """

    TOPIC: ClassVar[str] = "journal.AttachmentAdded.v1"

    entry_id: UUID
    user_id: UUID
    attachment_id: UUID
    object_id: UUID
    filename: Personal
    content_type: str
    size_bytes: int
    sha256: Personal


class ThumbnailMade(Event, frozen=True, kw_only=True, gc=False):
    """There is a small picture of an attached image; ``object_id`` names its bytes."""

    TOPIC: ClassVar[str] = "journal.ThumbnailMade.v1"

    entry_id: UUID
    user_id: UUID
    attachment_id: UUID
    object_id: UUID


class AttachmentRemoved(Event, frozen=True, kw_only=True, gc=False):
    """The entry has this file no longer; its bytes go after a while."""

    TOPIC: ClassVar[str] = "journal.AttachmentRemoved.v1"

    entry_id: UUID
    user_id: UUID
    attachment_id: UUID
