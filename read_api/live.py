"""What happens, as it happens: ``GET /v1/stream`` and ``WS /v1/ws``.

Owns the translation of a request into a line of the feed, the same for both. How a stream is sent
is in ``adapters/http/sse.py``, the talk over a WebSocket in ``read_api/sockets.py``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

import msgspec
from litestar import Request, WebSocket, websocket
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from adapters.http.context import HasScope, context_of, header, principal_of
from adapters.http.doors import rule_of
from adapters.http.exchange import Exchange
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.passes import Pass
from adapters.http.principal import Principal
from adapters.http.problems import Problem, invalid, register, retry_after
from adapters.http.responses import Answer
from adapters.http.sse import HEADERS, MEDIA_TYPE, EventStream, frame
from adapters.http.validation import query
from adapters.http.websockets import refuse
from domain.faults import Fault
from projections.following import (
    Beyond,
    Ended,
    Feed,
    Line,
    Told,
    TooMany,
    chosen,
    followed,
    open_to,
)
from projections.reading import ReadUnavailable
from read_api.sockets import Message, converse

AnyRequest = Request[Any, Any, Any]

STREAM, SOCKET = "/v1/stream", "/v1/ws"
PERMISSION = "journal:read"
_LAST = "Last-Event-ID"
_TAGS = ("Live",)
_PROBLEMS = ("TOO_MANY_STREAMS", "VALIDATION_FAILED")

register(
    "TOO_MANY_STREAMS",
    429,
    "Too many live connections",
    "Close one of the streams or WebSockets that are open under these credentials, or use one for"
    " several topics.",
)
register(
    "UPGRADE_REQUIRED",
    426,
    "This is a WebSocket",
    "Open it as one (`Upgrade: websocket`), or follow `GET /v1/stream` over plain HTTP.",
)


class Presence(Protocol):
    """Shows who has a WebSocket open; ``adapters.live.presence.Presence`` does."""

    def add(self, user_id: UUID) -> str:
        """Note a connection; returns its id."""
        ...

    def remove(self, user_id: UUID, member: str) -> None:
        """Note that it is closed."""
        ...


class LiveQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters: which events, and after which position (without it: from now on)."""

    topics: (
        Annotated[
            str,
            msgspec.Meta(
                description="Names of events (`EntryWritten`, `journal.EntryWritten`) or contexts"
                " (`journal`), separated by commas; all where it is left out",
                max_length=2000,
                examples=["journal", "EntryWritten,EntryDeleted"],
            ),
        ]
        | None
    ) = None
    after: (
        Annotated[
            int,
            msgspec.Meta(description="The position of the last event that the client has", ge=0),
        ]
        | None
    ) = None


_STREAM = Operation(
    summary="Follow one's own events",
    description="Server-sent events: `id` is the position, `event` the topic without its version."
    " Whoever comes back with `Last-Event-ID` gets what they missed, once and in order; without it"
    " the stream begins now. It ends when the credentials are good no more.",
    tags=_TAGS,
    response=Told,
    response_media_type=MEDIA_TYPE,
    enveloped=False,
    query=LiveQuery,
    headers=(
        (_LAST, "The position of the last event that the client has; goes before `after`.", False),
    ),
    problems=_PROBLEMS,
    permission=PERMISSION,
    operation_id="stream",
)
_SOCKET = Operation(
    summary="Follow one's own events over a WebSocket",
    description="Each message is one event, as below. A browser offers the subprotocols `bearer,"
    ' <access token>`. `{"type": "ping"}` is answered by `{"type": "pong"}`. Codes of closing:'
    " 1001 we are restarting, 4008 the client does not read fast enough (come back with `after`),"
    " 4401 the credentials are good no more, 4403 the right is gone, 1008 or 1009 the client says"
    " too much, 1013 the store does not answer.",
    tags=_TAGS,
    statuses=(101,),
    response=Message,
    enveloped=False,
    query=LiveQuery,
    problems=(*_PROBLEMS, "UPGRADE_REQUIRED"),
    permission=PERMISSION,
    operation_id="websocket",
)


def routes(feed: Feed, *, comment_every: float) -> list[HTTPRouteHandler]:
    """The handlers that speak HTTP; a comment is sent after that many seconds of silence."""

    @get(STREAM, opt={"operation": _STREAM})
    async def stream(request: AnyRequest) -> Answer:
        names, after = _asked(request, header(request, b"last-event-id"))
        if context_of(request).head:
            return Answer(200, list(HEADERS))
        line = await _line(feed, request, names, after, "sse", STREAM, _STREAM)
        return EventStream(line, comment_every, frame)

    @get(SOCKET, opt={"operation": _SOCKET})
    async def upgrade(request: AnyRequest) -> Answer:
        _asked(request, None)
        raise Problem("UPGRADE_REQUIRED", headers={"upgrade": "websocket"})

    return [stream, upgrade]


def sockets(feed: Feed, presence: Presence) -> list[WebsocketRouteHandler]:
    """The handler that speaks WebSocket."""

    @websocket(SOCKET)
    async def talk(socket: WebSocket[Any, Any, Any]) -> None:
        try:
            names, after = _asked(socket, None)
            line = await _line(feed, socket, names, after, "ws", SOCKET, _SOCKET)
        except Problem as problem:
            send: Any = socket.send
            receive: Any = socket.receive
            await refuse(Exchange(context_of(socket), "GET", send), receive, send, problem)
            return
        principal = principal_of(socket)
        member = presence.add(principal.user_id)
        try:
            await converse(line, socket)
        finally:
            line.close()
            presence.remove(principal.user_id, member)

    return [talk]


async def _line(
    feed: Feed,
    request: HasScope,
    names: frozenset[str],
    after: int | None,
    kind: Literal["sse", "ws"],
    template: str,
    operation: Operation,
) -> Line:
    """Begin a line for whoever asks.

    Raises:
        Problem: 422 for a position ahead of the store, 429, 503.
    """
    principal = principal_of(request)
    credentials = Pass(context_of(request), rule_of(template, operation))
    try:
        return await feed.follow(
            principal.user_id,
            principal.actor,
            names=names,
            after=after,
            credentials=credentials,
            kind=kind,
        )
    except Beyond:
        field = _LAST if header(request, b"last-event-id") else "after"
        raise invalid(Fault(field, "too_large", "No event has this position yet.")) from None
    except TooMany as error:
        raise Problem(
            "TOO_MANY_STREAMS",
            f"{error.most} live connections are open under these credentials already.",
            headers=retry_after(5),
        ) from None
    except (Ended, ReadUnavailable):
        raise Problem("UNAVAILABLE", headers=retry_after(1)) from None


def _asked(request: HasScope, last: str | None) -> tuple[frozenset[str], int | None]:
    """The names of the events that are wanted, and the position after which.

    Raises:
        Problem: 422 with every fault; 403 for a context that the principal may not follow.
    """
    faults: list[Fault] = []
    names: frozenset[str] = frozenset()
    after: int | None = None
    try:
        asked = query(request, LiveQuery)
        after = asked.after
        names = _names(principal_of(request), asked.topics, faults)
    except Problem as problem:
        if problem.code != "VALIDATION_FAILED":
            raise
        faults += problem.errors
    last = (last or "").strip()
    if last:
        if last.isascii() and last.isdigit() and len(last) <= 18:
            after = int(last)
        else:
            faults.append(Fault(_LAST, "invalid_format", "This must be the id of an event."))
    if faults:
        raise invalid(*faults)
    return names, after


def _names(principal: Principal, topics: str | None, faults: list[Fault]) -> frozenset[str]:
    contexts = open_to(None if principal.key is None else principal.permissions)
    open_names = frozenset(name for name in followed() if name.partition(".")[0] in contexts)
    if topics is None:
        return open_names
    wanted: set[str] = set()
    for number, part in enumerate(topics.split(",")):
        names = chosen(part.strip())
        if not names:
            message = "There is no such event or context to follow."
            faults.append(Fault(f"topics.{number}", "not_allowed", message))
        elif names.isdisjoint(open_names):
            raise Problem("FORBIDDEN", "No API key may follow these events.")
        wanted |= names
    return open_names & wanted
