"""A migrated database for each form of time series, each of a server of its own."""

from __future__ import annotations

import msgspec

FORMS = ("none",)


class FormDatabase(msgspec.Struct, frozen=True):
    """``dsn`` is its owner's; ``single`` says that it takes one connection at a time."""

    form: str
    dsn: str
    single: bool = False
