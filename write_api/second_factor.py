"""The second factor over HTTP: begun, confirmed, switched off.

Owns the translation between requests and ``commands.second_factor``. That a login asks for a code
is ``write_api/logins.py``'s. An API key may do none of this: it is no login.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.bodies import body_of
from adapters.http.context import header, principal_of
from adapters.http.errors import Mapper
from adapters.http.handlers import delete, post
from adapters.http.operation import Operation
from adapters.http.problems import Problem, invalid, register
from adapters.http.responses import Answer, no_content, ok
from adapters.http.validation import decode_body
from commands.bus import Outcome
from commands.ports import Context
from commands.second_factor import Enrolment, SecondFactor, TotpInUse, TotpNotBegun, TotpRefused
from domain.accounts.person import Person
from domain.faults import Fault
from write_api.answering import Answering
from write_api.logins import TAGS, login_of

AnyRequest = Request[Any, Any, Any]

register(
    "TOTP_IN_USE",
    409,
    "The second factor is on",
    "`DELETE /v1/auth/totp` switches it off; then it can be begun anew, with another seed.",
)
register(
    "TOTP_NOT_BEGUN",
    409,
    "There is no code to confirm",
    "`POST /v1/auth/totp` gives the seed whose code is to be confirmed.",
)

ERRORS: dict[type[Exception], Mapper] = {
    TotpInUse: lambda error: Problem("TOTP_IN_USE"),
    TotpNotBegun: lambda error: Problem("TOTP_NOT_BEGUN"),
}
"""How the refusals of this are answered."""


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code that the authenticator app shows now."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Switch(msgspec.Struct, frozen=True):
    """Whether logins take a second factor."""

    two_factor_enabled: bool


def routes(answering: Answering, second_factor: SecondFactor) -> list[HTTPRouteHandler]:
    """The handlers."""

    @post(
        "/v1/auth/totp",
        opt={
            "operation": Operation(
                summary="Begin the second factor",
                description="Answers with a seed for an authenticator app and ten recovery codes,"
                " once. Nothing changes before a code is confirmed; beginning again draws another"
                " seed.",
                tags=TAGS,
                response=Enrolment,
                problems=("FORBIDDEN", "TOTP_IN_USE"),
                response_example={
                    "otpauth_uri": "otpauth://totp/Mindstream:ada%40example.com"
                    "?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Mindstream",
                    "recovery_codes": ["k4mz-7qpa-xw2d-ho5n"],
                },
                operation_id="begin_totp",
            )
        },
    )
    async def begin_totp(request: AnyRequest) -> Answer:
        login_of(principal_of(request))
        return await answering.run(
            request,
            second_factor.begin,
            lambda enrolment: ok(request, enrolment, message="Confirm a code to switch it on"),
            body=await body_of(request),
        )

    @post(
        "/v1/auth/totp/confirm",
        opt={
            "operation": Operation(
                summary="Switch the second factor on",
                description="From now on a login takes `totp`.",
                tags=TAGS,
                body=Confirmation,
                response=Switch,
                problems=("FORBIDDEN", "TOTP_NOT_BEGUN"),
                examples={"code": {"code": "492039"}},
                operation_id="confirm_totp",
            )
        },
    )
    async def confirm_totp(request: AnyRequest) -> Answer:
        login_of(principal_of(request))
        body = await body_of(request)
        asked = decode_body(body, header(request, b"content-type"), Confirmation)

        async def run(context: Context) -> Outcome[Person]:
            try:
                return await second_factor.confirm(asked.code, context)
            except TotpRefused:
                message = "This is not a code that the app shows now."
                raise invalid(Fault("code", "not_allowed", message)) from None

        return await answering.run(
            request,
            run,
            lambda person: ok(request, Switch(person.two_factor_enabled), message="Switched on"),
            body=body,
        )

    @delete(
        "/v1/auth/totp",
        opt={
            "operation": Operation(
                summary="Switch the second factor off",
                description="The seed and the recovery codes are gone. It is no aggregate and takes"
                " no If-Match.",
                tags=TAGS,
                statuses=(204,),
                problems=("FORBIDDEN",),
                if_match=False,
                operation_id="remove_totp",
            )
        },
    )
    async def remove_totp(request: AnyRequest) -> Answer:
        login_of(principal_of(request))
        return await answering.run(
            request, second_factor.remove, lambda person: no_content(request)
        )

    return [begin_totp, confirm_totp, remove_totp]
