"""An insight: what a time of a journal was like, asked for, made once, and looked at.

Owns its life and what is counted of the entries. What it says beside the figures is written by an
analyst (``commands/analyst.py``). Private entries are none of its business: nobody hands them in.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal, Self
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.errors import DomainError
from domain.event import Recorded
from domain.faults import Fault
from domain.journal.events import (
    InsightFailed,
    InsightReady,
    InsightRequested,
    InsightType,
    InsightViewed,
    Mood,
    Theme,
)

INSIGHT = "journal.insight"
"""The kind of operation that makes one; permanent. An insight has the id of its operation."""

LONGEST: dict[InsightType, int] = {"weekly": 8, "monthly": 32, "yearly": 367, "custom": 3_700}
"""Days of each type at most. One more than its name says: many count up to the next one's first."""

State = Literal["requested", "ready", "failed"]


class PrivateMode(DomainError):
    """The person is in private mode: no machine reads what they write."""


class InsightRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody wants to know; both dates are inclusive."""

    insight_type: InsightType
    start_date: datetime.date
    end_date: datetime.date


def faults_of(insight_type: object, start: datetime.date, end: datetime.date) -> list[Fault]:
    """What no type can say of what was asked; an unknown type has no length of its own."""
    if end < start:
        message = "end_date must not be before start_date"
        return [Fault("end_date", "before_start_date", message)]
    longest = {str(name): days for name, days in LONGEST.items()}.get(str(insight_type))
    if longest is not None and (end - start).days >= longest:
        message = f"a {insight_type} insight is about at most {longest:,} days"
        return [Fault("end_date", "too_long", message)]
    return []


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as an analyst sees it."""

    date: datetime.date
    title: str
    content: str
    mood: Mood | None = None
    tags: tuple[str, ...] = ()
    location: str | None = None
    word_count: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted; the fields are those of ``InsightReady``."""

    entries_analyzed: int
    words: int
    most_productive_day: datetime.date | None
    mood_distribution: dict[Mood, float]
    dominant_mood: Mood | None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What an analyst tells; ``generated_by`` is the model and its version."""

    summary: str
    themes: tuple[Theme, ...] = ()
    milestones: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    generated_by: str


def figures_of(pages: Sequence[Page]) -> Figures:
    """Count the entries of a time; of equal days the first one is the most productive."""
    moods = Counter(page.mood for page in pages if page.mood is not None)
    fullest = max(pages, key=lambda page: (page.word_count, -page.date.toordinal()), default=None)
    # Of moods that are equally frequent the one that came last.
    latest = {page.mood: page.date for page in sorted(pages, key=lambda page: page.date)}
    dominant = max(moods, key=lambda mood: (moods[mood], latest[mood]), default=None)
    return Figures(
        entries_analyzed=len(pages),
        words=sum(page.word_count for page in pages),
        most_productive_day=fullest.date if fullest is not None else None,
        mood_distribution=per_cent(moods),
        dominant_mood=dominant,
    )


def per_cent(counts: Counter[Mood]) -> dict[Mood, float]:
    """Shares with two decimals that add up to exactly 100, the most frequent first."""
    total = sum(counts.values())
    shares = {mood: divmod(count * 10_000, total) for mood, count in counts.most_common()}
    missing = 10_000 - sum(whole for whole, _ in shares.values()) if shares else 0
    rounded_up = sorted(shares, key=lambda mood: -shares[mood][1])[:missing]
    return {mood: (whole + (mood in rounded_up)) / 100 for mood, (whole, _) in shares.items()}


class Insight(msgspec.Struct, frozen=True, kw_only=True):
    """An insight as its stream says it is; ``told`` is there once it is ready."""

    CATEGORY: ClassVar[str] = INSIGHT
    SNAPSHOT: ClassVar[str] = "journal.Insight.1"

    insight_id: UUID
    user_id: UUID
    insight_type: InsightType
    start_date: datetime.date
    end_date: datetime.date
    requested_at: datetime.datetime
    scheduled: bool
    state: State = "requested"
    told: InsightReady | None = None
    viewed_on: datetime.date | None = None
    version: int

    @classmethod
    def stream(cls, insight_id: UUID) -> str:
        """The insight's stream."""
        return f"{cls.CATEGORY}-{insight_id}"

    @classmethod
    def request(
        cls,
        insight_id: UUID,
        user_id: UUID,
        asked: InsightRequest,
        at: datetime.datetime,
        *,
        scheduled: bool = False,
    ) -> InsightRequested:
        """Somebody wants to know, or the calendar says that it is time."""
        return InsightRequested(
            insight_id=insight_id,
            user_id=user_id,
            insight_type=asked.insight_type,
            start_date=asked.start_date,
            end_date=asked.end_date,
            requested_at=at,
            scheduled=scheduled,
        )

    def complete(self, figures: Figures, account: Account) -> InsightReady | None:
        """It is there; None if it was before, or has failed."""
        if self.state != "requested":
            return None
        return InsightReady(
            insight_id=self.insight_id,
            user_id=self.user_id,
            requested_at=self.requested_at,
            scheduled=self.scheduled,
            **msgspec.structs.asdict(figures),
            **msgspec.structs.asdict(account),
        )

    def fail(self, code: str) -> InsightFailed | None:
        """It will not be there; None if that is settled."""
        if self.state != "requested":
            return None
        return InsightFailed(
            insight_id=self.insight_id,
            user_id=self.user_id,
            requested_at=self.requested_at,
            code=code,
        )

    def view(self, on: datetime.date) -> InsightViewed | None:
        """The person looks at it; None if they have that day, or there is nothing to see."""
        if self.state != "ready" or (self.viewed_on is not None and on <= self.viewed_on):
            return None
        return InsightViewed(insight_id=self.insight_id, user_id=self.user_id, on=on)

    @classmethod
    def evolve(cls, state: Self | None, recorded: Recorded) -> Self:
        """The insight after one more event of its stream."""
        event, version = recorded.event, recorded.stream_version
        match event:
            case InsightRequested():
                return cls(
                    insight_id=event.insight_id,
                    user_id=event.user_id,
                    insight_type=event.insight_type,
                    start_date=event.start_date,
                    end_date=event.end_date,
                    requested_at=event.requested_at,
                    scheduled=event.scheduled,
                    version=version,
                )
            case InsightReady() if state is not None:
                return replace(state, state="ready", told=event, version=version)
            case InsightFailed() if state is not None:
                return replace(state, state="failed", version=version)
            case InsightViewed() if state is not None:
                return replace(state, viewed_on=event.on, version=version)
        raise TypeError(f"{type(event).__name__} cannot follow here in the stream of an insight")
