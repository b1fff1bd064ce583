"""All calls of the web pages together.

Owns which pages the console has. A page is its frame and its part; it stands here once both work.
"""

from __future__ import annotations

from litestar.handlers import HTTPRouteHandler

from adapters.http.health import Readiness
from projections.ops.audit import AuditLog
from projections.oversight import Oversight, Plans
from read_api.console import analysts, lists, pages, parts, pulse
from read_api.console.pages import Place
from read_api.console.pulse import Beats
from read_api.console.writing import environment
from read_api.operations import Showing

PLACES = (
    Place("overview", "/ops", "Overview"),
    Place("projections", "/ops/projections", "Projections"),
    Place("quarantine", "/ops/quarantine", "Quarantine"),
    Place("events", "/ops/events", "Events"),
    Place("operations", "/ops/operations", "Operations"),
    Place("audit", "/ops/audit", "Audit log"),
)


def routes(
    oversight: Oversight,
    plans: Plans,
    audit: AuditLog,
    readiness: Readiness,
    operations: Showing,
    beats: Beats,
    *,
    comment_every: float,
) -> list[HTTPRouteHandler]:
    """The handlers."""
    templates = environment()
    drawn = [
        *parts.parts(oversight, plans, audit, readiness, beats.trends),
        *lists.parts(oversight, audit, operations),
    ]
    return [
        *pages.routes(templates, PLACES),
        *analysts.routes(templates),
        parts.handler(templates, drawn),
        pulse.handler(beats, comment_every=comment_every),
    ]
