"""Random notes appended to a real store, and the same notes folded in plain Python."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from eventsourcing.persistence import StoredEvent
from uuid_utils.compat import uuid7

from adapters.event_store.mapper import encode
from adapters.event_store.recorder import PostgresRecorder, open_pool
from adapters.event_store.source import PostgresSource
from domain.accounts.events import SubjectErased
from domain.event import Event
from projections.engine.runner import Runner
from tests.support.diary_view import Note, NoteRevised, Notes, NoteTornUp, NoteWritten
from tests.support.servers import Database

USER = UUID(int=7)


class Diary:
    """Random notes appended to the store, and the same notes folded in plain Python."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.pool = open_pool(database.write_dsn, role="mindstream_write", size=2)
        self.recorder = PostgresRecorder(self.pool)
        self.versions: dict[UUID, int] = {}
        self.model: dict[UUID, Note] = {}
        self.random = random.Random(7)
        self.opened: list[Runner | PostgresSource] = []

    def append(self, *events: Event) -> None:
        for event in events:
            self._fold(event)
        self._store(events)

    def some(self, count: int) -> None:
        events: list[Event] = []
        for _ in range(count):
            alive = list(self.model)
            dice = self.random.random()
            if not alive or dice < 0.5:
                event: Event = NoteWritten(note_id=uuid7(), user_id=USER, body=str(dice))
            elif dice < 0.9:
                event = NoteRevised(note_id=self.random.choice(alive), body=str(dice))
            else:
                event = NoteTornUp(note_id=self.random.choice(alive))
            self._fold(event)
            events.append(event)
        self._store(events)

    def erase(self, user: UUID) -> None:
        """Append that somebody was erased, on a stream that has no note."""
        self.model = {key: row for key, row in self.model.items() if row.user_id != user}
        event = SubjectErased(user_id=user)
        self.recorder.insert_events(
            [StoredEvent(f"accounts.person-{user}", 1, event.TOPIC, encode(event))]
        )

    def append_late(self, *events: Event) -> None:
        """Append events that lead to nothing, since their person was erased."""
        self._store(events)

    def _store(self, events: Sequence[Event]) -> None:
        stored = []
        for event in events:
            note: UUID = event.note_id  # type: ignore[attr-defined]
            version = self.versions[note] = self.versions.get(note, 0) + 1
            stored.append(StoredEvent(f"engine.note-{note}", version, event.TOPIC, encode(event)))
        self.recorder.insert_events(stored)

    def _fold(self, event: Event) -> None:
        match event:
            case NoteWritten(note_id=note, user_id=user, body=body):
                self.model[note] = Note(note, user, body, 0)
            case NoteRevised(note_id=note, body=body) if body != "poison":
                row = self.model[note]
                self.model[note] = msgspec.structs.replace(
                    row, body=body, revisions=row.revisions + 1
                )
            case NoteTornUp(note_id=note):
                del self.model[note]

    def rows(self) -> dict[UUID, Note]:
        with psycopg.connect(self.database.owner_dsn) as connection:
            found = connection.execute("SELECT note_id, user_id, body, revisions FROM engine_notes")
            return {row[0]: Note(*row) for row in found}

    def checkpoint(self) -> dict[str, Any]:
        """That of the hindmost partition."""
        with psycopg.connect(self.database.owner_dsn) as connection:
            cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
            row = cursor.execute(
                "SELECT * FROM projection_checkpoints ORDER BY position LIMIT 1"
            ).fetchone()
            assert row is not None
            return row

    def owners(self) -> dict[int, str]:
        """Whose each partition is, as the process says it."""
        with psycopg.connect(self.database.owner_dsn) as connection:
            return dict(
                connection.execute(
                    "SELECT partition, owner FROM projection_checkpoints WHERE owner IS NOT NULL"
                ).fetchall()
            )

    def runner(self, view: Notes | None = None, **options: Any) -> Runner:
        made = Runner(self.database.write_dsn, self.source(), [view or Notes()], **options)
        self.opened.append(made)
        return made

    @property
    def sources(self) -> Callable[[], PostgresSource]:
        """Makes sources for rebuilds, in this process or another."""
        return functools.partial(PostgresSource, self.database.write_dsn)

    def source(self) -> PostgresSource:
        made = PostgresSource(self.database.write_dsn)
        self.opened.append(made)
        return made
