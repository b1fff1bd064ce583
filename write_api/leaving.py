"""The ways out over HTTP, and the one back: a login ended from afar, an account deleted, restored.

Owns the translation between requests and ``commands.logins``. Logout is ``write_api/logins.py``'s.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from adapters.http.bodies import body_of
from adapters.http.conditional import required_version
from adapters.http.context import header, principal_of
from adapters.http.handlers import delete, post
from adapters.http.operation import Operation
from adapters.http.responses import Answer, no_content, ok
from adapters.http.validation import decode_body
from commands.credentials import LONGEST_PASSWORD
from commands.logins import Logins
from domain.accounts.person import Person
from domain.errors import NotFound
from write_api.answering import Answering
from write_api.logins import TAGS, Visiting, login_of

AnyRequest = Request[Any, Any, Any]


class Return(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What proves whose account it was."""

    email: Annotated[str, Meta(min_length=1, max_length=1024)]
    password: Annotated[str, Meta(min_length=1, max_length=LONGEST_PASSWORD)]


class Restored(msgspec.Struct, frozen=True):
    """Whose account it is."""

    id: UUID
    email: str


def routes(answering: Answering, logins: Logins, visiting: Visiting) -> list[HTTPRouteHandler]:
    """The handlers; ``answering`` is for those who are logged in."""

    @delete(
        "/v1/me/logins/{login_id:str}",
        opt={
            "operation": Operation(
                summary="End one of one's logins",
                description="Its tokens are refused within seconds, access tokens included. A login"
                " has no versions and takes no If-Match.",
                tags=TAGS,
                statuses=(204,),
                problems=("FORBIDDEN", "NOT_FOUND"),
                if_match=False,
                operation_id="end_login",
            )
        },
    )
    async def end_login(request: AnyRequest) -> Answer:
        principal = principal_of(request)
        login_of(principal)
        try:
            login_id = UUID(request.path_params["login_id"])
        except ValueError:
            raise NotFound("login") from None
        return await answering.run(
            request,
            lambda context: logins.end(login_id, context, principal.user_id),
            lambda _: no_content(request),
        )

    @delete(
        "/v1/me",
        opt={
            "operation": Operation(
                summary="Delete one's account",
                description="Ends every login. For 30 days `POST /v1/me/restore` brings everything"
                " back; then it is erased.",
                tags=TAGS,
                statuses=(204,),
                problems=("FORBIDDEN",),
                operation_id="delete_me",
            )
        },
    )
    async def delete_me(request: AnyRequest) -> Answer:
        login_of(principal_of(request))
        expected = required_version(request)
        return await answering.run(
            request,
            lambda context: logins.leave(expected, context),
            lambda person: no_content(request),
        )

    @post(
        "/v1/me/restore",
        opt={
            "operation": Operation(
                summary="Restore one's deleted account",
                description="Takes what a login takes, and counts wrong passwords like one. It logs"
                " nobody in. An account that was not deleted stays as it is.",
                tags=TAGS,
                body=Return,
                response=Restored,
                problems=(
                    "INVALID_CREDENTIALS",
                    "ACCOUNT_DELETED",
                    "TOO_MANY_ATTEMPTS",
                    "UNAVAILABLE",
                ),
                examples={
                    "person": {"email": "ada@example.com", "password": "a long walk by the river"}
                },
                operation_id="restore_me",
            )
        },
    )
    async def restore_me(request: AnyRequest) -> Answer:
        body = await body_of(request)
        asked = decode_body(body, header(request, b"content-type"), Return)

        def render(person: Person) -> Answer:
            return ok(request, Restored(person.id, person.email), message="Welcome back")

        return await visiting.answer(
            request, body, lambda visit: logins.restore(asked.email, asked.password, visit), render
        )

    return [end_login, delete_me, restore_me]
