"""Letters handed to a mail server by SMTP.

Owns the connection, one for each letter, and the difference between a server that is away and a
letter that it does not take. A password travels only over TLS, or to this machine.
"""

from __future__ import annotations

from email.utils import parseaddr
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from adapters.mail.message import message_id, message_of
from commands.mail import Letter, MailRefused, MailUnavailable

log = structlog.get_logger()

WITHIN = 20.0
"""Seconds that the server has for each step."""
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_TEMPORARY = range(400, 500)


class SmtpMail:
    """Sends letters to the server of ``url``.

    ``smtp://user:password@host:587`` uses STARTTLS where the server has it, and insists on it for
    a password; ``smtps://`` begins with TLS.
    """

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._tls else 587)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        insists = self._user is not None and self._host not in _LOCAL
        self._start_tls: bool | None = False if self._tls else (True if insists else None)
        self._sender = sender

    async def greet(self) -> None:
        """Connect as for a letter, log in, and go without sending one.

        Raises:
            MailUnavailable: the server is away, or lets us not in.
        """
        server = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=self._user,
            password=self._password,
            use_tls=self._tls,
            start_tls=self._start_tls,
            timeout=WITHIN / 4,
        )
        try:
            async with server:
                await server.noop()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise MailUnavailable(type(error).__name__) from None

    async def send(self, letter: Letter) -> str:
        """The letter's message id, once the server has it.

        Raises:
            MailUnavailable: the server is away, or wants no mail of ours now.
            MailRefused: it does not take this letter.
        """
        message = message_of(letter, self._sender, eight_bit=False)
        try:
            await aiosmtplib.send(
                message,
                sender=parseaddr(self._sender)[1],
                recipients=[letter.to],
                hostname=self._host,
                port=self._port,
                username=self._user,
                password=self._password,
                use_tls=self._tls,
                start_tls=self._start_tls,
                timeout=WITHIN,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise MailRefused(error.recipients[0].code) from None
        except aiosmtplib.SMTPDataError as error:
            if error.code in _TEMPORARY:
                raise MailUnavailable(f"answered {error.code}") from None
            raise MailRefused(error.code) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            # Connecting, greeting, TLS, logging in, the sender: all of it is ours to set right.
            raise MailUnavailable(type(error).__name__) from None
        found = message_id(letter, self._sender)
        log.info("mail_sent", message_id=found, template=letter.template)
        return found
