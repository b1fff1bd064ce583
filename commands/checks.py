"""The checks behind ``commands.validation``: one function for each type, made once.

Owns what objects, lists and unions of msgspec's types demand of plain values. A checker appends
faults and never raises, except for ``RecursionError``. Values that were sent are not repeated in
the faults, since they may be private; names of fields are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import inspect

from commands.value_checks import (
    MAX_FAULTS,
    SIMPLE,
    Checker,
    add,
    anything,
    choice,
    clean,
    formatted,
    join,
    name_of,
    shown,
    within,
    wrong,
)
from domain.faults import Fault


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
        simple = SIMPLE.get(type(info))
        return simple(info) if simple is not None else formatted(info)

    def _struct(self, info: inspect.StructType) -> Checker:
        known = self._structs.get(info.cls)
        if known is not None:
            return known
        fields: dict[str, Checker] = {}
        required: list[str] = []

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if not isinstance(value, dict):
                faults.append(wrong(path, "an object", value))
                return
            for key, item in value.items():
                checker = fields.get(key)
                if checker is not None:
                    checker(item, join(path, key), faults)
                    continue
                where = join(path, shown(key))
                if key == info.tag_field and item == info.tag:
                    continue
                if clean(key, where, faults):
                    add(faults, where, "unknown_field", "This field is not known here.")
                anything(item, where, faults)
            for key in required:
                if key not in value:
                    add(faults, join(path, key), "required", "This field is required.")

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
                faults.append(wrong(path, "a list", value))
                return
            within(len(value), bounds, "entries", path, faults)
            for index, item in enumerate(value):
                if len(faults) >= MAX_FAULTS:
                    return
                item_checker(item, join(path, str(index)), faults)

        return check

    def _tuple(self, info: inspect.TupleType) -> Checker:
        checkers = [self.checker(item) for item in info.item_types]

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if not isinstance(value, list | tuple):
                faults.append(wrong(path, "a list", value))
                return
            within(len(value), (len(checkers), len(checkers)), "entries", path, faults)
            for index, (checker, item) in enumerate(zip(checkers, value, strict=False)):
                checker(item, join(path, str(index)), faults)

        return check

    def _dict(self, info: inspect.DictType) -> Checker:
        key_checker = self.checker(info.key_type)
        item_checker = self.checker(info.value_type)
        bounds = (info.min_length, info.max_length)

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if not isinstance(value, dict):
                faults.append(wrong(path, "an object", value))
                return
            within(len(value), bounds, "fields", path, faults)
            for key, item in value.items():
                if len(faults) >= MAX_FAULTS:
                    return
                where = join(path, shown(key))
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
                " or ".join(dict.fromkeys(name_of(member) for member in rest)),
            )
        if not nullable:
            return inner

        def check(value: Any, path: str, faults: list[Fault]) -> None:
            if value is not None:
                inner(value, path, faults)

        return check


def _tagged(tag_field: str, checkers: Mapping[Any, Checker]) -> Checker:
    known = choice(checkers)

    def check(value: Any, path: str, faults: list[Fault]) -> None:
        if not isinstance(value, dict):
            faults.append(wrong(path, "an object", value))
        elif tag_field not in value:
            add(faults, join(path, tag_field), "required", "This field is required.")
        else:
            tag = value[tag_field]
            before = len(faults)
            known(tag, join(path, tag_field), faults)
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
        faults.extend(closest or [wrong(path, name, value)])

    return check
