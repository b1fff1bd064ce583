"""What operators ask for over HTTP, in one place: of projections, and of events in quarantine.

Owns the list. ``ops_projections`` and ``ops_quarantine`` have the calls, ``ops_desk`` what they
share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from litestar.handlers import HTTPRouteHandler

from commands.ports import EventStore
from write_api.answering import Answering
from write_api.operations import Accepting, Offering
from write_api.ops_desk import Desk
from write_api.ops_projections import Rebuildable, projection_routes
from write_api.ops_quarantine import Care, quarantine_routes


def routes(
    answering: Answering,
    store: EventStore,
    operations: Accepting,
    offers: Offering,
    care: Care,
    new_id: Callable[[], UUID],
    projections: Mapping[str, Rebuildable],
) -> list[HTTPRouteHandler]:
    """The handlers; ``projections`` are those that can be rebuilt."""
    desk = Desk(answering, store, operations, offers, new_id)
    return [*projection_routes(desk, projections), *quarantine_routes(desk, care)]
