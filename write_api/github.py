"""Logging in with GitHub over HTTP: the way there, the way back, and a code if one is wanted.

Owns what a browser carries meanwhile: a sealed cookie with the state and PKCE's verifier, good for
ten minutes and for the browser that began. These are GETs, as OAuth has it, and yet they belong to
the write API: the gateway knows (``bootstrap/gateway.py``).
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.bodies import body_of
from adapters.http.context import header
from adapters.http.errors import Mapper
from adapters.http.handlers import get, post
from adapters.http.operation import Operation
from adapters.http.problems import Problem, register
from adapters.http.responses import Answer, ok
from adapters.http.validation import decode_body, query
from commands.credentials import Grant
from commands.github import (
    AddressUnverified,
    GithubLinkedElsewhere,
    GithubLogins,
    GithubRefused,
)
from commands.second_factor import TotpRequired
from write_api.logins import TAGS, Visiting

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")

PATH = "/v1/auth/github"
COOKIE = "mindstream_github"
LIFETIME = 600
"""Seconds for which the cookie, and a login that wants a code, are good."""

register(
    "GITHUB_STATE_INVALID",
    400,
    "This is not the way back of a login that began here",
    "The login began in another browser or more than ten minutes ago. Begin again.",
)
register(
    "GITHUB_REFUSED",
    401,
    "GitHub does not say who this is",
    "The login was cancelled at GitHub, or its code was used before. Begin again.",
)
register(
    "ADDRESS_UNVERIFIED",
    409,
    "The address is not verified",
    "A GitHub account opens an account here if its primary address is verified, at GitHub and here."
    " Verify it, or log in with the password.",
)
register(
    "GITHUB_LINKED_ELSEWHERE",
    409,
    "The account is linked to another GitHub account",
    "Log in with that GitHub account, or with the password.",
)

_CHALLENGE = {"www-authenticate": "Bearer"}

ERRORS: dict[type[Exception], Mapper] = {
    GithubRefused: lambda error: Problem("GITHUB_REFUSED", headers=_CHALLENGE),
    AddressUnverified: lambda error: Problem(
        "ADDRESS_UNVERIFIED", f"{error.where} has not verified this address."
    ),
    GithubLinkedElsewhere: lambda error: Problem("GITHUB_LINKED_ELSEWHERE"),
}
"""How the refusals of this are answered."""


class Sealing(Protocol):
    """Encrypts what a client carries; ``adapters.sealing.Sealer`` does."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt; ``context`` is authenticated and must be given again to open."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what ``seal`` made, or raise."""
        ...


class Begun(msgspec.Struct, frozen=True):
    """What the cookie carries; ``until`` is in seconds of the Unix epoch."""

    state: str
    verifier: str
    until: float


class Half(msgspec.Struct, frozen=True):
    """Whom GitHub has vouched for, while a code is wanted."""

    user_id: UUID
    until: float


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """What GitHub sends back. It may add parameters, so that unknown ones are passed over."""

    code: str | None = None
    state: str | None = None
    error: str | None = None


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The second half of a login: what the first answered, and a code."""

    continuation: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    totp: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Carried:
    """Seals what passes through a browser; ``clock`` tells the time in UTC."""

    def __init__(
        self, sealing: Sealing, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._sealing = sealing
        self._clock = clock

    def until(self) -> float:
        """When what is sealed now ends."""
        return self._clock().timestamp() + LIFETIME

    def seal(self, value: Begun | Half) -> str:
        """The value as text that means nothing to its bearer."""
        sealed = self._sealing.seal(msgspec.json.encode(value), _context(type(value)))
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str, kind: type[T]) -> T:
        """What was sealed.

        Raises:
            Problem: 400 where it is not ours, or too old.
        """
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            value: Any = msgspec.json.decode(self._sealing.open(raw, _context(kind)), type=kind)
        except Exception:  # noqa: BLE001  whatever is wrong with it, it is not ours
            raise Problem("GITHUB_STATE_INVALID") from None
        if value.until < self._clock().timestamp():
            raise Problem("GITHUB_STATE_INVALID")
        return value  # type: ignore[no-any-return]  # decoded as kind


def routes(logins: GithubLogins, visiting: Visiting, carried: Carried) -> list[HTTPRouteHandler]:
    """The handlers, to be made where GitHub is set up."""

    @get(
        PATH,
        opt={
            "operation": Operation(
                summary="Log in with GitHub",
                description="Sends a browser to GitHub, which sends it back to `…/callback`.",
                tags=TAGS,
                statuses=(302,),
                query=NoQuery,
                operation_id="begin_github_login",
            )
        },
    )
    async def begin_github_login(request: AnyRequest) -> Answer:
        query(request, NoQuery)
        begun = Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(48), carried.until())
        digest = sha256(begun.verifier.encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        return Answer(
            302,
            [
                (b"location", logins.github.authorize_url(begun.state, challenge).encode("ascii")),
                (b"set-cookie", _cookie(request, carried.seal(begun), LIFETIME)),
                (b"cache-control", b"no-store"),
                (b"content-length", b"0"),
            ],
        )

    @get(
        f"{PATH}/callback",
        opt={
            "operation": Operation(
                summary="Come back from GitHub",
                description="A GitHub account opens the account that it was linked to, or the one"
                " with its verified address, or a new one. Where the second factor is on, the"
                " answer is 401 `TOTP_REQUIRED` with a `continuation` for `…/confirm`.",
                tags=TAGS,
                response=Grant,
                query=Return,
                problems=(
                    "GITHUB_STATE_INVALID",
                    "GITHUB_REFUSED",
                    "ADDRESS_UNVERIFIED",
                    "GITHUB_LINKED_ELSEWHERE",
                    "TOTP_REQUIRED",
                    "ACCOUNT_DELETED",
                    "UNAVAILABLE",
                ),
                operation_id="finish_github_login",
            )
        },
    )
    async def finish_github_login(request: AnyRequest) -> Answer:
        returned = _returned(request)
        begun = carried.open(request.cookies.get(COOKIE, ""), Begun)
        if not hmac.compare_digest(begun.state.encode(), (returned.state or "").encode()):
            raise Problem("GITHUB_STATE_INVALID")
        if returned.code is None or returned.error is not None:
            raise GithubRefused
        account = await logins.github.account(returned.code, begun.verifier)
        visit = visiting.visit(request)
        person = await logins.identify(account, visit)
        try:
            outcome = await logins.enter(person, visit)
        except TotpRequired:
            half = carried.seal(Half(person.id, carried.until()))
            raise Problem(
                "TOTP_REQUIRED", extra={"continuation": half}, headers=_CHALLENGE
            ) from None
        answer = _granted(request, outcome.result, outcome.position)
        answer.raw_headers.append((b"set-cookie", _cookie(request, "", 0)))
        return answer

    @post(
        f"{PATH}/confirm",
        opt={
            "operation": Operation(
                summary="Give a code after coming back from GitHub",
                tags=TAGS,
                body=Code,
                response=Grant,
                problems=(
                    "GITHUB_STATE_INVALID",
                    "INVALID_TOTP",
                    "ACCOUNT_DELETED",
                    "TOO_MANY_ATTEMPTS",
                    "UNAVAILABLE",
                ),
                examples={"code": {"continuation": "AQ…", "totp": "492039"}},
                operation_id="confirm_github_login",
            )
        },
    )
    async def confirm_github_login(request: AnyRequest) -> Answer:
        body = await body_of(request)
        asked = decode_body(body, header(request, b"content-type"), Code)
        half = carried.open(asked.continuation, Half)
        return await visiting.answer(
            request,
            body,
            lambda visit: logins.finish(half.user_id, asked.totp, visit),
            lambda grant: _granted(request, grant),
        )

    return [begin_github_login, finish_github_login, confirm_github_login]


def _returned(request: AnyRequest) -> Return:
    raw: bytes = request.scope.get("query_string", b"")
    given = dict(parse_qsl(raw.decode("latin-1"), errors="replace"))
    return Return(code=given.get("code"), state=given.get("state"), error=given.get("error"))


def _granted(request: AnyRequest, grant: Grant, position: int | None = None) -> Answer:
    return ok(request, grant, message="Logged in", token=position)


def _cookie(request: AnyRequest, value: str, seconds: int) -> bytes:
    # Whoever forges the header has a cookie of their own that their browser does not send back.
    proxied = header(request, b"x-forwarded-proto")
    secure = "; Secure" if "https" in (request.url.scheme, proxied) else ""
    return (
        f"{COOKIE}={value}; Path={PATH}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    ).encode("ascii")


def _context(kind: type) -> bytes:
    return b"accounts/github-login/" + kind.__name__.encode()
