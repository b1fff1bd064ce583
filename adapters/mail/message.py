"""A letter as a message of RFC 5322.

Owns the headers. The message id comes of the letter's key, and the date of what it is about: a
repeat is the same message byte for byte.
"""

from __future__ import annotations

import email.policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from uuid import uuid5

from commands.mail import Letter


def message_id(letter: Letter, sender: str) -> str:
    """The id under which mail systems know the letter, however often it is sent."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    return f"<{letter.key}@{domain}>"


def message_of(letter: Letter, sender: str, *, eight_bit: bool) -> EmailMessage:
    """The message; ``eight_bit`` leaves its text readable, for files and not for every server."""
    addresses = letter.to + sender
    policy = email.policy.SMTP if addresses.isascii() else email.policy.SMTPUTF8
    message = EmailMessage(policy)
    message["From"] = sender
    message["To"] = letter.to
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(letter.at)
    message["Message-ID"] = message_id(letter, sender)
    message["Auto-Submitted"] = "auto-generated"
    beyond = "8bit" if eight_bit else "quoted-printable"

    def encoding(text: str) -> str:
        return "7bit" if text.isascii() else beyond

    message.set_content(letter.text, cte=encoding(letter.text))
    message.add_alternative(letter.html, subtype="html", cte=encoding(letter.html))
    message["Content-Language"] = letter.language
    message.set_boundary(f"={uuid5(letter.key, 'boundary').hex}")
    return message
