"""Mail: the port through which letters leave, and what a letter is.

Owns the shapes. ``adapters/mail/`` sends by SMTP or writes files; what is in a letter belongs to
whoever writes it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One letter to one address.

    ``key`` names it for ever: a repeat is the same letter. ``at`` is when it became due. ``html``
    says the same as ``text``.
    """

    key: UUID
    template: str
    language: str
    to: str
    subject: str
    text: str
    html: str
    at: datetime

    def __repr__(self) -> str:
        """Nothing that a log should not have."""
        return f"Letter({self.key}, {self.template})"


class MailUnavailable(Exception):
    """Mail cannot be handed over now: the letter may go later."""


class MailRefused(Exception):
    """This letter is not taken; ``code`` is the server's answer."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with {code}")
        self.code = code


class Mailer(Protocol):
    """Hands letters over."""

    async def send(self, letter: Letter) -> str:
        """The letter's message id, once it is handed over for good.

        Raises:
            MailUnavailable: not now.
            MailRefused: not this one.
        """
        ...
