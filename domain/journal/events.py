"""What can happen to a journal entry.

All events of one entry are one stream, ``journal.entry-<entry_id>``. Each says whose entry it is,
so that a projection needs no other stream to place it. Text about a person is ``Personal``.
"""

from __future__ import annotations

import datetime
from typing import ClassVar, Literal
from uuid import UUID

from msgspec import UNSET, UnsetType

from domain.event import Event, Personal

Mood = Literal["ecstatic", "happy", "neutral", "sad", "anxious", "angry"]
"""How a day felt."""


class EntryWritten(Event, frozen=True, kw_only=True, gc=False):
    """A day's entry begins, for the first time or afresh after a deletion.

    ``word_count`` is of the content alone, runs of characters between white space.
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


class EntryRevised(Event, frozen=True, kw_only=True, gc=False):
    """Some fields have new values; those that kept theirs are unset.

    ``word_count`` is set whenever ``content`` is.
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
