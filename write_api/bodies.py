"""Bodies whose fields have rules that no type can say, with all faults in one answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from adapters.http.context import HasScope, header
from adapters.http.problems import Problem, invalid
from adapters.http.validation import decode_body
from domain.faults import Fault

T = TypeVar("T", bound=msgspec.Struct)


async def decode_checked(
    request: HasScope,
    body: bytes,
    kind: type[T],
    more: Callable[[Mapping[str, Any]], Awaitable[list[Fault]]],
) -> T:
    """The body; or a Problem with the faults of its types and those that ``more`` finds."""
    faults: tuple[Fault, ...] = ()
    decoded: T | None = None
    fields: Mapping[str, Any]
    try:
        decoded = decode_body(body, header(request, b"content-type"), kind)
        fields = msgspec.structs.asdict(decoded)
    except Problem as problem:
        if problem.code != "VALIDATION_FAILED":
            raise
        faults = problem.errors
        plain = json.loads(body)  # msgspec would not take what may be the very fault
        fields = plain if isinstance(plain, dict) else {}
    known = {fault.field.partition(".")[0] for fault in faults}
    rest = {name: value for name, value in fields.items() if name not in known}
    faults += tuple(await more(rest))
    if faults or decoded is None:
        raise invalid(*faults)
    return decoded
