"""The gateway's HTTP connections: what cannot be read as a request is answered as a problem.

Owns the answers that the HTTP server would otherwise give in a form of its own, and keeps what a
client sent out of its log: a request line holds the query string.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong

from adapters.http.context import new_request_id
from adapters.http.conventions import no_such_method
from adapters.http.problems import MEDIA_TYPE, Problem, render

OWN_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "mindstream",
}
"""Headers of every answer that no API gave."""

LOOK_SECONDS = 0.05
"""How often it is looked whether connections have ended, when the gateway does."""

_OTHER_METHOD = re.compile(r"b['\"][!#$%&'*+.^_`|~0-9A-Za-z-]+ (/[^\s?]*)\S* HTTP/1\.[01]['\"]\n")
"""A request line as the parser quotes it, sound but for a method that it does not know."""


def answer_of(problem: Problem, instance: str | None, request_id: str) -> web.Response:
    """A problem as the gateway's own answer."""
    headers = {
        "Content-Type": MEDIA_TYPE.decode(),
        "X-Request-Id": request_id,
        **OWN_HEADERS,
        **problem.headers,
    }
    body = render(problem, request_id, instance=instance)
    return web.Response(status=problem.status, body=body, headers=headers)


class Connection(web.RequestHandler):
    """One client's connection; ``when_lost`` is called when the client goes, if it is set."""

    __slots__ = ("when_lost",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.when_lost: Callable[[], None] | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self._request_in_progress

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that the client is gone."""
        super().connection_lost(exc)
        when_lost, self.when_lost = self.when_lost, None
        if when_lost is not None:
            when_lost()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what was no request at all, or could not be finished; the connection ends."""
        if request.writer.output_size > 0:
            raise ConnectionError("The answer has begun already.")
        path = None
        if status < 500:
            problem, path = _unreadable(exc)
        elif request.transport is None:  # the client went away in the middle of its body
            problem = Problem("MALFORMED_REQUEST")
        else:
            problem = Problem("INTERNAL_ERROR")
            self.logger.error("unexpected error in the gateway: %s", type(exc).__name__)
        response = answer_of(problem, path, new_request_id(None))
        response.force_close()
        return response


class Server(web.Server):
    """Makes a ``Connection`` for each client."""

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    async def emptied(self) -> None:
        """Wait until no client is connected."""
        while self.connections:  # noqa: ASYNC110 - of each end nobody is told
            await asyncio.sleep(LOOK_SECONDS)

    async def answered(self) -> None:
        """Wait until no answer is under way."""
        while any(  # noqa: ASYNC110 - likewise
            each.busy for each in cast("list[Connection]", self.connections)
        ):
            await asyncio.sleep(LOOK_SECONDS)


def _unreadable(error: BaseException | None) -> tuple[Problem, str | None]:
    """Why something was not taken for a request, and its path where that is known."""
    said = getattr(error, "message", "")
    if isinstance(error, BadHttpMethod) and (line := _OTHER_METHOD.search(said)):
        return no_such_method(), line[1]
    if isinstance(error, LineTooLong):
        # The parser collects a target in an array, and headers in bytes.
        return Problem("URI_TOO_LONG" if "bytearray(" in said else "HEADERS_TOO_LARGE"), None
    if "Too many headers" in said:
        return Problem("HEADERS_TOO_LARGE"), None
    return Problem("MALFORMED_REQUEST", "This is not a well-formed HTTP request."), None
