"""Input decoding that reports every fault of an input, not only the first.

Owns the translation of msgspec's types into checks. A sound input costs one ``msgspec`` decode;
only when that refuses is the input decoded to plain values and walked along the type. It knows no
HTTP: ``adapters/http/validation.py`` maps what is raised here, and imports of lines use it as is.

Types must be msgspec structs (nested as one likes) that are declared with
``forbid_unknown_fields=True``; others are checked just the same, but never on the fast path.

Faults have these codes: required, unknown_field, wrong_type, too_short, too_long, too_small,
too_large, invalid_format, not_allowed, invalid_character.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from commands.checks import compile_checks
from commands.value_checks import Checker
from domain.faults import Fault, Invalid

T = TypeVar("T")

_BYTE = re.compile(r"\(byte (\d+)\)")
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


class Malformed(Exception):
    """An input that is not JSON at all; ``offset`` is the byte where that shows, if known."""

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


def decode(raw: bytes, kind: type[T]) -> T:
    """Decode JSON into ``kind``.

    Raises:
        Malformed: it is not JSON in UTF-8, or nested too deeply.
        Invalid: it breaks rules of the type; all of them are listed.
    """
    return _plan(kind).decode(raw)


def check(value: object, kind: type[T]) -> T:
    """Make ``kind`` of plain values, such as decoded JSON or a query's parameters.

    Raises:
        Invalid: it breaks rules of the type; all of them are listed.
    """
    return _plan(kind).check(value)


def is_fast(kind: type) -> bool:
    """Whether sound inputs of this type take the fast path."""
    return _plan(kind).fast


class _Plan(Generic[T]):
    """How to decode one type."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._strict = msgspec.json.Decoder(kind)
        info = inspect.type_info(kind)
        self._checker: Checker = compile_checks(info)
        self.fast = _refuses_unknown(info, set())

    def decode(self, raw: bytes) -> T:
        # NUL is legal JSON but not text for PostgreSQL; whether the escape is one, the walk tells.
        if self.fast and b"\\u0000" not in raw:
            try:
                return self._strict.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        return self.check(_plain(raw))

    def check(self, value: object) -> T:
        faults: list[Fault] = []
        try:
            self._checker(value, "", faults)
        except RecursionError:
            raise Malformed("The input is nested too deeply.") from None
        if faults:
            raise Invalid(*faults)
        try:
            return msgspec.convert(value, self._kind, strict=True)
        except msgspec.ValidationError as error:  # a rule that has no check, as in __post_init__
            found = _PATH.search(str(error))
            field = re.sub(r"\[(\d+)\]", r".\1", found[1]).lstrip(".") if found else ""
            raise Invalid(Fault(field, "invalid_format", "This value is not valid here.")) from None


_plans: dict[object, _Plan[Any]] = {}


def _plan(kind: type[T]) -> _Plan[T]:
    plan = _plans.get(kind)
    if plan is None:
        plan = _plans[kind] = _Plan(kind)
    return plan


def _refuses_unknown(info: inspect.Type, seen: set[type]) -> bool:
    """Whether all structs in the type refuse unknown fields, and nothing goes through unseen."""
    if isinstance(info, inspect.Metadata):
        return _refuses_unknown(info.type, seen)
    if isinstance(info, inspect.RawType):
        return False
    if isinstance(info, inspect.StructType):
        if info.cls in seen:
            return True
        seen.add(info.cls)
        return info.forbid_unknown_fields and all(
            _refuses_unknown(field.type, seen) for field in info.fields
        )
    if isinstance(info, inspect.UnionType):
        return all(_refuses_unknown(member, seen) for member in info.types)
    if isinstance(info, inspect.TupleType):
        return all(_refuses_unknown(item, seen) for item in info.item_types)
    if isinstance(info, inspect.CollectionType):
        return _refuses_unknown(info.item_type, seen)
    if isinstance(info, inspect.DictType):
        return _refuses_unknown(info.value_type, seen)
    return True


_untyped = msgspec.json.Decoder()


def _plain(raw: bytes) -> object:
    """The JSON as plain values; unlike msgspec alone, with lone surrogates and huge numbers.

    Raises:
        Malformed: it is not JSON in UTF-8.
    """
    if not raw.strip(b" \t\r\n"):
        raise Malformed("The body is empty.", 0)
    try:
        return _untyped.decode(raw)
    except RecursionError:
        raise Malformed("The JSON is nested too deeply.") from None
    except UnicodeDecodeError:
        return _by_the_book(raw, None)
    except msgspec.DecodeError as error:
        found = _BYTE.search(str(error))
        return _by_the_book(raw, int(found[1]) if found else None)


def _by_the_book(raw: bytes, offset: int | None) -> object:
    """Decode with the standard library, which reads what msgspec refuses to; slow."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("The body is not UTF-8.", error.start) from None
    try:
        return json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_refuse)
    except RecursionError:
        raise Malformed("The JSON is nested too deeply.") from None
    except json.JSONDecodeError as error:
        at = len(text[: error.pos].encode("utf-8")) if offset is None else offset
        raise Malformed("The JSON is malformed.", at) from None
    except _Constant:
        raise Malformed("NaN and Infinity are not JSON.", offset) from None


class _Constant(Exception):
    """NaN or Infinity stood in the input."""


def _refuse(_name: str) -> object:
    raise _Constant


def _integer(text: str) -> float | int:
    return int(text) if len(text) <= 300 else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def _number(text: str) -> float:
    return float(text)
