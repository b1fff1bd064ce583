"""What operators ask for over HTTP, in one place: of projections, quarantine and reactions.

Owns the list. ``ops_projections``, ``ops_quarantine`` and ``ops_reactions`` have the calls,
``ops_desk`` what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import UUID

from litestar.handlers import HTTPRouteHandler

from commands.ports import EventStore
from write_api.answering import Answering
from write_api.operations import Accepting, Offering
from write_api.ops_desk import Desk
from write_api.ops_projections import Rebuildable, projection_routes
from write_api.ops_quarantine import Care, quarantine_routes
from write_api.ops_reactions import ReactionCare, reaction_routes


class Caring(Care, ReactionCare, Protocol):
    """What is changed at once; ``adapters.oversight.PostgresCare`` does."""


def routes(
    answering: Answering,
    store: EventStore,
    operations: Accepting,
    offers: Offering,
    care: Caring,
    new_id: Callable[[], UUID],
    projections: Mapping[str, Rebuildable],
) -> list[HTTPRouteHandler]:
    """The handlers; ``projections`` are those that can be rebuilt."""
    desk = Desk(answering, store, operations, offers, new_id)
    return [
        *projection_routes(desk, projections),
        *quarantine_routes(desk, care),
        *reaction_routes(desk, care),
    ]
