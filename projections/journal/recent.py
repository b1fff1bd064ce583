"""The newest entries, as everyone asks for them first: kept for all processes.

Owns what is kept and how it is named. The page itself is read by ``projections.journal.entries``.
"""

from __future__ import annotations

import msgspec

from projections.caching import Kind
from projections.journal.entries import Entries

RECENT = Kind(
    name="recent",
    key="journals:user:{user}:recent",
    lifetime=5 * 60,
    views=(Entries.name,),
    takes=Entries.takes,
    cheap=True,
)


class RecentEntries(msgspec.Struct, frozen=True, array_like=True):
    """A first page: a JSON array of entries, and the cursor of the next one."""

    documents: msgspec.Raw
    cursor: str | None
