"""The gateway's HTTP connections: what cannot be read as a request is answered as a problem.

Owns the answers that the HTTP server would otherwise give in a form of its own, and keeps what a
client sent out of its log: a request line holds the query string.
"""

from __future__ import annotations

from aiohttp import web

from adapters.http.context import new_request_id
from adapters.http.problems import MEDIA_TYPE, Problem, render

OWN_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "mindstream",
}
"""Headers of every answer that no API gave."""


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
    """One client's connection."""

    __slots__ = ()

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
        if status < 500:
            problem = Problem("MALFORMED_REQUEST", "This is not a well-formed HTTP request.")
        else:
            problem = Problem("INTERNAL_ERROR")
            self.logger.error("unexpected error in the gateway: %s", type(exc).__name__)
        response = answer_of(problem, None, new_request_id(None))
        response.force_close()
        return response


class Server(web.Server):
    """Makes a ``Connection`` for each client."""

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)
