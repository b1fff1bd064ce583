"""Which of several media types a client wants, by its ``Accept`` (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from adapters.http.context import HasScope, header
from adapters.http.problems import Problem

_QUALITY = re.compile(r"[01](\.\d{0,3})?", re.ASCII)


def wanted(request: HasScope, offered: Sequence[str]) -> str:
    """The offered type with the highest quality; of equal ones the first, and so without a wish.

    Raises:
        Problem: 406 where none of them is taken.
    """
    accepted = [_read(item) for item in (header(request, b"accept") or "*/*").split(",")]
    best = max(offered, key=lambda kind: _quality(kind, accepted))
    if _quality(best, accepted) == 0:
        raise Problem("NOT_ACCEPTABLE", f"This comes as {', '.join(offered)}.")
    return best


def _quality(kind: str, accepted: Sequence[tuple[str, float]]) -> float:
    """What the most specific range that matches says; 0 where none does."""
    for pattern in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        found = [quality for name, quality in accepted if name == pattern]
        if found:
            return max(found)
    return 0.0


def _read(item: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in item.lower().split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            quality = value.strip()
            return name, float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return name, 1.0
