"""Letters as ``.eml`` files in a folder: mail where there is no server.

Owns the files: one for each letter, named by time, template and key, readable by their owner alone.
A file is there whole or not at all, and a repeat takes the place of the first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import structlog

from adapters.mail.message import message_id, message_of
from commands.mail import Letter, MailUnavailable

log = structlog.get_logger()


class FolderMail:
    """Writes letters to ``folder``, which it makes."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def send(self, letter: Letter) -> str:
        """The letter's message id, once its file is there.

        Raises:
            MailUnavailable: the file cannot be written.
        """
        try:
            await asyncio.to_thread(self._write, letter)
        except OSError as error:
            raise MailUnavailable(type(error).__name__) from error
        found = message_id(letter, self._sender)
        log.info("mail_written", message_id=found, template=letter.template)
        return found

    async def erase(self, keys: Iterable[UUID]) -> int:
        """Delete the letters of these keys; how many there were."""
        return await asyncio.to_thread(self._delete, list(keys))

    def _write(self, letter: Letter) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        whole = message_of(letter, self._sender, eight_bit=True).as_bytes()
        part = self._folder / f".{letter.key}.part"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(whole)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / f"{letter.at:%Y%m%dT%H%M%S}-{letter.template}-{letter.key}.eml")

    def _delete(self, keys: list[UUID]) -> int:
        found = [path for key in keys for path in self._folder.glob(f"*-{key}.eml")]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)
