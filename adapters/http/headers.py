"""The contract's headers, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from adapters.http.operation import Operation

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}


def _header(name: str, description: str, schema: Json = _TEXT, *, required: bool = False) -> Json:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": schema,
    }


IF_MATCH = _header(
    "If-Match",
    'The ETag of the version that the change is meant for, such as `"3"`.',
    {"type": "string", "examples": ['"3"']},
    required=True,
)
IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "Makes a retry safe: the first outcome is kept for a day and given again.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
)
CONSISTENCY_TOKEN = _header(
    "Consistency-Token",
    "As an earlier answer gave it: the answer includes that write.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{16}$"},
)
PREFER = _header("Prefer", "`wait=<seconds>` (default 2, at most 10) for the Consistency-Token.")
IF_NONE_MATCH = _header("If-None-Match", "The ETag that the client has: 304 if it is current.")

COMPONENTS: Json = {
    "XRequestId": {
        "description": "The id of the request, the client's own if it is a sane one.",
        "schema": _TEXT,
    },
    "ETag": {"description": "The version, as a strong entity tag.", "schema": _TEXT},
    "Location": {"description": "Where the thing is.", "schema": _TEXT},
    "ConsistencyToken": {
        "description": "Hand it on with a GET to read at least this state.",
        "schema": _TEXT,
    },
    "IdempotencyReplayed": {
        "description": "Present where this is the kept outcome of an earlier request.",
        "schema": {"const": "true"},
    },
    "RateLimit": {
        "description": 'What is left and when all is again: `"default";r=599;t=42`.',
        "schema": _TEXT,
    },
    "RateLimitPolicy": {"description": 'The limit: `"default";q=600;w=60`.', "schema": _TEXT},
}


def of_answer(method: str, operation: Operation, status: int) -> Json:
    """The headers that a successful answer has or may have."""
    names = {"X-Request-Id": "XRequestId"}
    if operation.open is not True or operation.enveloped:
        names |= {"RateLimit": "RateLimit", "RateLimit-Policy": "RateLimitPolicy"}
    if status in (201, 202):
        names["Location"] = "Location"
    if method != "GET" and operation.enveloped:
        names["Idempotency-Replayed"] = "IdempotencyReplayed"
    if operation.fresh or method in ("POST", "PUT", "PATCH", "DELETE"):
        names["Consistency-Token"] = "ConsistencyToken"
        names["ETag"] = "ETag"
    return {
        name: {"$ref": f"#/components/headers/{component}"} for name, component in names.items()
    }
