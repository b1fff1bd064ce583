"""Successful answers as Litestar responses, written with as little work as can be.

Owns ``Answer``, which is a response and its own ASGI application at once: a status, encoded
headers and a body. What every answer carries is added by ``conventions``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from litestar import Response

from adapters.http import envelope, fresh, problems
from adapters.http.conditional import etag as tag_of
from adapters.http.context import KEY, HasScope, RequestContext, context_of
from adapters.http.problems import Problem

_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", problems.MEDIA_TYPE)
_HTML = (b"content-type", b"text/html; charset=utf-8")

RawHeaders = list[tuple[bytes, bytes]]


class Answer(Response[bytes]):
    """A complete answer: annotate handlers with it, or with ``litestar.Response``."""

    __slots__ = ("body", "raw_headers")

    def __init__(self, status: int, headers: RawHeaders, body: bytes = b"") -> None:
        # Litestar's own initialiser builds dictionaries that nothing here needs.
        self.status_code = status
        self.raw_headers = headers
        self.body = body
        self.content = body
        self.background = None

    def header(self, name: bytes) -> bytes | None:
        """The first header of this lower-case name."""
        return next((value for key, value in self.raw_headers if key == name), None)

    def to_asgi_response(self, *_args: Any, **_options: Any) -> Any:
        """Itself: handler options such as a default status do not apply to a complete answer."""
        return self

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it (ASGI)."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class Download(Answer):
    """A file that is sent as it is read: ``pieces`` make ``size`` bytes, known before."""

    __slots__ = ("_size", "pieces")

    def __init__(
        self, size: int, pieces: AsyncIterator[bytes], media_type: str, filename: str
    ) -> None:
        # The name is ours and plain ASCII: nothing in it needs quoting.
        disposition = f'attachment; filename="{filename}"'
        super().__init__(
            200,
            [
                (b"content-type", media_type.encode("latin-1")),
                (b"content-length", b"%d" % size),
                (b"content-disposition", disposition.encode("ascii")),
            ],
        )
        self._size = size
        self.pieces = pieces

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it (ASGI).

        Raises:
            ConnectionAbortedError: the file ended early, so that the client must not think that it
                has all of it.
        """
        status, headers = self.status_code, self.raw_headers
        await send({"type": "http.response.start", "status": status, "headers": headers})
        context: RequestContext | None = scope.get(KEY)
        left = 0 if context is not None and context.head else self._size
        if left:
            async for piece in self.pieces:
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if left:
                raise ConnectionAbortedError("the file ended early")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def bare(
    body: bytes, media_type: str = "application/json", *, status: int = 200, **headers: str
) -> Answer:
    """An answer without the envelope; underscores in the names of headers become hyphens."""
    raw: RawHeaders = [
        (b"content-type", media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(body)),
    ]
    raw.extend(
        (name.replace("_", "-").encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
    )
    return Answer(status, raw, body)


def ok(
    request: HasScope,
    data: Any,
    *,
    status: int = 200,
    message: str = "OK",
    etag: int | str | None = None,
    location: str | None = None,
    token: int | str | None = None,
    meta: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An answer in the envelope.

    ``data`` may be ``msgspec.Raw``. ``etag`` is a version or a ready tag, ``token`` a position or
    a ready Consistency-Token, ``meta`` an ``envelope.PageMeta`` or the like.
    """
    body = envelope.success(
        data, message=message, request_id=context_of(request).request_id, meta=meta
    )
    raw: RawHeaders = [_JSON, (b"content-length", b"%d" % len(body))]
    _add(raw, etag, token)
    if location is not None:
        raw.append((b"location", location.encode("ascii")))
    if headers:
        raw.extend((k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items())
    return Answer(status, raw, body)


def no_content(
    request: HasScope, *, token: int | str | None = None, etag: int | str | None = None
) -> Answer:
    """204: it is done, and there is nothing to show."""
    raw: RawHeaders = []
    _add(raw, etag, token)
    return Answer(204, raw)


def unchanged(request: HasScope, *, etag: int | str, token: int | str | None = None) -> Answer:
    """304: what the client has is current."""
    raw: RawHeaders = []
    _add(raw, etag, token)
    return Answer(304, raw)


def page(html: str, *, csp: str, status: int = 200) -> Answer:
    """A web page; ``csp`` is its whole Content-Security-Policy."""
    body = html.encode("utf-8")
    return Answer(
        status,
        [
            _HTML,
            (b"content-length", b"%d" % len(body)),
            (b"content-security-policy", csp.encode("ascii")),
        ],
        body,
    )


def failed(problem: Problem, request: HasScope) -> Answer:
    """The answer that a problem is."""
    context = context_of(request)
    body = problems.render(problem, context.request_id, instance=context.scope.get("path"))
    raw: RawHeaders = [_PROBLEM, (b"content-length", b"%d" % len(body))]
    raw.extend((k.encode("latin-1"), v.encode("latin-1")) for k, v in problem.headers.items())
    return Answer(problem.status, raw, body)


def _add(raw: RawHeaders, etag: int | str | None, token: int | str | None) -> None:
    if etag is not None:
        tag = tag_of(etag) if isinstance(etag, int) else etag
        raw.append((b"etag", tag.encode("latin-1")))
    if token is not None:
        text = fresh.token(token) if isinstance(token, int) else token
        raw.append((b"consistency-token", text.encode("ascii")))
