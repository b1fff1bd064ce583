"""The pages behind the ``type`` of problems, for people and, by ``Accept``, for programs.

Owns ``GET /problems`` and ``GET /problems/{slug}``.
"""

from __future__ import annotations

from html import escape

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from adapters.http.context import HasScope, header
from adapters.http.operation import OPT, Operation
from adapters.http.problems import PROBLEMS, Problem, ProblemType
from adapters.http.responses import Answer, bare, page

CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif }
body { max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
code { font-family: ui-monospace, monospace }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8884;
  vertical-align: top }
.status { font-variant-numeric: tabular-nums; opacity: .7 }
"""


class ProblemPage(msgspec.Struct, frozen=True):
    """A kind of problem, as programs read it."""

    type: str
    code: str
    status: int
    title: str
    explanation: str


def _struct(kind: ProblemType) -> ProblemPage:
    return ProblemPage(kind.uri, kind.code, kind.status, kind.title, kind.explanation)


def prefers_json(request: HasScope) -> bool:
    """Whether ``Accept`` asks for JSON rather than for a page; a browser does not."""
    best = {"json": -1.0, "html": -1.0}
    for item in (header(request, b"accept") or "").lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if kind in ("application/json", "application/problem+json"):
            best["json"] = max(best["json"], quality)
        elif kind in ("text/html", "application/xhtml+xml", "text/*"):
            best["html"] = max(best["html"], quality)
    return best["json"] > 0 and best["json"] > best["html"]


def _html(title: str, content: str) -> Answer:
    return page(
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)} – Mindstream</title><style>{_STYLE}</style>"
        f"<body><main>{content}</main></body></html>",
        csp=CSP,
    )


_OPERATION = Operation(
    summary="What a problem means",
    tags=("Meta",),
    response_media_type="text/html",
    enveloped=False,
    response=str,
)


@get(
    "/problems",
    opt={
        OPT: Operation(
            summary="All problems that an answer can be",
            tags=("Meta",),
            response_media_type="text/html",
            enveloped=False,
            response=str,
        )
    },
)
async def problem_index(request: Request) -> Answer:  # type: ignore[type-arg]  # Litestar's three
    """List every kind of problem."""
    kinds = sorted(PROBLEMS.values(), key=lambda kind: (kind.status, kind.code))
    if prefers_json(request):
        return bare(msgspec.json.encode([_struct(kind) for kind in kinds]))
    rows = "".join(
        f'<tr><td class="status">{kind.status}</td>'
        f'<td><a href="{escape(kind.uri)}"><code>{escape(kind.code)}</code></a></td>'
        f"<td>{escape(kind.title)}</td></tr>"
        for kind in kinds
    )
    return _html(
        "Problems",
        "<h1>Problems</h1><p>Every error of the API is one of these.</p>"
        f"<table><tr><th>Status</th><th>Code</th><th>Title</th></tr>{rows}</table>",
    )


@get("/problems/{slug:str}", opt={OPT: _OPERATION})
async def problem_page(request: Request, slug: FromPath[str]) -> Answer:  # type: ignore[type-arg]  # as above
    """Explain one kind of problem."""
    kind = PROBLEMS.get(slug.upper().replace("-", "_"))
    if kind is None or kind.slug != slug:
        raise Problem("NOT_FOUND", "There is no such problem.")
    if prefers_json(request):
        return bare(msgspec.json.encode(_struct(kind)))
    return _html(
        kind.title,
        f'<p><a href="/problems">Problems</a></p><h1>{escape(kind.title)}</h1>'
        f"<p><code>{escape(kind.code)}</code>, status {kind.status}</p>"
        f"<p>{escape(kind.explanation)}</p>",
    )


problem_handlers: list[HTTPRouteHandler] = [problem_index, problem_page]
"""The handlers of both pages."""
