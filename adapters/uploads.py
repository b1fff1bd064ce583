"""Uploads that were announced, in the write database: what they are to be, sealed.

Owns the SQL on ``journal_uploads``. A row lives until its upload is completed, refused or swept; it
is no part of the diary, and no event tells of it. ``commands.journal_attachments.Uploads``.
"""

from __future__ import annotations

import os
from datetime import datetime
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from adapters.event_store.subject_keys import SubjectKeys
from adapters.postgres.pipeline import Pipeline, Statement
from commands.journal_attachments import ObjectGone
from domain.journal.attachment import NewAttachment, Upload

ANNOUNCE = Statement(
    "upload_announce",
    "INSERT INTO journal_uploads (attachment_id, entry_id, user_id, declared, expires_at)"
    " VALUES ($1, $2, $3, $4, $5)",
    ("uuid", "uuid", "uuid", "bytea", "timestamptz"),
)
FIND = Statement(
    "upload_find",
    "SELECT declared FROM journal_uploads"
    " WHERE attachment_id = $1 AND entry_id = $2 AND user_id = $3",
    ("uuid", "uuid", "uuid"),
)
FORGET = Statement(
    "upload_forget", "DELETE FROM journal_uploads WHERE attachment_id = $1", ("uuid",)
)
SWEEP = Statement(
    "upload_sweep",
    "WITH gone AS (DELETE FROM journal_uploads WHERE expires_at < $1 RETURNING 1)"
    " SELECT count(*) FROM gone",
    ("timestamptz",),
)

_NONCE = 12
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(NewAttachment).decode


class PostgresUploads:
    """``pipeline``'s role is ``mindstream_write``."""

    def __init__(self, pipeline: Pipeline, keys: SubjectKeys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def announce(self, upload: Upload, expires_at: datetime) -> None:
        """Remember it; the declaration is sealed, since a file's name may say a lot."""
        await self._keys.ensure(self._pipeline, [upload.user_id.bytes])
        cipher = self._keys.ciphers.get(upload.user_id.bytes)
        if cipher is None:
            raise ObjectGone
        nonce = os.urandom(_NONCE)
        sealed = nonce + cipher.encrypt(
            nonce, _encode(upload.declared), _context(upload.attachment_id)
        )
        values = (upload.attachment_id, upload.entry_id, upload.user_id, sealed, expires_at)
        await self._pipeline.run((ANNOUNCE, values))

    async def find(self, attachment_id: UUID, entry_id: UUID, user_id: UUID) -> Upload | None:
        """The upload; None, too, for somebody who was erased."""
        [rows] = await self._pipeline.run((FIND, (attachment_id, entry_id, user_id)))
        if not rows:
            return None
        await self._keys.load(self._pipeline, [user_id.bytes])
        cipher = self._keys.ciphers.get(user_id.bytes)
        if cipher is None:
            return None
        sealed: bytes = rows[0][0]
        try:
            plain = cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _context(attachment_id))
        except InvalidTag:
            return None
        return Upload(
            user_id=user_id,
            entry_id=entry_id,
            attachment_id=attachment_id,
            declared=_decode(plain),
        )

    async def forget(self, attachment_id: UUID) -> None:
        """Delete the row."""
        await self._pipeline.run((FORGET, (attachment_id,)))

    async def sweep(self, before: datetime) -> int:
        """Forget those whose links expired before that time; how many."""
        [[row]] = await self._pipeline.run((SWEEP, (before,)))
        return int(row[0])


def _context(attachment_id: UUID) -> bytes:
    return b"upload\x00" + attachment_id.bytes
