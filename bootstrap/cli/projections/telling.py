"""What is said of a comparison, and of an operation on a projection that did not succeed.

Owns the words. What differs is told by ``projections.engine.comparison``; what is personal it has
as digests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bootstrap import cli

if TYPE_CHECKING:
    from domain.operation import Operation

SHOWN = 3
"""Differing rows, or poisoned events, that are enough to see what it is about."""
LONGEST = 40
"""Characters of a value."""

_REFUSALS = {"DIFFERENCES", "NOTHING_KEPT", "RANGE_NOT_SUPPORTED", "UNKNOWN_KEY"}


def complained(ended: Operation, name: str, *, json: bool = False) -> int:
    """Say on standard error why an operation on a projection did not succeed; the exit code."""
    found = msgspec.json.decode(msgspec.json.encode(ended.result))
    if json and found is not None:
        cli.err.print(msgspec.json.format(msgspec.json.encode(found)).decode(), markup=False)
    code = "" if ended.error is None else ended.error.code
    if code == "DIFFERENCES" and found is not None and not json:
        _say(_differs(name, found))
    else:
        message = f"it was {ended.state}." if ended.error is None else ended.error.message
        _say([f"{name}: {message}", *(() if json else _poisoned(found))])
    return cli.REFUSED if code in _REFUSALS else cli.FAILED


def differences(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """For each row its key, and what is there → what was expected, of the fields that differ."""
    return [(each["key"], _fields(each["live"], each["expected"])) for each in found]


def _differs(name: str, found: dict[str, Any]) -> list[str]:
    from projections.engine.comparison import DIFFERENCES

    listed = found["differences"]
    count = f"{DIFFERENCES} or more" if len(listed) >= DIFFERENCES else str(len(listed))
    rows = [f"  {key}  {fields}" for key, fields in differences(listed[:SHOWN])]
    rows_are = f"{cli.counted(found['rows'], 'row')}, {count} differ; nothing was swapped."
    return [
        f"{name}: {rows_are}",
        *rows,
        f"All: `mindstream projections verify {name}`. Swap all the same: --accept-differences",
    ]


def _poisoned(found: Any) -> list[str]:
    """Where it stands which events could not be folded, the first of them."""
    items = found.get("poisoned", ()) if isinstance(found, dict) else ()
    if len(items) < 2:  # the message has told of it
        return []
    lines = [
        f"  event {each['position']} ({each['topic']}) of {each['stream_id']}: {each['error']}"
        for each in items[:SHOWN]
    ]
    return [*lines, *([f"  and {len(items) - SHOWN} more"] if len(items) > SHOWN else ())]


def _fields(live: dict[str, Any] | None, expected: dict[str, Any] | None) -> str:
    if live is None:
        return "is missing"
    if expected is None:
        return "should not be there"
    told = [
        f"{field} {_value(live.get(field))} → {_value(expected.get(field))}"
        for field in dict.fromkeys((*live, *expected))
        if live.get(field) != expected.get(field)
    ]
    return ", ".join(told) or "differs in how it is stored"


def _value(value: Any) -> str:
    if isinstance(value, dict) and value.get("sealed"):
        return f"(sealed, {value.get('digest')})"
    text = value if isinstance(value, str) and value else msgspec.json.encode(value).decode()
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _say(lines: list[str]) -> None:
    for line in lines:
        cli.err.print(line, markup=False)
