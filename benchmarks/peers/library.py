"""The eventsourcing library as it comes: aggregate, application, recorder, projection runner.

Default settings throughout, JSON transcoding and NOTIFY included; the view does what the library's
documentation shows, row and tracking in one transaction for each event.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL

from benchmarks import material


class Entry(Aggregate):
    """A journal entry, the library's way."""

    @event("Written")
    def __init__(
        self,
        *,
        user_id: UUID,
        date: str,
        title: str,
        content: str,
        mood: str | None,
        location: str | None,
        tags: list[str],
        word_count: int,
    ) -> None:
        self.user_id = user_id
        self.date = date
        self.title = title
        self.content = content
        self.mood = mood
        self.location = location
        self.tags = tags
        self.word_count = word_count


def entry(user_id: UUID, day: int) -> Entry:
    """A new entry with the same text as ours."""
    return Entry(user_id=user_id, word_count=len(material.CONTENT.split()), **material.fields(day))


class Journal(Application[UUID]):
    """Saves entries."""


_CREATE_ENTRIES = SQL("""
CREATE TABLE IF NOT EXISTS peer_entries (
    entry_id uuid PRIMARY KEY, user_id uuid NOT NULL, date date NOT NULL, title text NOT NULL,
    content text NOT NULL, mood text, location text, tags text[] NOT NULL,
    word_count integer NOT NULL, version integer NOT NULL, updated_at timestamptz NOT NULL)
""").format()
_INDEX_ENTRIES = SQL(
    "CREATE INDEX IF NOT EXISTS peer_entries_day ON peer_entries (user_id, date, entry_id)"
).format()
_UPSERT = SQL("""
INSERT INTO peer_entries VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (entry_id) DO UPDATE SET date = excluded.date, title = excluded.title,
    content = excluded.content, mood = excluded.mood, location = excluded.location,
    tags = excluded.tags, word_count = excluded.word_count, version = excluded.version,
    updated_at = excluded.updated_at
""")


class EntriesView(PostgresTrackingRecorder):
    """The entry list as a table beside the library's tracking table."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements += [_CREATE_ENTRIES, _INDEX_ENTRIES]

    def put(self, row: Sequence[Any], tracking: Tracking) -> None:
        """Write one entry and how far we are."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(_UPSERT, row, prepare=True)


class EntriesProjection(Projection[EntriesView]):
    """Folds ``Entry.Written`` into the view."""

    name = "entries"
    topics = (get_topic(Entry.Written),)  # type: ignore[attr-defined]  # made by @event

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Write the entry of the event."""
        self.view.put(
            (
                domain_event.originator_id,
                domain_event.user_id,
                domain_event.date,
                domain_event.title,
                domain_event.content,
                domain_event.mood,
                domain_event.location,
                domain_event.tags,
                domain_event.word_count,
                domain_event.originator_version,
                domain_event.timestamp,
            ),
            tracking,
        )


def environment(dsn: str) -> dict[str, str]:
    """The library's settings for the database at ``dsn``; all others are its defaults."""
    parts = urlsplit(dsn)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": parts.path.removeprefix("/"),
        "POSTGRES_HOST": parse_qs(parts.query)["host"][0],
        "POSTGRES_PORT": "5432",
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_PASSWORD": "",
    }


def runner(dsn: str) -> ProjectionRunner[Journal, EntriesView]:
    """The library's runner, at work from the moment that this returns."""
    return ProjectionRunner(
        application_class=Journal,
        projection_class=EntriesProjection,
        view_class=EntriesView,
        env=environment(dsn),
    )
