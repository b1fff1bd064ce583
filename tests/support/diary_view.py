"""A small view for the engine's own tests: it does not change when the product does."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.event import Event, Recorded
from projections.engine.view import RowView

DDL = """
CREATE TABLE engine_notes (
    note_id uuid PRIMARY KEY, user_id uuid NOT NULL, body text NOT NULL, revisions integer NOT NULL
);
ALTER TABLE engine_notes OWNER TO mindstream_project;
"""


class NoteWritten(Event, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "engine.NoteWritten.v1"
    note_id: UUID
    user_id: UUID
    body: str


class NoteRevised(Event, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "engine.NoteRevised.v1"
    note_id: UUID
    user_id: UUID | None = None
    body: str


class NoteTornUp(Event, frozen=True, kw_only=True):
    TOPIC: ClassVar[str] = "engine.NoteTornUp.v1"
    note_id: UUID


class Note(msgspec.Struct, frozen=True):
    note_id: UUID
    user_id: UUID
    body: str
    revisions: int


class Notes(RowView[Note]):
    name = "engine.notes"
    takes = (NoteWritten, NoteRevised, NoteTornUp)
    table = "engine_notes"
    row = Note
    key = ("note_id",)

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        return ((recorded.event.note_id,),)  # type: ignore[attr-defined]

    def fold(self, key: tuple[Any, ...], row: Note | None, recorded: Recorded) -> Note | None:
        match recorded.event:
            case NoteWritten(note_id=note, user_id=user, body=body):
                return Note(note, user, body, 0)
            case NoteRevised(body=body):
                if body == "poison":
                    raise ValueError("a note that cannot be folded")
                assert row is not None
                return Note(row.note_id, row.user_id, body, row.revisions + 1)
            case _:
                return None
