"""From exceptions to problems: what handlers may raise, and what it answers.

Owns the table of what every context shares; each API adds its own rows. What is in no table is a
fault of ours: it is logged with the request's id and answered with 500.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from traceback import extract_tb
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

from adapters.http.conditional import etag
from adapters.http.context import HasScope, context_of
from adapters.http.problems import Problem, invalid, retry_after
from adapters.http.responses import Answer, failed
from adapters.http.validation import malformed
from commands.validation import Malformed
from domain.errors import Forbidden, NotFound, Stale
from domain.faults import Invalid
from projections.reading import ReadUnavailable

_log = logging.getLogger("mindstream.http")

Mapper = Callable[[Any], Problem]

_SAYS_NOTHING_PRIVATE = (
    AssertionError,
    AttributeError,
    ImportError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
)
"""Errors whose text comes from code and not from data, so that it may be logged."""


def stale(error: Stale) -> Problem:
    """412, with the current version."""
    return Problem(
        "VERSION_STALE",
        f"The current version is {error.actual}.",
        extra={"current_version": error.actual},
        headers={"etag": etag(error.actual)},
    )


def unavailable(seconds: float = 2, detail: str | None = None) -> Problem:
    """503 with ``Retry-After``."""
    return Problem("UNAVAILABLE", detail, headers=retry_after(seconds))


SHARED: dict[type[Exception], Mapper] = {
    Invalid: lambda error: invalid(*error.faults),
    Malformed: malformed,
    NotFound: lambda error: Problem("NOT_FOUND"),
    Forbidden: lambda error: Problem("FORBIDDEN", str(error) or None),
    Stale: stale,
    ReadUnavailable: lambda error: unavailable(),
}
"""What every context shares."""

_BY_STATUS = {
    400: "MALFORMED_REQUEST",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    429: "RATE_LIMITED",
    503: "UNAVAILABLE",
}


def exception_handlers(
    table: Mapping[type[Exception], Mapper] | None = None,
) -> dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Answer]]:
    """Handlers for Litestar: the shared table, and on top of it an API's own."""

    def handler(mapper: Mapper) -> Callable[[Request[Any, Any, Any], Any], Answer]:
        def handle(request: Request[Any, Any, Any], error: Any) -> Answer:
            return failed(mapper(error), request)

        return handle

    def unexpected(request: Request[Any, Any, Any], error: Exception) -> Answer:
        return failed(internal(request, error), request)

    handlers: dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Answer]] = {
        kind: handler(mapper) for kind, mapper in {**SHARED, **(table or {})}.items()
    }
    handlers[Problem] = handler(lambda problem: problem)
    handlers[HTTPException] = lambda request, error: failed(_from_litestar(request, error), request)
    handlers[Exception] = unexpected
    return handlers


def internal(request: HasScope, error: BaseException) -> Problem:
    """Log a fault of ours, and answer with nothing but the request's id."""
    report(error, context_of(request).request_id, request.scope.get("path_template"))
    return Problem("INTERNAL_ERROR")


def report(error: BaseException, request_id: str, route: str | None) -> None:
    """Log where an error came from, without the data that its message may repeat."""
    causes: list[str] = []
    at: BaseException | None = error
    while at is not None and len(causes) < 5:
        causes.append(_described(at))
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    _log.error(
        "unexpected error in %s, request %s: %s",
        route or "-",
        request_id,
        " <- ".join(causes),
        extra={"request_id": request_id, "route": route},
    )


def _described(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "[" + ", ".join(_described(inner) for inner in error.exceptions[:3]) + "]"
    frames = extract_tb(error.__traceback__)[-12:]
    where = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        name += f" [{state}]"
    if isinstance(error, _SAYS_NOTHING_PRIVATE):
        name += f" ({error})"
    return f"{name} at {where}"


def _offered(request: HasScope) -> str | None:
    """What the path takes over both APIs, if this method is not among it."""
    routes = context_of(request).routes
    if routes is None:
        return None
    methods = routes.methods(request.scope["path"])
    return None if request.scope["method"] in methods else ", ".join(sorted(methods))


def _from_litestar(request: HasScope, error: HTTPException) -> Problem:
    """A refusal by the framework itself: an unknown path or method, most often."""
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        if error.status_code < 500:
            return Problem("MALFORMED_REQUEST")
        return internal(request, error)
    if code in ("NOT_FOUND", "METHOD_NOT_ALLOWED") and "path_template" not in request.scope:
        elsewhere = _offered(request)
        if elsewhere:
            return Problem("METHOD_NOT_ALLOWED", headers={"allow": elsewhere})
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if code == "UNAUTHENTICATED":
        headers.setdefault("www-authenticate", "Bearer")
    if code in ("RATE_LIMITED", "UNAVAILABLE"):
        headers.setdefault("retry-after", "1")
    return Problem(code, headers=headers)
