"""Handing a letter over, as every reaction does that writes to people."""

from __future__ import annotations

from uuid import UUID

from commands.mail import Letter, Mailer, MailUnavailable
from domain.accounts.person import Person
from domain.event import Recorded
from domain.reaction import Effect
from workers.accounts_letters import Written
from workers.reactions import Unavailable


async def post(
    mailer: Mailer, key: UUID, template: str, person: Person, written: Written, recorded: Recorded
) -> Effect:
    """Send somebody a letter because of an event, under the reaction's key.

    Raises:
        Unavailable: it cannot be handed over now.
        MailRefused: it is not taken.
    """
    letter = Letter(
        key=key,
        template=template,
        language=person.language,
        to=person.email,
        subject=written.subject,
        text=written.text,
        html=written.html,
        at=recorded.recorded_at,
    )
    try:
        message_id = await mailer.send(letter)
    except MailUnavailable as error:
        raise Unavailable from error
    return Effect(did=f"mail:{template}", id=message_id, subject_id=person.id)
