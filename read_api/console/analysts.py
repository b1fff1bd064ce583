"""The analysts' page: everybody's own numbers, and a tenant's for those who may.

Owns ``GET /analytics``. It is the same for everybody and holds no number: its scripts ask
``/v1/analytics`` with a bearer token, as any client does, and draw what that answers.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from jinja2 import Environment
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.handlers import get
from adapters.http.responses import Answer, page
from projections.buckets import Width
from read_api.console.pages import CSP, web_page


class Card(msgspec.Struct, frozen=True):
    """A chart's place on the page; ``wide`` ones have a row of their own."""

    name: str
    title: str
    wide: bool = False


CARDS = (
    Card("mood", "Mood", wide=True),
    Card("calendar", "Mood calendar", wide=True),
    Card("moods", "Moods"),
    Card("words", "Words"),
    Card("entries", "Entries"),
    Card("activity", "Activity"),
)
SPANS = (
    ("7", "7 days"),
    ("30", "30 days"),
    ("90", "90 days"),
    ("365", "1 year"),
    ("all", "All time"),
    ("own", "Custom"),
)
"""Days up to today, and how they are called."""


def routes(templates: Environment) -> list[HTTPRouteHandler]:
    """The handler."""
    html = templates.get_template("analytics.html").render(
        home="/analytics", title="Analytics", cards=CARDS, spans=SPANS, widths=get_args(Width)
    )

    @get("/analytics", opt=web_page("The analysts' page", "analysts_page", "Analytics"))
    async def analytics(request: Request[Any, Any, Any]) -> Answer:
        return page(html, csp=CSP)

    return [analytics]
