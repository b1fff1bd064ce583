"""The files of exports in the write database, in pieces sealed with their person's key.

So a file becomes unreadable with that person's events, in backups too. Owns the SQL on ``exports``
and ``export_pieces``. Implements the ports ``Exports`` of ``workers/exports/work.py`` and ``Files``
of ``read_api/exports.py``, which are small so that an object store can take the pieces instead; and
``Events``, which reads what is stored of a person.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.event_store.mapper import ORIGIN, shown, subjects_in
from adapters.event_store.subject_keys import SubjectKeys
from adapters.postgres.pipeline import Pipeline, Statement
from domain.export import ExportFile, ExportResult, OpenedEvent, Overtaken

SET_EXPORT = Statement(
    "set_export", "SELECT set_config('mindstream.export_id', $1, true)", ("text",)
)
"""Row-level security shows this export to a reader for the rest of the transaction."""

BEGIN = Statement(
    "export_begin",
    """
    INSERT INTO exports (export_id, user_id, run) VALUES ($1, $2, $3)
    ON CONFLICT (export_id) DO UPDATE SET run = excluded.run, begun_at = now()
        WHERE exports.ready_at IS NULL
    """,
    ("uuid", "uuid", "uuid"),
)
CLEAR = Statement(
    "export_clear",
    "DELETE FROM export_pieces p USING exports e"
    " WHERE e.export_id = $1 AND p.export_id = e.export_id AND p.run <> e.run",
    ("uuid",),
)
# The lock keeps whoever begins anew, or erases, from overlooking this piece.
ADD = Statement(
    "export_add",
    """
    WITH current AS (
        SELECT export_id FROM exports
        WHERE export_id = $1 AND run = $2 AND ready_at IS NULL FOR SHARE
    )
    INSERT INTO export_pieces (export_id, run, piece_no, data)
    SELECT export_id, $2, $3, $4 FROM current RETURNING piece_no
    """,
    ("uuid", "uuid", "int4", "bytea"),
)
COMPLETE = Statement(
    "export_complete",
    "UPDATE exports SET ready_at = now(), expires_at = $3, result = $4::json"
    " WHERE export_id = $1 AND run = $2 AND ready_at IS NULL RETURNING export_id",
    ("uuid", "uuid", "timestamptz", "text"),
)
READY = Statement(
    "export_ready",
    "SELECT export_id, user_id, run, ready_at, result::text FROM exports"
    " WHERE export_id = $1 AND ready_at IS NOT NULL AND expires_at > now()",
    ("uuid",),
)
PIECE = Statement(
    "export_piece",
    "SELECT data FROM export_pieces WHERE export_id = $1 AND run = $2 AND piece_no = $3",
    ("uuid", "uuid", "int4"),
)
DROP = Statement("export_drop", "DELETE FROM exports WHERE export_id = $1", ("uuid",))
ERASE = Statement(
    "export_erase",
    "WITH gone AS (DELETE FROM exports WHERE user_id = $1 RETURNING 1) SELECT count(*) FROM gone",
    ("uuid",),
)
SWEEP = Statement(
    "export_sweep",
    """
    WITH gone AS (
        DELETE FROM exports e
        WHERE expires_at < now() OR (ready_at IS NULL AND NOT EXISTS (
            SELECT FROM operations o
            WHERE o.id = e.export_id AND o.state IN ('pending', 'running')))
        RETURNING 1
    )
    SELECT count(*) FROM gone
    """,
    (),
)

OPENED = Statement(
    "export_events",
    "SELECT position, stream_id, stream_version, topic, recorded_at, actor, correlation_id, data"
    " FROM events WHERE stream_id = ANY ($1) ORDER BY stream_id, stream_version",
    ("text[]",),
)
_NONCE = 12
_encode = msgspec.json.Encoder().encode


class PostgresExports:
    """Files of exports.

    ``pipeline`` should be one on which pieces hold up nobody. Its role is ``mindstream_write``, or
    ``mindstream_read`` where only ``ready`` and ``pieces`` are called.
    """

    def __init__(self, pipeline: Pipeline, keys: SubjectKeys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def _cipher(self, user_id: UUID) -> AESGCM | None:
        """What seals for this person; None for somebody who was erased or never was."""
        subject, ciphers = user_id.bytes, self._keys.ciphers
        if subject not in ciphers:
            await self._keys.load(self._pipeline, [subject])
        return ciphers.get(subject)

    async def begin(self, export_id: UUID, user_id: UUID, run: UUID) -> None:
        """Begin a file, in place of one that another attempt has begun."""
        await self._keys.ensure(self._pipeline, [user_id.bytes])
        await self._pipeline.run((BEGIN, (export_id, user_id, run)), (CLEAR, (export_id,)))

    async def add(
        self, export_id: UUID, user_id: UUID, run: UUID, number: int, piece: bytes
    ) -> None:
        """Keep the next piece.

        Raises:
            Overtaken: another attempt has begun since, or the file or the person was erased.
        """
        cipher = await self._cipher(user_id)
        if cipher is None:
            raise Overtaken
        nonce = os.urandom(_NONCE)
        sealed = nonce + cipher.encrypt(nonce, piece, _context(export_id, number))
        [rows] = await self._pipeline.run((ADD, (export_id, run, number, sealed)))
        if not rows:
            raise Overtaken

    async def complete(
        self, export_id: UUID, run: UUID, result: ExportResult, expires_at: datetime
    ) -> None:
        """The file is whole.

        Raises:
            Overtaken: another attempt has begun since, or the file was erased.
        """
        values = (export_id, run, expires_at, _encode(result).decode())
        rows, _ = await self._pipeline.run((COMPLETE, values), (CLEAR, (export_id,)))
        if not rows:
            raise Overtaken

    async def ready(self, export_id: UUID) -> ExportFile | None:
        """The file, if it is whole and has not expired."""
        _, rows = await self._pipeline.run((SET_EXPORT, (str(export_id),)), (READY, (export_id,)))
        if not rows:
            return None
        *named, result = rows[0]
        fields = dict(zip(("export_id", "user_id", "run", "ready_at"), named, strict=True))
        file = ExportFile(**fields, result=msgspec.json.decode(result))
        return file if await self._cipher(file.user_id) is not None else None

    async def pieces(self, file: ExportFile) -> AsyncIterator[bytes]:
        """The file, piece by piece. Ends early if it is erased meanwhile."""
        number = 0
        named = (SET_EXPORT, (str(file.export_id),))
        while True:
            _, rows = await self._pipeline.run(named, (PIECE, (file.export_id, file.run, number)))
            cipher = await self._cipher(file.user_id)
            if not rows or cipher is None:
                return
            sealed: bytes = rows[0][0]
            context = _context(file.export_id, number)
            yield cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
            number += 1

    async def drop(self, export_id: UUID) -> None:
        """Forget a file."""
        await self._pipeline.run((DROP, (export_id,)))

    async def erase(self, user_id: UUID) -> int:
        """Forget all files of a person, those under way too; how many."""
        [[row]] = await self._pipeline.run((ERASE, (user_id,)))
        return int(row[0])

    async def sweep(self) -> int:
        """Forget files that have expired, and those that nobody will finish; how many."""
        [[row]] = await self._pipeline.run((SWEEP, ()))
        return int(row[0])


class OpenedEvents:
    """Reads events as they are stored, with what is sealed in them; ``keys`` open it."""

    def __init__(self, pipeline: Pipeline, keys: SubjectKeys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def opened(self, stream_ids: Sequence[str]) -> Sequence[OpenedEvent]:
        """All events of these streams, by stream and version.

        Raises:
            adapters.event_store.mapper.Unreadable: one is broken.
        """
        [rows] = await self._pipeline.run((OPENED, (list(stream_ids),)))
        await self._keys.load(self._pipeline, subjects_in(row[7] for row in rows))
        return [self._event(*row) for row in rows]

    def _event(
        self,
        position: int,
        stream_id: str,
        version: int,
        topic: str,
        recorded_at: datetime,
        actor: str,
        correlation_id: str,
        data: bytes,
    ) -> OpenedEvent:
        ciphers = self._keys.ciphers
        fields = shown(topic, stream_id, version, data, ciphers, personal=True, origin=True)
        origin = fields.pop(ORIGIN, {})
        return OpenedEvent(
            position=position,
            stream_id=stream_id,
            stream_version=version,
            topic=topic,
            recorded_at=recorded_at,
            actor=actor,
            correlation_id=correlation_id,
            address=origin.get("address"),
            agent=origin.get("agent"),
            data=fields,
        )


def _context(export_id: UUID, number: int) -> bytes:
    return f"export\x00{export_id}\x00{number}".encode()
