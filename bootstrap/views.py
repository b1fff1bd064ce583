"""All views that the projector keeps, in one place: adding a view means adding it here."""

from __future__ import annotations

from typing import Any

from projections.accounts.people import People
from projections.engine.view import RowView
from projections.journal.days import Days
from projections.journal.entries import Entries
from projections.journal.tags import Tags

VIEWS: tuple[RowView[Any], ...] = (People(), Entries(), Days(), Tags())
"""One instance of each; views hold no state."""


def view(name: str) -> RowView[Any]:
    """The view of that name.

    Raises:
        KeyError: there is none.
    """
    return {each.name: each for each in VIEWS}[name]
