"""Where the journal's search lies: in PostgreSQL, or in an index that ``search_url`` names.

Owns the choice, which is made once in each process, and the mapping of the index.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from adapters.search.store import IndexStore
from bootstrap.settings import Settings
from bootstrap.views import SEARCHABLE

if TYPE_CHECKING:
    from adapters.search.journal import IndexSearch

MAPPING: dict[str, Any] = msgspec.json.decode(
    (Path(__file__).parent.parent / "schema" / "search" / "journal_entries.json").read_bytes()
)
"""How the documents of ``journal.search`` are indexed."""


def place(settings: Settings) -> None:
    """Have the view lie where the settings say; before anything uses it."""
    if settings.search_url is not None:
        store = IndexStore(settings.search_url, {SEARCHABLE.name: MAPPING})
        SEARCHABLE.kept_in(store)


def index_search(settings: Settings) -> IndexSearch | None:
    """The search on the index, where the view is placed; None where PostgreSQL searches."""
    place(settings)
    if settings.search_url is None:
        return None
    # The client takes seconds to import, for which nobody else need wait.
    from adapters.search.journal import IndexSearch  # noqa: PLC0415

    return IndexSearch(settings.search_url)
