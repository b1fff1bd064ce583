"""What a check found: its name, how bad it is, what was seen and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["ok", "warning", "failed"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check's outcome: ``ok``, ``warning`` (it works, but look) or ``failed``.

    ``remedy`` is there where there is something to be done; it never names a secret.
    """

    check: str
    state: State
    detail: str
    remedy: str | None = None


def ok(check: str, detail: str) -> Finding:
    """Nothing is wrong with it."""
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, remedy: str) -> Finding:
    """It works now, and will not for ever or not as it should."""
    return Finding(check, "warning", detail, remedy)


def failed(check: str, detail: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, "failed", detail, remedy)
