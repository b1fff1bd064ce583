"""The checks behind ``commands.validation``: one function for each type, made once.

Owns what a type of msgspec demands of a plain value and how each demand is put in words. A
checker appends faults and never raises, except for ``RecursionError``. Values that were sent are
not repeated in the faults, since they may be private; names of fields are.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
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


def compile_checks(info: inspect.Type) -> Checker:
    """The checker of a type."""
    return _Compiler().checker(info)


class _Compiler:
    """Makes checkers; keeps those of structs, which may contain themselves."""

    def __init__(self) -> None:
        self._structs: dict[type, Checker] = {}
        self._composed: dict[type, Callable[[Any], Checker]] = {
            inspect.StructType: self._struct,
            inspect.UnionType: self._union,
            inspect.TupleType: self._tuple,
            inspect.ListType: self._list,
            inspect.VarTupleType: self._list,
            inspect.SetType: self._list,
            inspect.FrozenSetType: self._list,
            inspect.DictType: self._dict,
        }

    def checker(self, info: inspect.Type) -> Checker:
        if isinstance(info, inspect.Metadata):
            return self.checker(info.type)
        composed = self._composed.get(type(info))
        if composed is not None:
            return composed(info)
        simple = _SIMPLE.get(type(info))
        return simple(info) if simple is not None else _formatted(info)

    def _struct(self, info: inspect.StructType) -> Checker:
        known = self._structs.get(info.cls)
        if known is not None:
            return known
        fields: dict[str, Checker] = {}
        required: list[str] = []

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if not isinstance(value, dict):
                faults.append(_wrong(path, "an object", value))
                return
            for key, item in value.items():
                checker = fields.get(key)
                if checker is not None:
                    checker(item, _join(path, key), faults)
                    continue
                where = _join(path, _shown(key))
                if _BAD.search(key):
                    _clean(key, where, faults)
                elif key == info.tag_field and item == info.tag:
                    continue
                else:
                    _add(faults, where, "unknown_field", "This field is not known here.")
                _anything(item, where, faults)
            for key in required:
                if key not in value:
                    _add(faults, _join(path, key), "required", "This field is required.")

        self._structs[info.cls] = check  # before its fields: they may refer back to it
        for field in info.fields:
            fields[field.encode_name] = self.checker(field.type)
            if field.required:
                required.append(field.encode_name)
        return check

    def _list(self, info: inspect.CollectionType) -> Checker:
        item_checker = self.checker(info.item_type)
        bounds = (info.min_length, info.max_length)

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if not isinstance(value, list | tuple):
                faults.append(_wrong(path, "a list", value))
                return
            _length(len(value), bounds, "entries", path, faults)
            for index, item in enumerate(value):
                if len(faults) >= MAX_FAULTS:
                    return
                item_checker(item, _join(path, str(index)), faults)

        return check

    def _tuple(self, info: inspect.TupleType) -> Checker:
        checkers = [self.checker(item) for item in info.item_types]

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if not isinstance(value, list | tuple):
                faults.append(_wrong(path, "a list", value))
                return
            _length(len(value), (len(checkers), len(checkers)), "entries", path, faults)
            for index, (checker, item) in enumerate(zip(checkers, value, strict=False)):
                checker(item, _join(path, str(index)), faults)

        return check

    def _dict(self, info: inspect.DictType) -> Checker:
        key_checker = self.checker(info.key_type)
        item_checker = self.checker(info.value_type)
        bounds = (info.min_length, info.max_length)

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if not isinstance(value, dict):
                faults.append(_wrong(path, "an object", value))
                return
            _length(len(value), bounds, "fields", path, faults)
            for key, item in value.items():
                if len(faults) >= MAX_FAULTS:
                    return
                where = _join(path, _shown(key))
                key_checker(key, where, faults)
                item_checker(item, where, faults)

        return check

    def _union(self, info: inspect.UnionType) -> Checker:
        members = [
            member.type if isinstance(member, inspect.Metadata) else member for member in info.types
        ]
        nullable = any(isinstance(member, inspect.NoneType) for member in members)
        rest = [member for member in members if not isinstance(member, inspect.NoneType)]
        tagged = {
            member.tag: self.checker(member)
            for member in rest
            if isinstance(member, inspect.StructType) and member.tag_field is not None
        }
        if len(rest) > 1 and len(tagged) == len(rest):
            tag_field = next(m.tag_field for m in rest if isinstance(m, inspect.StructType))
            inner = _tagged(str(tag_field), tagged)
        elif len(rest) == 1:
            inner = self.checker(rest[0])
        else:
            inner = _any_of(
                [self.checker(member) for member in rest],
                " or ".join(dict.fromkeys(_name(member) for member in rest)),
            )
        if not nullable:
            return inner

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if value is not None:
                inner(value, path, faults)

        return check


def _tagged(tag_field: str, checkers: Mapping[Any, Checker]) -> Checker:
    choice = _choice(list(checkers))

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if not isinstance(value, dict):
            faults.append(_wrong(path, "an object", value))
        elif tag_field not in value:
            _add(faults, _join(path, tag_field), "required", "This field is required.")
        else:
            tag = value[tag_field]
            before = len(faults)
            choice(tag, _join(path, tag_field), faults)
            if len(faults) == before:
                checkers[tag](value, path, faults)

    return check


def _any_of(checkers: Iterable[Checker], name: str) -> Checker:
    """Passes if one does; else the faults of the one of matching type, or wrong_type."""
    every = tuple(checkers)

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        closest: list[Fault] | None = None
        for checker in every:
            found: list[Fault] = []
            checker(value, path, found)
            if not found:
                return
            of_type = not any(f.field == path and f.code == "wrong_type" for f in found)
            if of_type and closest is None:
                closest = found
        faults.extend(closest or [_wrong(path, name, value)])

    return check


def _string(info: inspect.StrType) -> Checker:
    bounds = (info.min_length, info.max_length)
    pattern = re.compile(info.pattern) if info.pattern else None

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if not isinstance(value, str):
            faults.append(_wrong(path, "text", value))
            return
        if not _clean(value, path, faults):
            return
        long_enough = _length(len(value), bounds, "characters", path, faults)
        if pattern is not None and long_enough and not pattern.search(value):
            _add(faults, path, "invalid_format", "This text does not have the form asked for.")

    return check


def _number(info: inspect.IntType | inspect.FloatType) -> Checker:
    name = _name(info)
    whole = isinstance(info, inspect.IntType)

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            _add(faults, path, "too_large", "This number is out of range.")
        elif isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            faults.append(_wrong(path, name, value))
        else:
            broken = _out_of_bounds(value, info)
            if broken is not None:
                _add(faults, path, *broken)

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
            faults.append(_wrong(path, name, value))

    return check


def _choice(values: Iterable[Any]) -> Checker:
    allowed = tuple(values)
    kinds = {type(value) for value in allowed}
    listed = ", ".join(str(value) for value in allowed)

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if type(value) not in kinds:
            faults.append(_wrong(path, f"one of: {listed}", value))
        elif isinstance(value, str) and not _clean(value, path, faults):
            return
        elif value not in allowed:
            _add(faults, path, "not_allowed", f"This must be one of: {listed}.")

    return check


def _formatted(info: inspect.Type) -> Checker:
    """Dates, UUIDs and whatever else msgspec reads out of text: it is asked whether it can."""
    name = _name(info)
    kind = _python_type(info)

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if isinstance(value, str) and not _clean(value, path, faults):
            return
        try:
            msgspec.convert(value, kind, strict=True)
        except (msgspec.ValidationError, OverflowError):
            if isinstance(value, str):
                _add(faults, path, "invalid_format", f"This must be {name}.")
            else:
                faults.append(_wrong(path, name, value))

    return check


def _anything(value: Any, path: str, faults: list[Fault]) -> None:
    """Any JSON, but no character that no text may have."""
    if len(faults) >= MAX_FAULTS:
        return
    if isinstance(value, str):
        _clean(value, path, faults)
    elif isinstance(value, float) and not math.isfinite(value):
        _add(faults, path, "too_large", "This number is out of range.")
    elif isinstance(value, dict):
        for key, item in value.items():
            where = _join(path, _shown(key))
            _clean(key, where, faults)
            _anything(item, where, faults)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _anything(item, _join(path, str(index)), faults)


_SIMPLE: dict[type, Callable[[Any], Checker]] = {
    inspect.AnyType: lambda _: _anything,
    inspect.RawType: lambda _: _anything,
    inspect.StrType: _string,
    inspect.IntType: _number,
    inspect.FloatType: _number,
    inspect.BoolType: lambda info: _plain_type(bool, _name(info)),
    inspect.NoneType: lambda info: _plain_type(type(None), _name(info)),
    inspect.EnumType: lambda info: _choice(member.value for member in info.cls),
    inspect.LiteralType: lambda info: _choice(info.values),
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


def _name(info: inspect.Type) -> str:
    if isinstance(info, inspect.EnumType | inspect.LiteralType):
        values = [m.value for m in info.cls] if isinstance(info, inspect.EnumType) else info.values
        return "one of: " + ", ".join(str(value) for value in values)
    return next((name for kind, name in _NAMES if isinstance(info, kind)), "a value of its type")


def _wrong(path: str, name: str, value: object) -> Fault:
    if value is None:
        return Fault(path, "wrong_type", f"This must not be null but {name}.")
    return Fault(path, "wrong_type", f"This must be {name}.")


def _clean(text: str, path: str, faults: list[Fault]) -> bool:
    """Whether the text is free of NUL and lone surrogates."""
    if _BAD.search(text) is None:
        return True
    _add(faults, path, "invalid_character", "This has a character that no text may have.")
    return False


def _length(
    length: int,
    bounds: tuple[int | None, int | None],
    what: str,
    path: str,
    faults: list[Fault],
) -> bool:
    """Whether the length is within its bounds."""
    shortest, longest = bounds
    if shortest is not None and length < shortest:
        _add(faults, path, "too_short", f"This must have at least {shortest} {what}.")
    elif longest is not None and length > longest:
        _add(faults, path, "too_long", f"This must have at most {longest} {what}.")
    else:
        return True
    return False


def _add(faults: list[Fault], path: str, code: str, message: str) -> None:
    if len(faults) < MAX_FAULTS:
        faults.append(Fault(path, code, message))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(key: str) -> str:
    """A name as it can be shown: never a lone surrogate or NUL, and not without end."""
    text = _BAD.sub("\N{REPLACEMENT CHARACTER}", key)
    return text if len(text) <= 100 else text[:99] + "…"
