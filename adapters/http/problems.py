"""Errors as answers: RFC 9457 problem details that also carry the envelope's fields.

Owns the registry of codes and how a problem is written. ``errors`` maps exceptions to problems,
``pages`` serves the page behind each ``type``. Contexts add their own codes with ``register``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from domain.faults import Fault

MEDIA_TYPE = b"application/problem+json"


class ProblemType(msgspec.Struct, frozen=True):
    """A kind of problem: ``code`` is stable, ``explanation`` tells a person what to do about it."""

    code: str
    status: int
    title: str
    explanation: str

    @property
    def slug(self) -> str:
        """The code as the last part of a path (``version-stale``)."""
        return self.code.lower().replace("_", "-")

    @property
    def uri(self) -> str:
        """The ``type`` member: a page that explains this problem."""
        return f"/problems/{self.slug}"


PROBLEMS: dict[str, ProblemType] = {}
"""Every kind of problem by its code."""


def register(code: str, status: int, title: str, explanation: str) -> ProblemType:
    """Add a kind of problem, once for each code.

    Raises:
        TypeError: the code is registered with another meaning.
    """
    kind = ProblemType(code, status, title, explanation)
    if PROBLEMS.setdefault(code, kind) != kind:
        raise TypeError(f"problem {code} is registered already")
    return kind


class Problem(Exception):
    """An answer that is an error.

    ``detail`` is one sentence about this occurrence and never repeats private input. ``extra``
    adds members to the body (``{"entry_id": …}``), ``headers`` adds headers (names in lower case).
    """

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: tuple[Fault, ...] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = PROBLEMS[code]
        super().__init__(code)
        self.kind = kind
        self.code = code
        self.status = kind.status
        self.detail = detail or kind.title
        self.errors = errors
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


_RESERVED = frozenset(
    (
        *("type", "title", "status", "detail", "instance"),
        *("success", "message", "timestamp", "requestId", "code", "errors"),
    )
)


def render(
    problem: Problem, request_id: str, instance: str | None = None, now: datetime | None = None
) -> bytes:
    """The body of a problem as JSON; ``instance`` is the request's path without its query.

    Raises:
        ValueError: ``extra`` would overwrite a member that every problem has.
    """
    if not _RESERVED.isdisjoint(problem.extra):
        raise ValueError(f"extra members of {problem.code} clash with the standard ones")
    body: dict[str, Any] = {
        "type": problem.kind.uri,
        "title": problem.kind.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    if instance is not None:
        body["instance"] = instance.encode("utf-8", "backslashreplace").decode()
    body["success"] = False
    body["message"] = problem.detail
    body["timestamp"] = now or datetime.now(UTC)
    body["requestId"] = request_id
    body["code"] = problem.code
    if problem.errors:
        body["errors"] = problem.errors
    body.update(problem.extra)
    return msgspec.json.encode(body)


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to come back: whole seconds, at least one."""
    return {"retry-after": str(max(1, -int(-seconds // 1)))}


def invalid(*faults: Fault) -> Problem:
    """422 with these faults."""
    count = len(faults)
    detail = faults[0].message if count == 1 else f"The request has {count} faults."
    return Problem("VALIDATION_FAILED", detail, errors=faults)


for _code, _status, _title, _explanation in (
    (
        "MALFORMED_JSON",
        400,
        "The body is not JSON",
        (
            "The body could not be read as JSON in UTF-8. The detail names the byte where that is"
            " known. Nothing was changed."
        ),
    ),
    (
        "MALFORMED_REQUEST",
        400,
        "The request is malformed",
        "The request line, a header or the query could not be read. Nothing was changed.",
    ),
    (
        "REQUEST_TIMEOUT",
        408,
        "The body did not come in time",
        "It stopped, or came too slowly. Nothing was changed; send the request again.",
    ),
    (
        "INVALID_CONSISTENCY_TOKEN",
        400,
        "The Consistency-Token is not one",
        "Send a Consistency-Token exactly as an earlier answer gave it, or leave it out.",
    ),
    (
        "UNAUTHENTICATED",
        401,
        "Authentication is needed",
        (
            "Send `Authorization: Bearer …` with an access token, or `X-API-Key`. The credentials"
            " that came, if any, are not valid, or the login they belong to has ended."
        ),
    ),
    (
        "TOKEN_EXPIRED",
        401,
        "The access token has expired",
        "Access tokens live for a quarter of an hour. Get a new one with the refresh token.",
    ),
    (
        "INVALID_CREDENTIALS",
        401,
        "Address or password is wrong",
        "The two are told apart on purpose neither here nor in the time the answer takes.",
    ),
    (
        "FORBIDDEN",
        403,
        "Not allowed",
        "You are known, but what you asked for needs a permission that you do not have.",
    ),
    (
        "TENANT_SUSPENDED",
        403,
        "The tenant is suspended",
        "An operator has suspended the tenant that this belongs to. Nothing is lost; ask them.",
    ),
    (
        "NOT_FOUND",
        404,
        "Not found",
        "There is no such thing, or it is not yours: the two look alike on purpose.",
    ),
    (
        "METHOD_NOT_ALLOWED",
        405,
        "This method is not offered here",
        "The header `Allow` lists the methods that this path takes.",
    ),
    (
        "NOT_ACCEPTABLE",
        406,
        "None of the accepted types is offered",
        "Ask in `Accept` for a type that the documentation of this call lists.",
    ),
    (
        "DUPLICATE_ENTRY_DATE",
        409,
        "This day has an entry",
        (
            "There is one entry for each day. The member `entry_id` names the existing one: change"
            " that, or choose another day."
        ),
    ),
    (
        "IDEMPOTENCY_IN_PROGRESS",
        409,
        "The first request with this key still runs",
        (
            "Repeat the request after the time in `Retry-After`; it then answers with the outcome"
            " of the first one."
        ),
    ),
    (
        "CONFLICT",
        409,
        "The request conflicts with the present state",
        "Read the resource again and decide anew.",
    ),
    (
        "VERSION_STALE",
        412,
        "The resource has changed since you read it",
        "Read it again, and repeat the change with its new ETag in `If-Match`.",
    ),
    (
        "PAYLOAD_TOO_LARGE",
        413,
        "The body is too large",
        "The detail says how many bytes are taken. Nothing was changed.",
    ),
    (
        "URI_TOO_LONG",
        414,
        "The address is too long",
        "A target, query included, has 8,190 bytes at most. Nothing was changed.",
    ),
    (
        "UNSUPPORTED_MEDIA_TYPE",
        415,
        "The body's type is not taken here",
        "Send the body with the `Content-Type` that the documentation of this call names.",
    ),
    (
        "VALIDATION_FAILED",
        422,
        "The request is invalid",
        (
            "The member `errors` lists every fault with its field, a stable code and a sentence."
            " Correct them and send the request again."
        ),
    ),
    (
        "IDEMPOTENCY_KEY_REUSED",
        422,
        "This Idempotency-Key belongs to another request",
        "A key stands for one method, path and body. Use a new key for a new request.",
    ),
    (
        "INVALID_CURSOR",
        422,
        "The cursor does not belong here",
        (
            "Send a cursor only to the list that gave it, with the same filters and order, as the"
            " same person. Begin again without one."
        ),
    ),
    (
        "IF_MATCH_REQUIRED",
        428,
        "If-Match is required",
        (
            "Send the ETag of the version that you read in `If-Match`, so that no change of"
            " somebody else is lost."
        ),
    ),
    (
        "HEADERS_TOO_LARGE",
        431,
        "The headers are too large",
        "A header has 8,190 bytes at most, and there are at most 128. Nothing was changed.",
    ),
    (
        "RATE_LIMITED",
        429,
        "Too many requests",
        "Wait for the seconds that `Retry-After` names. `RateLimit` tells what is left.",
    ),
    (
        "QUOTA_EXCEEDED",
        429,
        "The key's monthly quota is used up",
        "Wait until the month is over (`Retry-After`), or give the key a larger quota.",
    ),
    (
        "INTERNAL_ERROR",
        500,
        "Something went wrong on our side",
        (
            "The fault was logged under the `requestId`. A request with an Idempotency-Key can"
            " safely be repeated."
        ),
    ),
    (
        "READ_MODEL_BEHIND",
        503,
        "The read model has not caught up with your write",
        (
            "The member `projection` names it, and `lag` how far it is behind. Repeat the request"
            " after `Retry-After`, wait longer with `Prefer: wait=10`, or leave out the"
            " Consistency-Token to read what there is."
        ),
    ),
    (
        "UNAVAILABLE",
        503,
        "A service that this needs does not answer",
        "Nothing is lost. Repeat the request after `Retry-After`.",
    ),
):
    register(_code, _status, _title, _explanation)
