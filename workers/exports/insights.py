"""What the journal tells a person of themselves: their insights, and when they were reminded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import chain

import msgspec

from domain.journal.insight import Insight
from domain.journal.reminders import Reminders
from projections.journal.insights import Insights as View
from projections.journal.insights import Keyset, insight_ids, page
from projections.reading import Reader
from workers.exports.sources import Exported, Listing, Owner, Share, uuids, with_left_out

_AT_ONCE = 100
"""Insights that are read together."""


class Insights(Exported):
    """The source."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of the projections that it reads."""
        return (View.name,)

    async def share(self, owner: Owner) -> Share:
        """All insights, those that failed too."""
        ids = await insight_ids(self._reader, owner.user_id)
        streams = await with_left_out(
            self._reader, owner, View.name, lambda: map(Insight.stream, uuids(ids))
        )
        return Share(
            parts=(
                Listing(
                    "journal/insights.json",
                    "What was told to you about times of your journal, newest first.",
                    self._insights(owner),
                ),
            ),
            streams=chain(streams(), [Reminders.stream(owner.user_id)]),
            size=len(ids) // 16,
        )

    async def _insights(self, owner: Owner) -> AsyncIterator[msgspec.Raw]:
        after: Keyset | None = None
        while True:
            documents, after = await page(
                self._reader,
                owner.user_id,
                insight_type=None,
                state=None,
                after=after,
                limit=_AT_ONCE,
            )
            for document in documents:
                yield msgspec.Raw(document)
            if after is None:
                return
