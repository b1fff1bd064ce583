"""What is wrong with an input: every fault of it, each with its field and rule.

Owns the shape of a fault and the exception that carries them. It knows no HTTP: the APIs turn
``Invalid`` into a 422 answer, and the import lists its faults beside the number of the line.
"""

from __future__ import annotations

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One broken rule.

    ``field`` is a dotted path into the input (``tags.3``; empty for the input as a whole),
    ``code`` a stable name of the rule (``too_long``), ``message`` one sentence for a person. The
    message never repeats the offending value, which may be private.
    """

    field: str
    code: str
    message: str


class Invalid(Exception):
    """An input that breaks one or more rules; ``faults`` holds all of them."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.code}" for fault in faults))
        self.faults = faults
