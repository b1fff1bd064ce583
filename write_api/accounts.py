"""Oneself over HTTP: profile, settings and consent.

Owns the translation between requests and ``commands.accounts``. How one becomes somebody and logs
in is ``write_api/logins.py``'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.bodies import body_of
from adapters.http.conditional import required_version
from adapters.http.context import context_of, header, principal_of
from adapters.http.handlers import patch, put
from adapters.http.operation import Operation
from adapters.http.responses import Answer, ok
from adapters.http.validation import decode_body
from commands.accounts import RecordConsent, RevisePerson
from domain.accounts.person import Person
from domain.accounts.profile import (
    Changes,
    Terms,
    faults_of,
)
from domain.faults import Fault
from projections.accounts.people import PersonDocument, Totals, document_of, today_of
from projections.accounts.people import person as known_person
from projections.reading import Reader, ReadUnavailable
from write_api.answering import Answering
from write_api.bodies import decode_checked
from write_api.logins import CONSENT, TAGS

AnyRequest = Request[Any, Any, Any]


class Around(msgspec.Struct, frozen=True):
    """What the read side adds to a person; ``totals`` is None where it does not answer now."""

    totals: Totals | None = None
    last_login_at: datetime | None = None


def routes(
    answering: Answering,
    around: Callable[[UUID], Awaitable[Around]],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[HTTPRouteHandler]:
    """The handlers.

    ``around`` asks the read side about a person and never fails, ``clock`` tells the time in UTC.
    """

    @patch(
        "/v1/me",
        opt={
            "operation": Operation(
                summary="Revise one's profile and settings",
                description="Fields that are not sent stay as they are, keys of `preferences` and"
                " `notifications` too; null clears.",
                tags=TAGS,
                body=Changes,
                response=PersonDocument,
                problems=("USERNAME_IN_USE",),
                examples={
                    "settings": {
                        "timezone": "America/Sao_Paulo",
                        "language": "pt",
                        "preferences": {"infer_mood": True},
                    }
                },
                operation_id="revise_me",
            )
        },
    )
    async def revise_me(request: AnyRequest) -> Answer:
        expected = required_version(request)
        body = await body_of(request)
        changes = await decode_checked(request, body, Changes, _faults)
        return await answer_person(request, RevisePerson(expected, changes), "Revised", body)

    @put(
        "/v1/me/consent",
        opt={
            "operation": Operation(
                summary="Consent to new versions, or withdraw",
                description="The consent as a whole; the client's address and agent are recorded.",
                tags=TAGS,
                body=Terms,
                response=PersonDocument,
                if_match=False,
                examples={"withdrawal": {**CONSENT, "data_processing": False}},
                operation_id="record_consent",
            )
        },
    )
    async def record_consent(request: AnyRequest) -> Answer:
        expected = None
        if header(request, b"if-match") is not None:  # not asked for, but honoured
            expected = required_version(request)
        body = await body_of(request)
        terms = decode_body(body, header(request, b"content-type"), Terms)
        context = context_of(request)
        command = RecordConsent(terms, context.client_address, context.user_agent, expected)
        return await answer_person(request, command, "Consent recorded", body)

    async def answer_person(
        request: AnyRequest, command: object, message: str, body: bytes
    ) -> Answer:
        beside = await around(principal_of(request).user_id)

        def render(person: Person) -> Answer:
            document = document_of(
                person, totals=beside.totals, last_login_at=beside.last_login_at, now=clock()
            )
            return ok(request, document, message=message, etag=person.version)

        return await answering.answer(request, command, render, body=body)

    return [revise_me, record_consent]


async def _faults(fields: Mapping[str, Any]) -> list[Fault]:
    return faults_of(fields)


def surroundings(
    reader: Reader,
    totals: Callable[[UUID, date], Awaitable[Totals]],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Callable[[UUID], Awaitable[Around]]:
    """What the read side knows of a person, or nothing while it does not answer."""

    async def around(user_id: UUID) -> Around:
        try:
            found = await known_person(reader, user_id)
            if found is None:
                return Around()
            person, last_login_at = found
            return Around(await totals(user_id, today_of(person, clock())), last_login_at)
        except ReadUnavailable:
            return Around()

    return around
