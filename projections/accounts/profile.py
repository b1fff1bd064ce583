"""A person's profile with the totals of their journal: kept for all processes.

Owns what is kept and how it is named. Totals are expensive: they are counted over all days.
"""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from domain.accounts.person import Person
from domain.journal.events import EntryDeleted, EntryRestored, EntryRevised, EntryWritten
from projections.accounts.people import People
from projections.caching import Kind

PROFILE = Kind(
    name="profile",
    key="user:{user}:profile",
    lifetime=60 * 60,
    views=(People.name, "journal.days"),
    takes=(*People.takes, EntryWritten, EntryRevised, EntryDeleted, EntryRestored),
)


class KnownTotals(msgspec.Struct, frozen=True, array_like=True):
    """``projections.accounts.people.Totals`` as they are kept."""

    current_streak: int
    longest_streak: int
    total_entries: int
    total_words: int
    avg_words_per_entry: int


class Profile(msgspec.Struct, frozen=True, array_like=True):
    """A person, and their totals as of ``today``, which is their date."""

    person: Person
    last_login_at: datetime | None
    today: date
    totals: KnownTotals
