"""Registration, login, refresh and logout over HTTP.

Owns the translation between requests and ``commands.logins``. The calls under ``/v1/auth`` are
open: keys for safe retries belong to the client's address there, and what is kept of a request is a
keyed digest, since its body holds a password. Oneself is ``write_api/accounts.py``'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from adapters.http.bodies import body_of
from adapters.http.context import context_of, header, identify
from adapters.http.errors import Mapper, unavailable
from adapters.http.fresh import token
from adapters.http.handlers import post
from adapters.http.idempotency import hash_of, key_of, principal_name, replay, stored
from adapters.http.operation import Operation
from adapters.http.principal import Principal
from adapters.http.problems import Problem, register, retry_after
from adapters.http.responses import Answer, no_content, ok
from adapters.http.validation import decode_body
from commands.accounts import RegisterPerson
from commands.bus import Outcome
from commands.credentials import (
    LONGEST_PASSWORD,
    SHORTEST_PASSWORD,
    AccountDeleted,
    Grant,
    InvalidCredentials,
    RefreshRefused,
    TooManyAttempts,
    Unavailable,
)
from commands.logins import Logins, Visit
from commands.ports import Idempotency, Replayed, Response
from commands.second_factor import TotpRefused, TotpRequired
from domain.accounts.person import EmailInUse, PastRecovery, Person, UsernameInUse
from domain.accounts.profile import (
    DisplayName,
    Email,
    Language,
    Terms,
    TimeZone,
    Username,
)
from domain.errors import Forbidden
from projections.accounts.people import PersonDocument, PersonStatistics, document_of
from write_api.answering import Answering
from write_api.bodies import decode_checked

AnyRequest = Request[Any, Any, Any]
R = TypeVar("R")

TAGS = ("Accounts",)

register(
    "EMAIL_IN_USE",
    409,
    "This address has an account",
    "Log in with it, or register with another address.",
)
register(
    "USERNAME_IN_USE",
    409,
    "This username is taken",
    "Usernames are unique however they are cased. Choose another one.",
)
register(
    "INVALID_REFRESH_TOKEN",
    401,
    "The refresh token is not good",
    "It is unknown or has expired, or its login has ended. A refresh token works once: a second"
    " use ends the login, since one of the two users cannot be its owner. Log in again.",
)
register(
    "TOO_MANY_ATTEMPTS",
    429,
    "Too many wrong passwords",
    "After ten wrong passwords for one account from one address no more are looked at until"
    " `Retry-After` has passed. The account stays open from other addresses.",
)
register(
    "TOTP_REQUIRED",
    401,
    "A code is wanted as well",
    "The password is right. Repeat the login with `totp`: the six digits that the authenticator app"
    " shows, or a recovery code.",
)
register(
    "INVALID_TOTP",
    401,
    "The code is not good",
    "It is wrong or too old, or it was used before: each code opens one login. Wait for the next"
    " one.",
)
register(
    "ACCOUNT_DELETED",
    403,
    "This account was deleted",
    "For 30 days it can be had back: `POST /v1/me/restore` with the address and the password.",
)

_CHALLENGE = {"www-authenticate": "Bearer"}

ERRORS: dict[type[Exception], Mapper] = {
    EmailInUse: lambda error: Problem("EMAIL_IN_USE"),
    UsernameInUse: lambda error: Problem("USERNAME_IN_USE"),
    InvalidCredentials: lambda error: Problem("INVALID_CREDENTIALS", headers=_CHALLENGE),
    TotpRequired: lambda error: Problem("TOTP_REQUIRED", headers=_CHALLENGE),
    TotpRefused: lambda error: Problem("INVALID_TOTP", headers=_CHALLENGE),
    AccountDeleted: lambda error: Problem("ACCOUNT_DELETED"),
    PastRecovery: lambda error: Problem(
        "ACCOUNT_DELETED", "The 30 days in which it could be had back are over."
    ),
    RefreshRefused: lambda error: Problem("INVALID_REFRESH_TOKEN", headers=_CHALLENGE),
    TooManyAttempts: lambda error: Problem("TOO_MANY_ATTEMPTS", headers=retry_after(error.seconds)),
    Unavailable: lambda error: unavailable(),
}
"""How the accounts' refusals are answered."""


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to register. The password must not be a common one."""

    email: Email
    password: Annotated[str, Meta(min_length=SHORTEST_PASSWORD, max_length=LONGEST_PASSWORD)]
    display_name: DisplayName
    username: Username | None = None
    timezone: TimeZone | None = None
    language: Language | None = None
    consent: Terms


class LoginAttempt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What proves who one is. ``totp`` counts for those who have switched it on.

    It is six digits of the authenticator app, or a recovery code.
    """

    email: Annotated[str, Meta(min_length=1, max_length=1024)]
    password: Annotated[str, Meta(min_length=1, max_length=LONGEST_PASSWORD)]
    totp: Annotated[str, Meta(max_length=64)] | None = None


class Refreshing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The refresh token, which is used up by this."""

    refresh_token: Annotated[str, Meta(min_length=1, max_length=1024)]


CONSENT = {
    "terms_version": "v1.0",
    "privacy_policy_version": "v1.0",
    "data_processing": True,
    "marketing": False,
}


class Visiting:
    """Answers calls of somebody who is not known, once for each idempotency key.

    ``digest`` is keyed: what is kept of a request must not help to guess its password.
    """

    def __init__(
        self,
        digest: Callable[[bytes], bytes],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._digest = digest
        self._clock = clock

    def visit(self, request: AnyRequest, idempotency: Idempotency | None = None) -> Visit:
        """The request as a call of somebody who is not known."""
        context = context_of(request)
        return Visit(
            now=self._clock(),
            correlation_id=context.request_id,
            address=context.client_address,
            agent=context.user_agent,
            idempotency=idempotency,
        )

    async def answer(
        self,
        request: AnyRequest,
        body: bytes,
        run: Callable[[Visit], Awaitable[Outcome[R]]],
        render: Callable[[R], Answer],
    ) -> Answer:
        """Run a call of somebody who is not known, once for each idempotency key."""
        rendered: list[Answer] = []

        def keep(result: Any) -> Response:
            rendered[:] = [render(result)]
            return stored(rendered[0])

        key = key_of(request)
        idempotency = None
        if key is not None:
            request_hash = self._digest(hash_of(request, body))
            idempotency = Idempotency(principal_name(request), key, request_hash, keep)
        try:
            outcome = await run(self.visit(request, idempotency))
        except Replayed as first:
            return replay(first.response, token(first.position))
        answer = rendered[0] if rendered else render(outcome.result)
        answer.raw_headers.append((b"consistency-token", token(outcome.position).encode("ascii")))
        return answer


Repeat = Callable[[RegisterPerson, str, Visit], Awaitable[Outcome[Person]]]
"""``commands.recovery.Recovery.repeat_registration``."""


def routes(
    answering: Answering, logins: Logins, visiting: Visiting, repeat: Repeat | None = None
) -> list[HTTPRouteHandler]:
    """The handlers; ``answering`` is for those who are logged in.

    ``repeat`` answers who registers with an address in use, where that is to be nobody's business.
    """

    @post(
        "/v1/auth/register",
        opt={
            "operation": Operation(
                summary="Register",
                description="Makes a person with a tenant of their own.",
                tags=TAGS,
                body=Registration,
                response=PersonDocument,
                statuses=(201,),
                problems=("EMAIL_IN_USE", "USERNAME_IN_USE"),
                examples={
                    "person": {
                        "email": "ada@example.com",
                        "password": "a long walk by the river",
                        "display_name": "Ada",
                        "timezone": "Europe/Lisbon",
                        "language": "en",
                        "consent": CONSENT,
                    }
                },
                operation_id="register",
            )
        },
    )
    async def register_person(request: AnyRequest) -> Answer:
        body = await body_of(request)
        asked = await decode_checked(request, body, Registration, logins.faults)

        async def run(visit: Visit) -> Outcome[Person]:
            command = RegisterPerson(
                email=asked.email,
                display_name=asked.display_name,
                username=asked.username,
                timezone=asked.timezone or "UTC",
                language=asked.language or "en",
                terms=asked.consent,
                address=visit.address,
                agent=visit.agent,
            )
            try:
                return await logins.register(command, asked.password, visit)
            except EmailInUse:
                if repeat is None:
                    raise
                return await repeat(command, asked.password, visit)

        def render(person: Person) -> Answer:
            return ok(
                request,
                document_of(
                    person, totals=PersonStatistics(), last_login_at=None, now=person.created_at
                ),
                status=201,
                message="Registered",
                etag=person.version,
                location="/v1/me",
            )

        return await visiting.answer(request, body, run, render)

    def granted(request: AnyRequest) -> Callable[[Grant], Answer]:
        return lambda grant: ok(request, grant, message="Logged in")

    @post(
        "/v1/auth/login",
        opt={
            "operation": Operation(
                summary="Log in",
                description="An unknown address and a wrong password are answered alike. Ten wrong"
                " passwords for one account from one address close it to that address for a while;"
                " wrong codes count like wrong passwords.",
                tags=TAGS,
                body=LoginAttempt,
                response=Grant,
                problems=(
                    "INVALID_CREDENTIALS",
                    "TOTP_REQUIRED",
                    "INVALID_TOTP",
                    "ACCOUNT_DELETED",
                    "TENANT_SUSPENDED",
                    "TOO_MANY_ATTEMPTS",
                    "UNAVAILABLE",
                ),
                examples={
                    "person": {"email": "ada@example.com", "password": "a long walk by the river"},
                    "second factor": {
                        "email": "ada@example.com",
                        "password": "a long walk by the river",
                        "totp": "492039",
                    },
                },
                operation_id="login",
            )
        },
    )
    async def login(request: AnyRequest) -> Answer:
        body = await body_of(request)
        asked = decode_body(body, header(request, b"content-type"), LoginAttempt)
        return await visiting.answer(
            request,
            body,
            lambda visit: logins.login(asked.email, asked.password, visit, asked.totp),
            granted(request),
        )

    @post(
        "/v1/auth/refresh",
        opt={
            "operation": Operation(
                summary="Exchange a refresh token for new tokens",
                description="Each refresh token works once. A second use ends the login, with all"
                " tokens that came of it.",
                tags=TAGS,
                body=Refreshing,
                response=Grant,
                problems=("INVALID_REFRESH_TOKEN", "TENANT_SUSPENDED"),
                examples={
                    "login": {"refresh_token": "eQhIaIUNP8P0YOcS3exvIY-AKMwNoRUu2LOcHZ2yUT0"}
                },
                operation_id="refresh",
            )
        },
    )
    async def refresh(request: AnyRequest) -> Answer:
        body = await body_of(request)
        asked = decode_body(body, header(request, b"content-type"), Refreshing)
        return await visiting.answer(
            request,
            body,
            lambda visit: logins.refresh(asked.refresh_token, visit),
            granted(request),
        )

    @post(
        "/v1/auth/logout",
        opt={
            "operation": Operation(
                summary="Log out",
                description="Ends the bearer's login; its tokens are refused within seconds.",
                tags=TAGS,
                statuses=(204,),
                problems=("UNAUTHENTICATED", "FORBIDDEN"),
                # The path is open like all of /v1/auth, but somebody must be logged in.
                open=False,
                operation_id="logout",
            )
        },
    )
    async def logout(request: AnyRequest) -> Answer:
        login_id = login_of(await identify(request))
        return await answering.run(
            request, lambda context: logins.end(login_id, context), lambda _: no_content(request)
        )

    return [register_person, login, refresh, logout]


def login_of(principal: Principal) -> UUID:
    """The login by which somebody asks, for what concerns the safety of the account.

    Raises:
        Forbidden: it is an API key that asks.
    """
    if principal.login_id is None:
        raise Forbidden("An API key is no login.")
    return principal.login_id
