"""The frame of the console's pages, and the files that all web pages load.

Owns ``GET /ops``, ``GET /ops/{page}`` and the assets. The frame is the same for everybody and holds
nothing of the system; what is to be seen is a part that its script asks for with a bearer token.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from jinja2 import Environment
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.exchange import FOREVER
from adapters.http.handlers import get
from adapters.http.operation import OPT, Operation
from adapters.http.problems import Problem
from adapters.http.responses import Answer, page
from read_api.console.writing import ASSETS, FILES

PARTS = "/v1/ops/console/"
TAGS = ("Console",)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Place(msgspec.Struct, frozen=True):
    """A page of the console; ``name`` is that of its part."""

    name: str
    path: str
    title: str


def routes(templates: Environment, places: Iterable[Place]) -> list[HTTPRouteHandler]:
    """The handlers."""
    listed = list(places)
    by_path = {
        place.path: templates.get_template("console.html").render(
            home="/ops",
            places=listed,
            path=place.path,
            title=place.title,
            part=PARTS + place.name,
        )
        for place in listed
    }
    files = {asset.path.removeprefix(ASSETS): asset for asset in FILES.values()}

    @get("/ops", opt=web_page("The operators' console", "console"))
    async def overview(request: Request[Any, Any, Any]) -> Answer:
        return page(by_path["/ops"], csp=CSP)

    @get("/ops/{page:str}", opt=web_page("A page of the operators' console", "console_page"))
    async def other(request: Request[Any, Any, Any]) -> Answer:
        html = by_path.get("/ops/" + request.path_params["page"])
        if html is None:
            raise Problem("NOT_FOUND")
        return page(html, csp=CSP)

    @get(
        ASSETS + "{file:str}",
        opt={
            OPT: Operation(
                summary="A style sheet or script of the web pages",
                tags=TAGS,
                enveloped=False,
                response=str,
                response_media_type="text/css",
                problems=("NOT_FOUND",),
                open=True,
                operation_id="asset",
            )
        },
    )
    async def asset(request: Request[Any, Any, Any]) -> Answer:
        found = files.get(request.path_params["file"])
        if found is None:
            raise Problem("NOT_FOUND")
        return Answer(
            200,
            [
                (b"content-type", found.media_type.encode()),
                (b"content-length", b"%d" % len(found.content)),
                FOREVER,
            ],
            found.content,
        )

    return [overview, other, asset]


def web_page(summary: str, operation_id: str, tag: str = TAGS[0]) -> dict[str, Any]:
    """The description of a page that is open to everybody, as ``opt`` takes it."""
    return {
        OPT: Operation(
            summary=summary,
            description="The same for everybody: what is to be seen is loaded with a bearer token.",
            tags=(tag,),
            enveloped=False,
            response=str,
            response_media_type="text/html",
            problems=("NOT_FOUND",),
            open=True,
            operation_id=operation_id,
        )
    }
