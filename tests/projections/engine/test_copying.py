"""What is encoded for COPY is what the server then has."""

from __future__ import annotations

import datetime
import struct
from typing import Any, Literal
from uuid import UUID

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projections.engine.copying import SIGNATURE, TRAILER, RowEncoder
from projections.engine.writer import ViewWriter
from tests.support.diary_view import DDL, Note, Notes
from tests.support.servers import Database

TYPES = {
    "id": "uuid",
    "small": "integer",
    "large": "bigint",
    "day": "date",
    "at": "timestamp with time zone",
    "words": "text",
    "tags": "text[]",
    "yes": "boolean",
    "mood": "text",
    "raw": "text",
    "score": "double precision",
    "numbers": "integer[]",
}

REFUSALS = (AttributeError, UnicodeEncodeError, struct.error, psycopg.DataError)


class Everything(msgspec.Struct, frozen=True):
    id: UUID | None
    small: int | None
    large: int | None
    day: datetime.date | None
    at: datetime.datetime | None
    words: str | None
    tags: list[str | None] | None
    yes: bool | None
    mood: Literal["happy", "säd"] | None
    raw: bytes | None
    score: float | None
    numbers: list[int] | None


_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_rows = st.builds(
    Everything,
    st.none() | st.uuids(),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.dates(),
    st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
    st.none() | _text,
    st.none() | st.lists(st.none() | _text, max_size=4),
    st.none() | st.booleans(),
    st.sampled_from([None, "happy", "säd"]),
    st.none() | _text.map(str.encode),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.lists(st.integers(-9, 9), max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(_rows, min_size=1, max_size=5))
def test_what_is_copied_is_there(database: Database, rows: list[Everything]) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    with psycopg.connect(database.project_dsn, options="-c timezone=UTC") as connection:
        connection.execute(f"CREATE TEMP TABLE everything (n serial, {columns})")
        copy_into(connection, rows)
        raw = "convert_to(raw, 'UTF8')"
        shown = ", ".join(raw if name == "raw" else name for name in TYPES)
        found = connection.cursor(binary=True).execute(f"SELECT {shown} FROM everything ORDER BY n")
        assert [Everything(*row) for row in found] == rows
        connection.rollback()


def copy_into(connection: psycopg.Connection[Any], rows: list[Everything]) -> None:
    numbers = dict(
        connection.execute(
            "SELECT attname::text, atttypid::int8 FROM pg_attribute"
            " WHERE attrelid = 'everything'::regclass"
        ).fetchall()
    )
    encode = RowEncoder(
        connection, Everything, [(kind, numbers[name]) for name, kind in TYPES.items()]
    )
    names = ", ".join(TYPES)
    with connection.cursor().copy(f"COPY everything ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(SIGNATURE)
        copy.write(encode(rows))
        copy.write(TRAILER)


@pytest.mark.parametrize(
    "note",
    [
        Note("no uuid", UUID(int=1), "", 0),  # type: ignore[arg-type]
        Note(UUID(int=1), UUID(int=1), "nul \0", 0),
        Note(UUID(int=1), UUID(int=1), "", 2**31),
        Note(UUID(int=1), UUID(int=1), "lone \ud800", 0),
    ],
)
def test_what_the_column_cannot_hold_is_refused(database: Database, note: Note) -> None:
    """The transaction is the caller's, who can go on after taking it back."""
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute("DROP TABLE IF EXISTS engine_notes")
        connection.execute(DDL)
        writer = ViewWriter(Notes(), connection, "engine_notes")
        with pytest.raises(REFUSALS), connection.transaction():
            writer.replace((UUID(int=1),), note)
        fine = Note(UUID(int=1), UUID(int=2), "é", 3)
        writer.replace((UUID(int=1),), fine)
        row = connection.execute("SELECT note_id, user_id, body, revisions FROM engine_notes")
        assert row.fetchall() == [(fine.note_id, fine.user_id, fine.body, fine.revisions)]
        connection.rollback()
