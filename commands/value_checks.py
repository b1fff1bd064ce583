"""Checks of single values, and how every fault of an input is put in words.

Owns the rules of text, numbers, choices, dates and the like. ``commands.checks`` composes them
into checks of objects and lists.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec
from msgspec import inspect

from domain.faults import Fault

Checker = Callable[[Any, str, list[Fault]], None]

MAX_FAULTS = 1000
"""No more than so many faults are listed, so that an answer stays smaller than its question."""

_BAD = re.compile("[\x00\ud800-\udfff]")

_NAMES: tuple[tuple[type, str], ...] = (
    (inspect.BoolType, "true or false"),
    (inspect.IntType, "a whole number"),
    (inspect.FloatType, "a number"),
    (inspect.DecimalType, "a decimal number"),
    (inspect.StrType, "text"),
    (inspect.DateTimeType, "a time such as 2024-05-01T12:00:00Z, with its offset"),
    (inspect.DateType, "a date such as 2024-05-01"),
    (inspect.TimeType, "a time of day such as 12:00:00"),
    (inspect.TimeDeltaType, "a duration such as PT1H"),
    (inspect.UUIDType, "a UUID"),
    (inspect.BytesType, "base64"),
    (inspect.StructType, "an object"),
    (inspect.DictType, "an object"),
    (inspect.TupleType, "a list"),
    (inspect.CollectionType, "a list"),
    (inspect.NoneType, "null"),
)


def _string(info: inspect.StrType) -> Checker:
    bounds = (info.min_length, info.max_length)
    pattern = re.compile(info.pattern) if info.pattern else None

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if not isinstance(value, str):
            faults.append(wrong(path, "text", value))
            return
        if not clean(value, path, faults):
            return
        long_enough = within(len(value), bounds, "characters", path, faults)
        if pattern is not None and long_enough and not pattern.search(value):
            add(faults, path, "invalid_format", "This text does not have the form asked for.")

    return check


def _number(info: inspect.IntType | inspect.FloatType) -> Checker:
    name = name_of(info)
    whole = isinstance(info, inspect.IntType)

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            add(faults, path, "too_large", "This number is out of range.")
        elif isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            faults.append(wrong(path, name, value))
        else:
            broken = _out_of_bounds(value, info)
            if broken is not None:
                add(faults, path, *broken)

    return check


def _out_of_bounds(
    value: float, info: inspect.IntType | inspect.FloatType
) -> tuple[str, str] | None:
    """The code and message of the bound that a number breaks."""
    if info.ge is not None and value < info.ge:
        return "too_small", f"This must be at least {info.ge}."
    if info.gt is not None and value <= info.gt:
        return "too_small", f"This must be more than {info.gt}."
    if info.le is not None and value > info.le:
        return "too_large", f"This must be at most {info.le}."
    if info.lt is not None and value >= info.lt:
        return "too_large", f"This must be less than {info.lt}."
    if info.multiple_of is not None and not _fits(value, info):
        return "invalid_format", f"This must be a multiple of {info.multiple_of}."
    return None


def _plain_type(kind: type, name: str) -> Checker:
    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if not isinstance(value, kind):
            faults.append(wrong(path, name, value))

    return check


def choice(values: Iterable[Any]) -> Checker:
    """The checker of one out of several values."""
    allowed = tuple(values)
    kinds = {type(value) for value in allowed}
    listed = ", ".join(str(value) for value in allowed)

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if type(value) not in kinds:
            faults.append(wrong(path, f"one of: {listed}", value))
        elif isinstance(value, str) and not clean(value, path, faults):
            return
        elif value not in allowed:
            add(faults, path, "not_allowed", f"This must be one of: {listed}.")

    return check


def formatted(info: inspect.Type) -> Checker:
    """Dates, UUIDs and whatever else msgspec reads out of text: it is asked whether it can."""
    name = name_of(info)
    kind = _python_type(info)

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if isinstance(value, str) and not clean(value, path, faults):
            return
        try:
            msgspec.convert(value, kind, strict=True)
        except (msgspec.ValidationError, OverflowError):
            if isinstance(value, str):
                add(faults, path, "invalid_format", f"This must be {name}.")
            else:
                faults.append(wrong(path, name, value))

    return check


def anything(value: Any, path: str, faults: list[Fault]) -> None:
    """Any JSON, but no character that no text may have."""
    if len(faults) >= MAX_FAULTS:
        return
    if isinstance(value, str):
        clean(value, path, faults)
    elif isinstance(value, float) and not math.isfinite(value):
        add(faults, path, "too_large", "This number is out of range.")
    elif isinstance(value, dict):
        for key, item in value.items():
            where = join(path, shown(key))
            clean(key, where, faults)
            anything(item, where, faults)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            anything(item, join(path, str(index)), faults)


SIMPLE: dict[type, Callable[[Any], Checker]] = {
    inspect.AnyType: lambda _: anything,
    inspect.RawType: lambda _: anything,
    inspect.StrType: _string,
    inspect.IntType: _number,
    inspect.FloatType: _number,
    inspect.BoolType: lambda info: _plain_type(bool, name_of(info)),
    inspect.NoneType: lambda info: _plain_type(type(None), name_of(info)),
    inspect.EnumType: lambda info: choice(member.value for member in info.cls),
    inspect.LiteralType: lambda info: choice(info.values),
}


def _python_type(info: inspect.Type) -> Any:
    """The type that a leaf stands for, with its constraints."""
    kind = next((k for leaf, k in _LEAVES if isinstance(info, leaf)), getattr(info, "cls", Any))
    limits = {
        name: getattr(info, name)
        for name in ("tz", "ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length")
        if getattr(info, name, None) is not None
    }
    return _annotated(kind, limits) if limits else kind


def _annotated(kind: Any, limits: dict[str, Any]) -> Any:
    return Annotated[kind, msgspec.Meta(**limits)]


_LEAVES: tuple[tuple[type, Any], ...] = (
    (inspect.DateTimeType, datetime.datetime),
    (inspect.DateType, datetime.date),
    (inspect.TimeType, datetime.time),
    (inspect.TimeDeltaType, datetime.timedelta),
    (inspect.UUIDType, uuid.UUID),
    (inspect.DecimalType, decimal.Decimal),
    (inspect.BytesType, bytes),
    (inspect.ByteArrayType, bytearray),
)


def _fits(value: float, info: inspect.IntType | inspect.FloatType) -> bool:
    try:
        msgspec.convert(value, _annotated(type(value), {"multiple_of": info.multiple_of}))
    except (msgspec.ValidationError, TypeError):
        return False
    return True


def name_of(info: inspect.Type) -> str:
    """What a type is called in a message."""
    if isinstance(info, inspect.EnumType | inspect.LiteralType):
        values = [m.value for m in info.cls] if isinstance(info, inspect.EnumType) else info.values
        return "one of: " + ", ".join(str(value) for value in values)
    return next((name for kind, name in _NAMES if isinstance(info, kind)), "a value of its type")


def wrong(path: str, name: str, value: object) -> Fault:
    """The fault of a value that is no ``name``."""
    if value is None:
        return Fault(path, "wrong_type", f"This must not be null but {name}.")
    return Fault(path, "wrong_type", f"This must be {name}.")


def clean(text: str, path: str, faults: list[Fault]) -> bool:
    """Whether the text is free of NUL and lone surrogates."""
    if _BAD.search(text) is None:
        return True
    add(faults, path, "invalid_character", "This has a character that no text may have.")
    return False


def within(
    length: int,
    bounds: tuple[int | None, int | None],
    what: str,
    path: str,
    faults: list[Fault],
) -> bool:
    """Whether the length is within its bounds."""
    shortest, longest = bounds
    if shortest is not None and length < shortest:
        add(faults, path, "too_short", f"This must have at least {shortest} {what}.")
    elif longest is not None and length > longest:
        add(faults, path, "too_long", f"This must have at most {longest} {what}.")
    else:
        return True
    return False


def add(faults: list[Fault], path: str, code: str, message: str) -> None:
    """Append a fault, as long as there is room."""
    if len(faults) < MAX_FAULTS:
        faults.append(Fault(path, code, message))


def join(path: str, name: str) -> str:
    """The path of a part."""
    return f"{path}.{name}" if path else name


def shown(key: str) -> str:
    """A name as it can be shown: never a lone surrogate or NUL, and not without end."""
    text = _BAD.sub("\N{REPLACEMENT CHARACTER}", key)
    return text if len(text) <= 100 else text[:99] + "…"
