"""All views that the projector keeps, in one place: adding a view means adding it here."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import domain
from projections.accounts.activity import Activities, ActivityCounts
from projections.accounts.keys import Keys
from projections.accounts.login_history import LoginHistory
from projections.accounts.people import People
from projections.accounts.sharing import Sharing
from projections.accounts.tenants import Tenants
from projections.engine.view import RowView
from projections.flags.definitions import Definitions
from projections.journal.daily import Daily
from projections.journal.days import Days
from projections.journal.entries import Entries
from projections.journal.insights import Insights
from projections.journal.mood_events import MoodEvents
from projections.journal.search import Searchable
from projections.journal.tags import Tags
from projections.journal.vocabulary import Vocabulary
from projections.ops.audit import Audit

for _context in pkgutil.iter_modules(domain.__path__, "domain."):
    if _context.ispkg:
        # The audit log takes every event there is: their types must be known before it is asked.
        importlib.import_module(f"{_context.name}.events")

AUDIT = Audit()
SEARCHABLE = Searchable()
"""Lies in an index outside where the settings name one: ``bootstrap.search``."""
VIEWS: tuple[RowView[Any], ...] = (
    People(),
    LoginHistory(),
    Keys(),
    Tenants(),
    Entries(),
    Days(),
    Tags(),
    Daily(),
    Activities(),
    ActivityCounts(),
    Sharing(),
    MoodEvents(),
    Insights(),
    SEARCHABLE,
    Vocabulary(),
    Definitions(),
    AUDIT,
)
"""One instance of each; views hold no state."""


def view(name: str) -> RowView[Any]:
    """The view of that name.

    Raises:
        KeyError: there is none.
    """
    return {each.name: each for each in VIEWS}[name]
