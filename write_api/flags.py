"""Feature flags over HTTP: set, revised and deleted by operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.bodies import body_of
from adapters.http.conditional import required_version
from adapters.http.context import header, require
from adapters.http.handlers import delete, patch, put
from adapters.http.operation import Operation
from adapters.http.problems import Problem, invalid
from adapters.http.responses import Answer, no_content, ok
from adapters.http.validation import decode_body
from commands.flags import DeleteFlag, PutFlag, ReviseFlag, find_flag
from commands.ports import EventStore
from domain.errors import NotFound
from domain.faults import Fault
from domain.flags.flag import LONGEST_NAME, Flag, FlagChanges, FlagRules, is_name
from projections.flags.definitions import FlagDocument, document_of
from write_api.answering import Answering

AnyRequest = Request[Any, Any, Any]

PERMISSION = "ops:write"
TAGS = ("Operators",)
_ONE = "/v1/ops/feature-flags/{name:str}"
_EXAMPLE = FlagRules(description="The new editor", enabled=True, percentage=10.0, tiers=("pro",))


def routes(answering: Answering, store: EventStore) -> list[HTTPRouteHandler]:
    """The handlers."""

    @put(
        _ONE,
        opt={
            "operation": Operation(
                summary="Set a feature flag as a whole",
                description="A new name makes a new flag: lower-case letters and digits, parted by"
                " dots, hyphens or underscores. `If-Match` is not asked for, but honoured.",
                tags=TAGS,
                body=FlagRules,
                response=FlagDocument,
                permission=PERMISSION,
                if_match=False,
                problems=("VERSION_STALE",),
                examples={"flag": _EXAMPLE},
                operation_id="put_flag",
            )
        },
    )
    async def put_flag(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        name: str = request.path_params["name"]
        expected = None
        if header(request, b"if-match") is not None:
            expected = required_version(request)
        body = await body_of(request)
        rules = decode_body(body, header(request, b"content-type"), FlagRules)
        if not is_name(name):
            message = f"At most {LONGEST_NAME} lower-case letters and digits, parted by . - or _"
            raise invalid(Fault("name", "invalid_format", message))
        command = PutFlag(name, rules, expected)
        return await answering.answer(request, command, _shows(request, "Set"), body=body)

    @patch(
        _ONE,
        opt={
            "operation": Operation(
                summary="Revise a feature flag",
                description="Fields that are not sent stay as they are; null clears.",
                tags=TAGS,
                body=FlagChanges,
                response=FlagDocument,
                permission=PERMISSION,
                examples={"more": {"percentage": 25}},
                operation_id="revise_flag",
            )
        },
    )
    async def revise_flag(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        name = _name_of(request)
        body = await body_of(request)
        try:
            expected = required_version(request)
            changes = decode_body(body, header(request, b"content-type"), FlagChanges)
        except Problem:
            await find_flag(name, store)
            raise
        command = ReviseFlag(name, expected, changes)
        return await answering.answer(request, command, _shows(request, "Revised"), body=body)

    @delete(
        _ONE,
        opt={
            "operation": Operation(
                summary="Delete a feature flag",
                description="It is off for everybody.",
                tags=TAGS,
                statuses=(204,),
                permission=PERMISSION,
                operation_id="delete_flag",
            )
        },
    )
    async def delete_flag(request: AnyRequest) -> Answer:
        require(request, PERMISSION)
        name = _name_of(request)
        try:
            expected = required_version(request)
        except Problem:
            await find_flag(name, store)
            raise
        command = DeleteFlag(name, expected)
        return await answering.answer(request, command, lambda _: no_content(request))

    return [put_flag, revise_flag, delete_flag]


def _name_of(request: AnyRequest) -> str:
    name: str = request.path_params["name"]
    if not is_name(name):
        raise NotFound("flag")
    return name


def _shows(request: AnyRequest, message: str) -> Callable[[Flag], Answer]:
    def render(flag: Flag) -> Answer:
        return ok(request, document_of(flag), message=message, etag=flag.version)

    return render
