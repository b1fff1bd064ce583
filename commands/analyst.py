"""What the making of an insight needs of the world: somebody who reads entries and tells of them.

Owns the port. ``adapters/models/`` has two: a small analyser of our own, which says that it is one,
and any model behind OpenAI's interface. Neither is ever handed a private entry.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from domain.journal.events import InsightType
from domain.journal.insight import Account, Figures, Page


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """What there was before the time in question: how much of it, and the last pages of it."""

    entries: int = 0
    words: int = 0
    longest: int = 0
    """Words of the longest entry."""
    pages: Sequence[Page] = ()


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What an analyst is given: the entries by date, what was counted, and what came before.

    ``language`` is the person's: in it they are told.
    """

    insight_type: InsightType
    start_date: datetime.date
    end_date: datetime.date
    language: str
    pages: Sequence[Page]
    figures: Figures
    before: Before = Before()


Progress = Callable[[float], Awaitable[None]]
"""Takes how much is done, 0 to 1; raises where it is not wanted any more."""


Hint = Callable[[UUID, Literal["queued", "running"] | None], None]
"""Takes how an insight stands, for whoever looks; None: it waits no more. It never waits itself."""


def no_hint(insight_id: UUID, state: Literal["queued", "running"] | None) -> None:
    """Nobody looks."""


class AnalystUnavailable(Exception):
    """The model cannot be had now: it may be tried again."""


class AnalystFailed(Exception):
    """The model answers, and not with what was asked: to ask again would be in vain."""


class Analyst(Protocol):
    """Reads entries and tells of them."""

    async def tell(self, material: Material, progress: Progress) -> Account:
        """What this time was like.

        Raises:
            AnalystUnavailable, AnalystFailed.
        """
        ...
