"""``GET /schema/openapi.json``, and ``GET /docs``: a page that shows it without anything foreign.

Owns the two handlers. The page's script and style stand in ``docs_page`` and are allowed by their
hashes; nothing is loaded from elsewhere.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ControllerRouterHandler

from adapters.http.conditional import not_modified
from adapters.http.docs_page import HTML, SCRIPT, STYLE
from adapters.http.openapi import document
from adapters.http.operation import OPT, Operation
from adapters.http.responses import Answer, bare, page, unchanged


def _hash(text: str) -> str:
    return "'sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


CSP = (
    f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def openapi_handlers(
    handlers: Sequence[ControllerRouterHandler], **info: str
) -> list[HTTPRouteHandler]:
    """Handlers that serve the document of ``handlers``, and of themselves.

    ``info`` may have ``title``, ``version`` and ``description``.
    """

    @get(
        "/schema/openapi.json",
        opt={
            OPT: Operation(
                summary="This document",
                tags=("Meta",),
                enveloped=False,
                response=dict[str, Any],
                operation_id="openapi",
            )
        },
    )
    async def schema(request: Request[Any, Any, Any]) -> Answer:
        if not_modified(request, tag):
            return unchanged(request, etag=tag)
        return bare(body, etag=tag)

    @get(
        "/docs",
        opt={
            OPT: Operation(
                summary="The API's documentation as a page",
                tags=("Meta",),
                enveloped=False,
                response=str,
                response_media_type="text/html",
                operation_id="docs",
            )
        },
    )
    async def docs() -> Answer:
        return page(HTML, csp=CSP)

    own = [schema, docs]
    body = document([*handlers, *own], **info)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return own
