"""A few people's moods over years, as events in memory, and what they come to in plain Python."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args
from uuid import UUID

from msgspec import UNSET

from domain.accounts.events import SubjectErased
from domain.event import Event, Recorded
from domain.journal.entry import stream_of
from domain.journal.events import EntryDeleted, EntryRestored, EntryRevised, EntryWritten, Mood
from projections.accounts.activity import ACTIVITY_OF
from projections.engine.source import WHOLE, Slice
from projections.journal.daily import TENTHS

PEOPLE = tuple(UUID(int=number) for number in (1, 2, 3))
TENANT = UUID(int=99)
Day = tuple[date, UUID]
Sums = tuple[int, Decimal, str, int]
"""Entries, average score, commonest mood, words."""
Week = tuple[int, int, int, int]
"""Logins, entries created, entries updated, everything."""


class KnownEvents:
    """``EventSource`` of a list; ``hashes`` of streams are needed for a part of it."""

    def __init__(self, events: Sequence[Recorded], hashes: Mapping[str, int]) -> None:
        self.events = events
        self.hashes = hashes

    def head(self) -> int:
        return self.events[-1].position if self.events else 0

    def page(
        self, after: int, through: int, limit: int, topics: Sequence[str], part: Slice = WHOLE
    ) -> Sequence[Recorded]:
        found = self.events[after:through]
        if not part.whole:
            found = [
                one for one in found if self.hashes[one.stream_id] % part.of in part.partitions
            ]
        return [one for one in found if one.event.TOPIC in topics][:limit]

    def stream(
        self, stream_id: str, after: int, through: int, topics: Sequence[str]
    ) -> Sequence[Recorded]:
        found = self.events[after:through]
        return [one for one in found if one.stream_id == stream_id and one.event.TOPIC in topics]

    def streams(
        self, topics: Sequence[str], from_: datetime | None, to: datetime | None
    ) -> list[tuple[str, int]]:
        mine = [one for one in self.events if one.event.TOPIC in topics]
        found = {
            one.stream_id
            for one in mine
            if (from_ is None or one.recorded_at >= from_) and (to is None or one.recorded_at < to)
        }
        counts = Counter(one.stream_id for one in mine if one.stream_id in found)
        return sorted(counts.items())

    def count(self, after: int, through: int, topics: Sequence[str]) -> int:
        return len(self.page(after, through, 1 << 60, topics))

    def tally(
        self,
        topics: Sequence[str],
        from_: datetime | None = None,
        to: datetime | None = None,
        *,
        stream_id: str | None = None,
    ) -> dict[str, int]:
        streams = {name for name, _ in self.streams(topics, from_, to)}
        wanted = streams if stream_id is None else streams & {stream_id}
        found = Counter(one.event.TOPIC for one in self.events if one.stream_id in wanted)
        return {topic: found[topic] for topic in topics if found[topic]}

    def wait(self, seconds: float) -> None:
        return

    def close(self) -> None:
        return


class Moods:
    """Events that are added one after the other, and the rows that they come to."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)
        self.events: list[Recorded] = []
        self.rows: dict[UUID, dict[str, Any]] = {}
        self.hashes: dict[str, int] = {}
        self._versions: dict[str, int] = {}

    @property
    def source(self) -> KnownEvents:
        return KnownEvents(self.events, self.hashes)

    def position_before(self, at: datetime) -> int:
        return max((one.position for one in self.events if one.recorded_at < at), default=0)

    def add(self, event: Event, at: datetime) -> None:
        entry: UUID | None = getattr(event, "entry_id", None)
        stream = stream_of(entry) if entry else f"accounts.person-{event.user_id}"  # type: ignore[attr-defined]
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        self.events.append(
            Recorded(
                position=len(self.events) + 1,
                stream_id=stream,
                stream_version=version,
                tenant_id=TENANT,
                recorded_at=at,
                event=event,
            )
        )
        self._fold(event, at)

    def write(self, at: datetime, *, user: UUID | None = None, mood: Mood | None = None) -> UUID:
        """An entry about a day long before."""
        entry = UUID(int=self.random.getrandbits(128))
        self.add(
            EntryWritten(
                entry_id=entry,
                user_id=user or self.random.choice(PEOPLE),
                date=date(1660, 1, 1) + timedelta(days=len(self.events)),
                title="t",
                content="c",
                mood=mood or self.random.choice((*get_args(Mood), None)),
                location=None,
                weather=None,
                tags=("a",),
                is_private=False,
                word_count=self.random.randrange(1, 99),
            ),
            at,
        )
        return entry

    def some(self, count: int, since: datetime, until: datetime) -> None:
        """Entries written, revised, deleted and restored, in order of time."""
        step = (until - since) / count
        for number in range(count):
            at = since + number * step
            dice = self.random.random()
            if dice < 0.6 or not self.rows:
                self.write(at)
                continue
            entry = self.random.choice(list(self.rows))
            row = self.rows[entry]
            if not row["active"]:
                self.add(EntryRestored(entry_id=entry, user_id=row["user"], date=date.min), at)
            elif dice < 0.9:
                mood = self.random.choice((*get_args(Mood), None))
                words = self.random.choice((UNSET, 5))
                self.add(
                    EntryRevised(entry_id=entry, user_id=row["user"], mood=mood, word_count=words),
                    at,
                )
            else:
                self.add(EntryDeleted(entry_id=entry, user_id=row["user"], date=date.min), at)

    def _fold(self, event: Event, at: datetime) -> None:
        if isinstance(event, SubjectErased):
            self.rows = {key: row for key, row in self.rows.items() if row["user"] != event.user_id}
        elif isinstance(event, EntryWritten):
            self.rows[event.entry_id] = {
                "time": at, "user": event.user_id, "mood": event.mood, "words": event.word_count,
                "active": True,
            }  # fmt: skip
        elif (row := self.rows.get(event.entry_id)) is not None:  # type: ignore[attr-defined]
            if isinstance(event, EntryRevised):
                row["mood"] = row["mood"] if event.mood is UNSET else event.mood
                row["words"] = row["words"] if event.word_count is UNSET else event.word_count
            else:
                row["active"] = isinstance(event, EntryRestored)

    def shown(self, since: datetime) -> list[tuple[UUID, datetime, str, float, int]]:
        """What ``mood_events`` has of rows since a time."""
        return sorted(
            (key, row["time"], row["mood"], TENTHS[row["mood"]] / 10, row["words"])
            for key, row in self.rows.items()
            if row["active"] and row["mood"] and row["time"] >= since
        )

    def sums(self) -> dict[Day, Sums]:
        """What ``mood_daily_summary`` has if nothing was ever dropped."""
        days: dict[Day, list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows.values():
            if row["active"] and row["mood"]:
                days[row["time"].astimezone(UTC).date(), row["user"]].append(row)
        return {day: _sums(rows) for day, rows in days.items()}

    def weeks(self) -> dict[Day, Week]:
        """What ``user_weekly_activity`` has."""
        erased = {one.event.user_id for one in self.events if type(one.event) is SubjectErased}
        found: dict[Day, Counter[str]] = defaultdict(Counter)
        for one in self.events:
            if type(one.event) in ACTIVITY_OF and one.event.user_id not in erased:  # type: ignore[attr-defined]
                week = (_monday(one.recorded_at), one.event.user_id)  # type: ignore[attr-defined]
                found[week][ACTIVITY_OF[type(one.event)]] += 1
        return {
            week: (0, types["entry_created"], types["entry_updated"], types.total())
            for week, types in found.items()
        }


def _monday(at: datetime) -> date:
    day = at.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def _sums(rows: list[dict[str, Any]]) -> Sums:
    scores = [Decimal(TENTHS[row["mood"]]) / 10 for row in rows]
    counts = Counter(row["mood"] for row in rows)
    commonest = min(counts, key=lambda mood: (-counts[mood], mood))
    average = (sum(scores) / len(scores)).quantize(Decimal("0.0001"), "ROUND_HALF_UP")
    return len(rows), average, commonest, sum(row["words"] for row in rows)
