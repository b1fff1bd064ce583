"""Entries as they come from outside, as JSON: every fault of one at once.

Owns what no type can say about an entry's JSON, which is the rules of its tags. A sound entry
costs one decode here; its tags are checked where they are cleaned, in the domain.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from commands.validation import decode
from domain.faults import Fault, Invalid
from domain.journal.entry import tags_and_faults

T = TypeVar("T")


def decode_entry(raw: bytes, kind: type[T]) -> T:
    """Decode a ``Draft`` or ``Changes``.

    Raises:
        Malformed: it is not JSON in UTF-8.
        Invalid: with the faults of the tags among the others, if there are others.
    """
    try:
        return decode(raw, kind)
    except Invalid as invalid:
        raise with_tag_faults(invalid, raw) from None


def with_tag_faults(invalid: Invalid, raw: bytes) -> Invalid:
    """The same refusal of the same JSON, with the faults of its tags added."""
    seen = {fault.field for fault in invalid.faults}
    added = tuple(fault for fault in _tag_faults(raw) if fault.field not in seen)
    return Invalid(*invalid.faults, *added) if added else invalid


def _tag_faults(raw: bytes) -> tuple[Fault, ...]:
    try:
        body: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    tags = body.get("tags") if isinstance(body, dict) else None
    if not isinstance(tags, list):
        return ()
    # What is no text is a fault already; a stand-in keeps the indices of the others.
    return tags_and_faults(tag if isinstance(tag, str) else f"#{n}" for n, tag in enumerate(tags))[
        1
    ]
