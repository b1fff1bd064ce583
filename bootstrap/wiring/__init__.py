"""The composition root: each role put together of its parts. Nothing else constructs adapters.

``writing`` and ``reading`` are the two APIs, ``background`` the roles without clients, ``reacting``
the reactions, which live in a worker, and ``once`` what runs and ends; ``write_side`` is what
several of them share. Every function takes settings and nothing from its surroundings, so that
tests compose the same roles on servers of their own.

A part is imported when it is first asked for: a projector starts without a web framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bootstrap.wiring.background import projector, scheduler, worker
    from bootstrap.wiring.once import (
        demo,
        erase,
        erasure_report,
        import_accounts,
        import_diary,
        person_of,
        setup,
    )
    from bootstrap.wiring.reacting import reactor
    from bootstrap.wiring.reading import read_api_app
    from bootstrap.wiring.write_side import WriteSide
    from bootstrap.wiring.writing import write_api_app

__all__ = [
    "WriteSide",
    "demo",
    "erase",
    "erasure_report",
    "import_accounts",
    "import_diary",
    "person_of",
    "projector",
    "reactor",
    "read_api_app",
    "scheduler",
    "setup",
    "worker",
    "write_api_app",
]

_PARTS = {
    "background": ("projector", "scheduler", "worker"),
    "once": (
        "demo",
        "erase",
        "erasure_report",
        "import_accounts",
        "import_diary",
        "person_of",
        "setup",
    ),
    "reacting": ("reactor",),
    "reading": ("read_api_app",),
    "write_side": ("WriteSide",),
    "writing": ("write_api_app",),
}
_PLACES = {name: part for part, names in _PARTS.items() for name in names}


def __getattr__(name: str) -> Any:
    """What this package offers, from the part that has it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
