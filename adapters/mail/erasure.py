"""What was sent to a person, and its removal when they are erased.

Owns how letters are found: by the effects of reactions that name the person. Letters in a folder
are deleted where this runs; what a mail server has taken is no longer ours.
"""

from __future__ import annotations

from uuid import UUID

from adapters.mail.folder import FolderMail
from adapters.postgres.pipeline import Pipeline, Statement

KEYS = Statement(
    "sent_mail_keys", "SELECT key FROM reaction_effects WHERE subject_id = $1", ("uuid",)
)
FORGET = Statement(
    "sent_mail_forget", "DELETE FROM reaction_effects WHERE subject_id = $1", ("uuid",)
)
FORGET_TOKENS = Statement(
    "sent_mail_forget_tokens", "DELETE FROM accounts_mail_tokens WHERE user_id = $1", ("uuid",)
)


class SentMail:
    """Letters that were sent; ``pipeline`` connects as ``mindstream_write``."""

    def __init__(self, pipeline: Pipeline, folder: FolderMail) -> None:
        self._pipeline = pipeline
        self._folder = folder

    async def erase(self, user_id: UUID) -> int:
        """Delete all letters to the person and all that names them; how many letters there were.

        The files go first: after a crash they are found again.
        """
        [rows] = await self._pipeline.run((KEYS, (user_id,)))
        count = await self._folder.erase(row[0] for row in rows)
        await self._pipeline.run((FORGET, (user_id,)), (FORGET_TOKENS, (user_id,)))
        return count
