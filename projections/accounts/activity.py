"""What people did and when: the eight types of activity, one by one and counted.

Two views of the same events. ``Activities`` has a row for each, which may be dropped after six
months. ``ActivityCounts`` has how often each type came in each quarter of an hour, for ever: local
hours and days of every zone of today begin with such a quarter, so that series are exact in all of
them. By the time at which an event was recorded.

Owns the tables ``accounts_activity_events`` and ``accounts_activity_counts``;
``projections/accounts/series.py`` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal, get_args
from uuid import UUID

import msgspec

from domain.accounts.events import LoggedIn, LoggedOut, ProfileRevised, SettingsRevised
from domain.event import Event, Recorded
from domain.journal.events import (
    EntryDeleted,
    EntryRestored,
    EntryRevised,
    EntryWritten,
    InsightViewed,
)
from projections.engine.view import RowView

Activity = Literal[
    "login",
    "logout",
    "entry_created",
    "entry_updated",
    "entry_deleted",
    "insight_viewed",
    "settings_updated",
    "profile_updated",
]
ACTIVITIES: tuple[Activity, ...] = get_args(Activity)
ACTIVITY_OF: Mapping[type[Event], Activity] = {
    LoggedIn: "login",
    LoggedOut: "logout",
    EntryWritten: "entry_created",
    EntryRevised: "entry_updated",
    EntryRestored: "entry_updated",
    EntryDeleted: "entry_deleted",
    InsightViewed: "insight_viewed",
    SettingsRevised: "settings_updated",
    ProfileRevised: "profile_updated",
}
"""What each event is as an activity; each names the person as ``user_id``."""

KEEP_DAYS = 183
"""Six months: how long single activities are kept at least, by recorded time."""
QUARTER = timedelta(minutes=15)


class ActivityRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``accounts_activity_events``; ``target`` is the stream that it happened to."""

    position: int
    time: datetime
    user_id: UUID
    tenant_id: UUID
    event_type: Activity
    target: str


class CountRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``accounts_activity_counts``: how often, in the quarter that begins then."""

    user_id: UUID
    quarter: datetime
    event_type: Activity
    tenant_id: UUID
    events: int


class Activities(RowView[ActivityRow]):
    """The view ``accounts.activity_events``, a time series: old rows are dropped by chunks."""

    name: ClassVar[str] = "accounts.activity_events"
    takes: ClassVar[tuple[type[Event], ...]] = tuple(ACTIVITY_OF)
    table: ClassVar[str] = "accounts_activity_events"
    row: ClassVar[type[msgspec.Struct]] = ActivityRow
    key: ClassVar[tuple[str, ...]] = ("position", "time")
    grows_by: ClassVar[str | None] = "position"
    timed: ClassVar[str | None] = "time"
    store: ClassVar[str] = "timeseries"

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The event itself."""
        return ((recorded.position, recorded.recorded_at),)

    def creates(self, recorded: Recorded) -> bool:
        """Each event begins a row, and none changes one."""
        return True

    def fold(
        self, key: tuple[Any, ...], row: ActivityRow | None, recorded: Recorded
    ) -> ActivityRow:
        """The event's row."""
        return ActivityRow(
            recorded.position,
            recorded.recorded_at,
            recorded.event.user_id,  # type: ignore[attr-defined]  # all that it takes have
            recorded.tenant_id,
            ACTIVITY_OF[type(recorded.event)],
            recorded.stream_id,
        )


class ActivityCounts(RowView[CountRow]):
    """The view ``accounts.activity_counts``."""

    name: ClassVar[str] = "accounts.activity_counts"
    takes: ClassVar[tuple[type[Event], ...]] = tuple(ACTIVITY_OF)
    table: ClassVar[str] = "accounts_activity_counts"
    store: ClassVar[str] = "timeseries"
    row: ClassVar[type[msgspec.Struct]] = CountRow
    key: ClassVar[tuple[str, ...]] = ("user_id", "quarter", "event_type", "tenant_id")
    partitioned: ClassVar[bool] = False  # a row counts events of many streams

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """Who, in which quarter of an hour, what and where."""
        event = recorded.event
        return (
            (
                event.user_id,  # type: ignore[attr-defined]  # all that it takes have
                quarter_of(recorded.recorded_at),
                ACTIVITY_OF[type(event)],
                recorded.tenant_id,
            ),
        )

    def creates(self, recorded: Recorded) -> bool:
        """Any event may be the first of its quarter, and none need be."""
        return False

    def fold(self, key: tuple[Any, ...], row: CountRow | None, recorded: Recorded) -> CountRow:
        """One more."""
        user_id, quarter, event_type, tenant_id = key
        before = 0 if row is None else row.events
        return CountRow(user_id, quarter, event_type, tenant_id, before + 1)


def quarter_of(time: datetime) -> datetime:
    """The beginning of its quarter of an hour, in UTC."""
    return time.replace(minute=time.minute - time.minute % 15, second=0, microsecond=0)


def kept_since(
    keep_days: int = KEEP_DAYS, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> datetime:
    """The beginning of the first day whose single activities are kept."""
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=keep_days)
