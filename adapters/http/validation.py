"""Bodies and query strings into structs, with every fault of them in one answer.

Owns the mapping of ``commands.validation`` to HTTP: 415 for the wrong type of body, 400 for what
is not JSON, 422 for broken rules.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from adapters.http.context import HasScope
from adapters.http.problems import Problem, invalid
from commands import validation as pure
from commands.validation import Malformed
from domain.faults import Fault, Invalid

T = TypeVar("T")

JSON = "application/json"
_PLAIN_JSON = frozenset((JSON, JSON.encode()))
DEFAULT_LIMIT = 20
MAX_LIMIT = 100
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)]
"""The type of a ``limit`` field in a query's struct: ``limit: Limit = DEFAULT_LIMIT``."""

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_CHARSET = re.compile(r'\s*charset\s*=\s*"?utf-?8"?\s*', re.IGNORECASE)
_MAX_FIELDS = 1000


def decode_body(raw: bytes, content_type: str | bytes | None, kind: type[T]) -> T:
    """The body as ``kind``, a struct that forbids unknown fields.

    Raises:
        Problem: 415, 400 ``MALFORMED_JSON``, or 422 with every fault.
    """
    if content_type not in _PLAIN_JSON:
        _check_content_type(raw, content_type)
    try:
        return pure.decode(raw, kind)
    except Malformed as error:
        raise malformed(error) from None
    except Invalid as error:
        raise invalid(*error.faults) from None


def check(value: object, kind: type[T]) -> T:
    """Plain values as ``kind``.

    Raises:
        Problem: 422 with every fault.
    """
    try:
        return pure.check(value, kind)
    except Malformed as error:
        raise malformed(error) from None
    except Invalid as error:
        raise invalid(*error.faults) from None


def malformed(error: Malformed) -> Problem:
    """400 for what is not JSON, with the byte where that shows."""
    if error.offset is None:
        return Problem("MALFORMED_JSON", error.reason)
    return Problem(
        "MALFORMED_JSON",
        f"{error.reason.rstrip('.')}, at byte {error.offset}.",
        extra={"offset": error.offset},
    )


def media_type(content_type: str | bytes | None) -> str | None:
    """A ``Content-Type`` without its parameters, in lower case; None where there is none."""
    if content_type is None:
        return None
    text = content_type.decode("latin-1") if isinstance(content_type, bytes) else content_type
    return text.partition(";")[0].strip().lower() or None


def _check_content_type(raw: bytes, content_type: str | bytes | None) -> None:
    kind = media_type(content_type)
    if kind is None:
        if not raw:
            return
        raise Problem("UNSUPPORTED_MEDIA_TYPE", f"Send a body with Content-Type {JSON}.")
    text = content_type.decode("latin-1") if isinstance(content_type, bytes) else content_type
    parameters = [p for p in (text or "").split(";")[1:] if p.strip()]
    if kind != JSON:
        raise Problem("UNSUPPORTED_MEDIA_TYPE", f"This takes {JSON}.")
    if any("charset" in p.lower() and not _CHARSET.fullmatch(p) for p in parameters):
        raise Problem("UNSUPPORTED_MEDIA_TYPE", "This takes JSON in UTF-8 only.")


def query(request: HasScope, kind: type[T]) -> T:
    """The query string as ``kind``, a frozen struct whose fields are the parameters.

    Text, numbers, ``true``/``false``, dates, times, UUIDs and choices may stand once; a field of
    type ``tuple[…, ...]`` takes a repeated parameter. Sound results are remembered, so the struct
    must be immutable.

    Raises:
        Problem: 422 with every fault, unknown and repeated parameters included.
    """
    raw: bytes = request.scope.get("query_string", b"")
    key: Any = kind  # a type is hashable, whatever the type checker makes of a generic one
    return cast(T, _remembered(raw, key) if len(raw) <= 256 else _parse(raw, key))


def limit_of(request: HasScope) -> int:
    """The parameter ``limit`` alone: 1 to 100, 20 where it is absent.

    Raises:
        Problem: 422 at the field ``limit``.
    """
    for name, value in _pairs(request.scope.get("query_string", b"")):
        if name == "limit":
            if not _WHOLE.fullmatch(value) or not 1 <= int(value) <= MAX_LIMIT:
                code = "invalid_format"
                if _WHOLE.fullmatch(value):
                    code = "too_small" if int(value) < 1 else "too_large"
                raise invalid(Fault("limit", code, f"This must be 1 to {MAX_LIMIT}."))
            return int(value)
    return DEFAULT_LIMIT


@lru_cache(2048)
def _remembered(raw: bytes, kind: Any) -> Any:
    return _parse(raw, kind)


def _parse(raw: bytes, kind: Any) -> Any:
    fields = _fields(kind)
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, text in _pairs(raw):
        info = fields.get(name)
        if info is None:
            values[name] = text  # the check calls it unknown
        elif isinstance(info, inspect.CollectionType):
            values.setdefault(name, []).append(_coerce(info.item_type, text))
        elif name in values:
            faults.append(Fault(name, "invalid_format", "This may be given only once."))
        else:
            values[name] = _coerce(info, text)
    try:
        result = pure.check(values, kind)
    except Invalid as error:
        raise invalid(*faults, *(_as_text(fault, fields) for fault in error.faults)) from None
    if faults:
        raise invalid(*faults)
    return result


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    if not raw:
        return []
    try:
        # What is not UTF-8 becomes lone surrogates, which the check refuses by field.
        return parse_qsl(
            raw.decode("latin-1"),
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise Problem("MALFORMED_REQUEST", "The query has too many parameters.") from None


@lru_cache(256)
def _fields(kind: Any) -> dict[str, inspect.Type]:
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{kind} is no struct")
    return {field.encode_name: _without_none(field.type) for field in info.fields}


def _without_none(info: inspect.Type) -> inspect.Type:
    if isinstance(info, inspect.Metadata):
        return _without_none(info.type)
    if isinstance(info, inspect.UnionType):
        rest = [member for member in info.types if not isinstance(member, inspect.NoneType)]
        return _without_none(rest[0]) if len(rest) == 1 else info
    return info


def _coerce(info: inspect.Type, text: str) -> Any:
    """The text as a number or a truth where the field is one; what fails stays text."""
    info = _without_none(info)
    if isinstance(info, inspect.IntType) and _WHOLE.fullmatch(text):
        return int(text)
    if isinstance(info, inspect.FloatType) and _DECIMAL.fullmatch(text):
        return float(text)
    if isinstance(info, inspect.BoolType) and text in ("true", "false"):
        return text == "true"
    if isinstance(info, inspect.LiteralType | inspect.EnumType) and _WHOLE.fullmatch(text):
        values = _values(info)
        return int(text) if int(text) in values else text
    return text


def _values(info: inspect.LiteralType | inspect.EnumType) -> tuple[Any, ...]:
    if isinstance(info, inspect.EnumType):
        return tuple(member.value for member in info.cls)
    return tuple(info.values)


def _as_text(fault: Fault, fields: dict[str, inspect.Type]) -> Fault:
    """All parameters are text, so that a wrong type is a wrong format here."""
    if fault.code != "wrong_type" or fault.field.partition(".")[0] not in fields:
        return fault
    return Fault(fault.field, "invalid_format", fault.message)
