"""API keys over HTTP: made, revised and deleted.

Owns the translation between requests and ``commands.keys``, and that a key is kept before it is
told. Only people call this: no key makes or changes keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.bodies import body_of
from adapters.http.conditional import required_version
from adapters.http.context import principal_of
from adapters.http.handlers import delete, patch, post
from adapters.http.operation import Operation
from adapters.http.problems import Problem
from adapters.http.responses import Answer, no_content, ok
from commands.keys import DeleteKey, KeySecrets, MakeKey, ReviseKey, find_key
from commands.ports import EventStore
from domain.accounts.key import ApiKey, KeyChanges, KeyDraft, faults_of
from domain.faults import Fault
from projections.accounts.keys import KeyDocument, NewKeyDocument, document_of, shown_of
from write_api.answering import Answering
from write_api.bodies import decode_checked

AnyRequest = Request[Any, Any, Any]

TAGS = ("API keys",)
_ONE = "/v1/api-keys/{key_id:str}"
_EXAMPLE = {
    "name": "Backup",
    "permissions": ["journal:read"],
    "limit_per_minute": 60,
    "monthly_quota": 10_000,
    "allowed_addresses": ["192.0.2.0/24"],
    "expires_at": "2027-01-01T00:00:00Z",
}


def routes(
    answering: Answering,
    store: EventStore,
    secrets: KeySecrets,
    last_used: Callable[[UUID, list[UUID]], Awaitable[dict[UUID, datetime]]],
    new_id: Callable[[], UUID],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[HTTPRouteHandler]:
    """The handlers; ``new_id`` draws the ids of new keys (UUIDv7)."""

    @post(
        "/v1/api-keys",
        opt={
            "operation": Operation(
                summary="Make an API key",
                description="`key` is shown in this answer only. A key acts for its maker and may"
                " be allowed no more than they are. A permission under `conditions` holds only for"
                " these `methods`, for calls about one of these `ids`, and `until` then.",
                tags=TAGS,
                body=KeyDraft,
                response=NewKeyDocument,
                statuses=(201,),
                examples={
                    "key": _EXAMPLE,
                    "conditions": {
                        "name": "Reader",
                        "permissions": [
                            {"permission": "journal:read", "conditions": {"methods": ["GET"]}}
                        ],
                        "allowed_origins": ["https://app.example.com"],
                    },
                },
                operation_id="make_api_key",
            )
        },
    )
    async def make_api_key(request: AnyRequest) -> Answer:
        principal = principal_of(request)
        body = await body_of(request)
        draft = await decode_checked(request, body, KeyDraft, _faults)
        drawn, key_id = secrets.draw(), new_id()

        def render(key: ApiKey) -> Answer:
            shown = shown_of(key, last_used_at=None, now=key.created_at)
            return ok(
                request,
                NewKeyDocument(**shown, key=drawn.key),
                status=201,
                message="API key made",
                etag=key.version,
                location=f"/v1/api-keys/{key.id}",
            )

        command = MakeKey(key_id, drawn.prefix, draft, principal.permissions)
        await secrets.keep(key_id, principal.user_id, drawn.hash)
        try:
            answer = await answering.answer(request, command, render, body=body)
        except Exception:
            await secrets.forget(key_id)
            raise
        if answer.status_code != 201 or answer.header(b"idempotency-replayed") is not None:
            await secrets.forget(key_id)  # what is told is an earlier key, or a refusal
        return answer

    @patch(
        _ONE,
        opt={
            "operation": Operation(
                summary="Revise an API key",
                description="Fields that are not sent stay as they are; null clears. It holds"
                " everywhere within three seconds.",
                tags=TAGS,
                body=KeyChanges,
                response=KeyDocument,
                examples={"suspension": {"state": "suspended"}},
                operation_id="revise_api_key",
            )
        },
    )
    async def revise_api_key(request: AnyRequest) -> Answer:
        principal = principal_of(request)
        key_id = _id_of(request)
        body = await body_of(request)
        try:
            expected = required_version(request)
            changes = await decode_checked(request, body, KeyChanges, _faults)
        except Problem:
            await find_key(key_id, principal.user_id, store)
            raise
        used = await last_used(principal.user_id, [key_id])

        def render(key: ApiKey) -> Answer:
            document = document_of(key, last_used_at=used.get(key_id), now=clock())
            return ok(request, document, message="API key revised", etag=key.version)

        command = ReviseKey(key_id, expected, changes, principal.permissions)
        answer = await answering.answer(request, command, render, body=body)
        await secrets.changed()
        return answer

    @delete(
        _ONE,
        opt={
            "operation": Operation(
                summary="Delete an API key",
                description="It is refused everywhere within three seconds.",
                tags=TAGS,
                statuses=(204,),
                operation_id="delete_api_key",
            )
        },
    )
    async def delete_api_key(request: AnyRequest) -> Answer:
        principal = principal_of(request)
        key_id = _id_of(request)
        try:
            expected = required_version(request)
        except Problem:
            await find_key(key_id, principal.user_id, store)
            raise
        command = DeleteKey(key_id, expected)
        answer = await answering.answer(request, command, lambda _: no_content(request))
        if answer.status_code == 204:
            await secrets.forget(key_id)
            await secrets.changed()
        return answer

    return [make_api_key, revise_api_key, delete_api_key]


def _id_of(request: AnyRequest) -> UUID:
    try:
        return UUID(request.path_params["key_id"])
    except ValueError:
        raise Problem("NOT_FOUND") from None


async def _faults(fields: Mapping[str, Any]) -> list[Fault]:
    return faults_of(fields)
