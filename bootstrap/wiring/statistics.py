"""A person's statistics, which are the journal's, for the accounts that show them."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from projections.accounts.people import Totals
from projections.journal.days import streak_and_statistics
from projections.reading import Reader


def totals_of(reader: Reader) -> Any:
    """How the accounts' handlers get a person's statistics, which are the journal's."""

    async def totals(user_id: UUID, today: date) -> Totals:
        _, statistics = await streak_and_statistics(reader, user_id, today)
        return statistics

    return totals
