"""Letters leave whole, once under their id, by a server or into a folder."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from adapters.mail.folder import FolderMail
from adapters.mail.smtp import SmtpMail
from commands.mail import Letter, Mailer, MailRefused, MailUnavailable
from workers.accounts_letters import TEXTS, written

pytestmark = pytest.mark.anyio

SENDER = "Mindstream <no-reply@mind.example>"
LINK = "https://mind.example/account/reset-password#token=" + 43 * "k"


def letter(language: str = "en", **changes: Any) -> Letter:
    values = {"name": "Ana <b>", "link": LINK, "token": 43 * "k"}
    text = written("reset_password", language, values)
    made = Letter(
        key=uuid4(),
        template="reset_password",
        language=language,
        to="ana@example.org",
        subject=text.subject,
        text=text.text,
        html=text.html,
        at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
    )
    return msgspec.structs.replace(made, **changes)


class Inbox:
    """An SMTP server's handler that keeps what comes, and refuses when it is told to."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.to_recipient = self.to_data = "250 fine"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Envelope, address: str, options: Any
    ) -> str:
        if self.to_recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.to_recipient

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Envelope
    ) -> str:
        if self.to_data.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.came.append(envelope.content)
        return self.to_data


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, str]]:
    handler = Inbox()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield handler, f"smtp://127.0.0.1:{controller.port}"
    controller.stop()


@pytest.fixture(params=["folder", "smtp"])
async def mail(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Mailer, Callable[[], list[bytes]]]]:
    """A mailer and what left by it, on the fake server and on the real folder."""
    if request.param == "folder":
        folder = tmp_path / "mail"
        yield FolderMail(folder, SENDER), lambda: [path.read_bytes() for path in folder.iterdir()]
        return
    handler = Inbox()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    await asyncio.to_thread(controller.start)
    yield SmtpMail(f"smtp://127.0.0.1:{controller.port}", SENDER), lambda: handler.came
    await asyncio.to_thread(controller.stop)


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize("language", ["en", "pt"])
async def test_a_letter_arrives_whole(
    mail: tuple[Mailer, Callable[[], list[bytes]]], language: str
) -> None:
    mailer, left = mail
    sent = letter(language)
    message_id = await mailer.send(sent)
    [raw] = left()
    message = parsed(raw)
    assert message["Message-ID"] == message_id == f"<{sent.key}@mind.example>"
    assert message["To"] == "ana@example.org"
    assert message["From"] == SENDER
    assert message["Subject"] == sent.subject
    assert message["Content-Language"] == language
    assert message["Date"].datetime == sent.at
    for kind, whole in (("plain", sent.text), ("html", sent.html)):
        part = message.get_body((kind,))
        assert part is not None
        assert part.get_content().replace("\r\n", "\n") == whole


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def test_an_address_beyond_ascii_is_written_as_it_is(tmp_path: Path) -> None:
    await FolderMail(tmp_path, SENDER).send(letter(to="josé@exemplo.example"))
    [path] = _files(tmp_path)
    assert parsed(path.read_bytes())["To"] == "josé@exemplo.example"


async def test_a_repeat_takes_the_place_of_the_first(tmp_path: Path) -> None:
    mailer, sent = FolderMail(tmp_path / "mail", SENDER), letter()
    await mailer.send(sent)
    first = [path.read_bytes() for path in (tmp_path / "mail").iterdir()]
    await mailer.send(sent)
    again = list((tmp_path / "mail").iterdir())
    assert [path.read_bytes() for path in again] == first
    assert again[0].name == f"20260301T123000-reset_password-{sent.key}.eml"
    assert stat.S_IMODE(again[0].stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "mail").stat().st_mode) == 0o700


async def test_letters_are_erased_by_their_keys(tmp_path: Path) -> None:
    mailer, one, other = FolderMail(tmp_path, SENDER), letter(), letter()
    await mailer.send(one)
    await mailer.send(other)
    assert await mailer.erase([one.key, uuid4()]) == 1
    [left] = _files(tmp_path)
    assert str(other.key) in left.name


async def test_a_folder_that_cannot_be_written_is_no_fault_of_the_letter(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file in its place")
    with pytest.raises(MailUnavailable):
        await FolderMail(tmp_path / "mail", SENDER).send(letter())


async def test_a_server_that_is_away_is_no_fault_of_the_letter() -> None:
    with pytest.raises(MailUnavailable):
        await SmtpMail(f"smtp://127.0.0.1:{free_port()}", SENDER).send(letter())


@pytest.mark.parametrize(
    ("step", "answer", "raised"),
    [
        ("to_recipient", "550 nobody here", MailRefused),
        ("to_recipient", "450 come back later", MailRefused),
        ("to_data", "554 spam", MailRefused),
        ("to_data", "451 no room", MailUnavailable),
    ],
)
async def test_what_a_server_answers(
    inbox: tuple[Inbox, str], step: str, answer: str, raised: type[Exception]
) -> None:
    handler, url = inbox
    setattr(handler, step, answer)
    with pytest.raises(raised) as caught:
        await SmtpMail(url, SENDER).send(letter())
    assert "ana@" not in str(caught.value)
    assert handler.came == []


async def test_a_password_does_not_travel_in_the_clear(inbox: tuple[Inbox, str]) -> None:
    handler, url = inbox
    with pytest.raises(MailUnavailable):  # it offers neither TLS nor a login
        await SmtpMail(url.replace("://", "://user:secret@"), SENDER).send(letter())
    assert handler.came == []


def test_every_letter_is_there_in_both_languages_and_escaped() -> None:
    values = {"name": "<script>", "link": LINK, "token": "t"}
    for template, texts in TEXTS.items():
        assert set(texts) == {"en", "pt"}
        english, portuguese = (written(template, each, values) for each in ("en", "pt"))
        assert english.subject != portuguese.subject
        for text in (english, portuguese):
            assert "<script>" in text.text
            assert "<script>" not in text.html
            assert (LINK in text.text) == (LINK in text.html) == ("token" in english.html)
        assert written(template, "xx", values).subject == english.subject
