"""Proofs by mail over HTTP: confirming an address, and setting a new password.

Owns the translation between requests and ``commands.recovery``. The three calls are open: whoever
makes them has nothing but their mail.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from adapters.http.bodies import body_of
from adapters.http.context import header
from adapters.http.operation import Operation
from adapters.http.responses import Answer, ok
from adapters.http.validation import decode_body
from commands.bus import Outcome
from commands.credentials import LONGEST_PASSWORD, SHORTEST_PASSWORD
from commands.logins import Visit
from commands.recovery import Recovery
from domain.accounts.person import Person
from domain.accounts.profile import Email
from write_api.bodies import decode_checked
from write_api.logins import TAGS, Visiting

AnyRequest = Request[Any, Any, Any]

Token = Annotated[str, Meta(min_length=1, max_length=1024, description="As the letter has it.")]
_TOKEN = "Xq8mJ1o0u4dXkq4yV3yq0x0fZ1m1m4a6aY0b0c1d2e3"  # noqa: S105 - an example


class Verification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of a letter, which is used up by this."""

    token: Token


class ResetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the letter is to go."""

    email: Email


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of a letter, which is used up by this. The password must not be a common one."""

    token: Token
    password: Annotated[str, Meta(min_length=SHORTEST_PASSWORD, max_length=LONGEST_PASSWORD)]


class Verified(msgspec.Struct, frozen=True):
    """The address is confirmed."""

    email_verified: bool


class Requested(msgspec.Struct, frozen=True):
    """If the address has an account, a letter is on its way."""

    requested: bool


class PasswordChanged(msgspec.Struct, frozen=True):
    """The new password holds."""

    password_changed: bool


def routes(visiting: Visiting, recovery: Recovery) -> list[HTTPRouteHandler]:
    """The handlers."""

    @post(
        "/v1/auth/verify-email",
        status_code=200,
        opt={
            "operation": Operation(
                summary="Confirm an address",
                description="With the token that was sent there at registration, once and within"
                " three days. One that is not good is a fault of `token`.",
                tags=TAGS,
                body=Verification,
                response=Verified,
                examples={"letter": {"token": _TOKEN}},
                operation_id="verify_email",
            )
        },
    )
    async def verify_email(request: AnyRequest) -> Answer:
        body = await body_of(request)
        asked = decode_body(body, header(request, b"content-type"), Verification)
        return await visiting.answer(
            request,
            body,
            lambda visit: recovery.verify(asked.token, visit),
            lambda person: ok(request, Verified(person.email_verified), message="Confirmed"),
        )

    @post(
        "/v1/auth/request-password-reset",
        status_code=202,
        opt={
            "operation": Operation(
                summary="Ask for a new password",
                description="Always answered alike, whether the address has an account or not. If"
                " it has, a letter with a token goes there; a few an hour at most.",
                tags=TAGS,
                body=ResetRequest,
                response=Requested,
                statuses=(202,),
                examples={"person": {"email": "ada@example.com"}},
                operation_id="request_password_reset",
            )
        },
    )
    async def request_password_reset(request: AnyRequest) -> Answer:
        body = await body_of(request)
        asked = decode_body(body, header(request, b"content-type"), ResetRequest)
        return await visiting.answer(
            request,
            body,
            lambda visit: recovery.request_reset(asked.email, visit),
            lambda _: ok(request, Requested(True), status=202, message="Accepted"),
        )

    @post(
        "/v1/auth/reset-password",
        status_code=200,
        opt={
            "operation": Operation(
                summary="Set a new password",
                description="With the token of a letter, once and within an hour. All logins of"
                " the person end, and a letter says so. One that is not good is a fault of"
                " `token`.",
                tags=TAGS,
                body=Reset,
                response=PasswordChanged,
                problems=("UNAVAILABLE",),
                examples={"letter": {"token": _TOKEN, "password": "two boats on a still lake"}},
                operation_id="reset_password",
            )
        },
    )
    async def reset_password(request: AnyRequest) -> Answer:
        body = await body_of(request)

        async def run(visit: Visit) -> Outcome[Person]:
            # A retry's token is used up: it is answered before its token is looked at.
            await recovery.unless_answered(visit)
            asked = await decode_checked(request, body, Reset, recovery.faults)
            return await recovery.reset(asked.token, asked.password, visit)

        return await visiting.answer(
            request,
            body,
            run,
            lambda _: ok(request, PasswordChanged(True), message="Changed"),
        )

    return [verify_email, request_password_reset, reset_password]
