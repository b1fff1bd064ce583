"""Safe retries: the client's key, the hash of its request, and the first answer once more.

Owns the reading of ``Idempotency-Key`` and the two ways between an answer and what is stored of
it. The store keeps it: ``commands.ports.Idempotency``.
"""

from __future__ import annotations

import hashlib
import re

from adapters.http.context import HasScope, context_of, principal_of
from adapters.http.problems import Problem, invalid
from adapters.http.responses import Answer
from commands.ports import Response
from domain.faults import Fault

MAX_LENGTH = 255
FIELD = "Idempotency-Key"

_KEY = re.compile(rb"[\x20-\x7e]{1,255}")

_FRESH = frozenset((b"content-length", b"date", b"x-request-id", b"ratelimit", b"ratelimit-policy"))
"""Headers that each answer has anew."""


def key_of(request: HasScope) -> str | None:
    """The request's key, None where it has none.

    Raises:
        Problem: 422 where it is empty, longer than 255 characters, not printable, or repeated.
    """
    if context_of(request).headers.get(b"idempotency-key") is None:
        return None
    given = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if len(given) > 1:
        raise invalid(Fault(FIELD, "invalid_format", "Send one Idempotency-Key."))
    key: bytes = given[0]
    if len(key) > MAX_LENGTH:
        message = f"This must have at most {MAX_LENGTH} characters."
        raise invalid(Fault(FIELD, "too_long", message))
    if not key.strip():
        raise invalid(Fault(FIELD, "too_short", "This must not be empty."))
    if not _KEY.fullmatch(key):
        message = "This must consist of printable ASCII characters."
        raise invalid(Fault(FIELD, "invalid_character", message))
    return key.decode("ascii")


def principal_name(request: HasScope) -> str:
    """Whose key it is: keys are counted per principal, on open paths per client address."""
    context = context_of(request)
    if context.principal is not None:
        return str(principal_of(request).user_id)
    return f"address:{context.client_address or 'local'}"


def request_hash(method: str, path: str, query: bytes, body: bytes) -> bytes:
    """SHA-256 over the whole request; each part is preceded by its length."""
    digest = hashlib.sha256()
    for part in (method.encode("ascii"), path.encode("utf-8", "surrogatepass"), query, body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def hash_of(request: HasScope, body: bytes) -> bytes:
    """``request_hash`` of this request."""
    scope = request.scope
    return request_hash(scope["method"], scope["path"], scope.get("query_string", b""), body)


def stored(answer: Answer) -> Response:
    """What is kept of an answer."""
    return Response(
        answer.status_code or 200,
        tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in answer.raw_headers
            if name not in _FRESH
        ),
        answer.body,
    )


def replay(response: Response, token: str | None = None) -> Answer:
    """The first answer once more; ``token`` is its write's Consistency-Token.

    The body is the first one's to the byte, its ``requestId`` included; ``X-Request-Id`` is this
    request's own.
    """
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers
        if token is None or name != "consistency-token"
    ]
    if response.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(response.body)))
    if token is not None:
        headers.append((b"consistency-token", token.encode("ascii")))
    headers.append((b"idempotency-replayed", b"true"))
    return Answer(response.status, headers, response.body)


def reused() -> Problem:
    """422: the key belongs to another request."""
    message = "This key was used for another method, path or body."
    return Problem(
        "IDEMPOTENCY_KEY_REUSED", message, errors=(Fault(FIELD, "not_allowed", message),)
    )
