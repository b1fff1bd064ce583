"""Files as answers: to be saved, never shown, whole or in part.

Owns the headers that keep a browser from running what somebody uploaded, names beyond ASCII
(RFC 6266), and single ranges (RFC 9110).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from adapters.http.conditional import not_modified
from adapters.http.context import HasScope, header
from adapters.http.problems import Problem, register
from adapters.http.responses import Answer, Download, RawHeaders, unchanged

register(
    "RANGE_NOT_SATISFIABLE",
    416,
    "The file has no such range",
    "The range that was asked for lies behind the end of the file. Content-Range says how long it"
    " is.",
)

CSP = b"default-src 'none'; sandbox; frame-ancestors 'none'"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\%]')

Read = Callable[[int, int], AsyncIterator[bytes]]
"""Bytes from a place on, so many of them."""


def file_answer(
    request: HasScope, size: int, read: Read, *, filename: str, content_type: str, etag: str
) -> Answer:
    """The file, or the part of it that is asked for, or 304.

    Raises:
        Problem: 416 for a part that it has not.
    """
    if not_modified(request, etag):
        return unchanged(request, etag=etag)
    first, count = 0, size
    part = _part(request, size, etag)
    if part is not None:
        first, count = part
    headers: RawHeaders = [
        (b"content-type", content_type.encode("latin-1")),
        (b"content-length", b"%d" % count),
        (b"content-disposition", disposition(filename)),
        (b"content-security-policy", CSP),
        (b"accept-ranges", b"bytes"),
        (b"etag", etag.encode("ascii")),
    ]
    if part is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, first + count - 1, size)))
    answer = Download(count, read(first, count), content_type, "file")
    answer.raw_headers = headers
    answer.status_code = 200 if part is None else 206
    return answer


def disposition(filename: str) -> bytes:
    """``Content-Disposition`` with the name twice: for old clients, and as it is."""
    plain = _UNSAFE.sub("_", filename)
    exact = quote(filename, safe="!#$&+-.^_`|~", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}".encode("ascii")


def _part(request: HasScope, size: int, etag: str) -> tuple[int, int] | None:
    """Where the range that is asked for begins, and its length; None for the whole file."""
    text = header(request, b"range")
    found = _RANGE.fullmatch(text.strip()) if text is not None else None
    if found is None or not any(found.groups()):
        return None  # several ranges, or other units: the whole file answers them as well
    condition = header(request, b"if-range")
    if condition is not None and condition.strip() != etag:
        return None
    begin, end = found.groups()
    if not begin:
        count = min(int(end), size)
        first, last = size - count, size - 1
    else:
        first, last = int(begin), min(int(end) if end else size - 1, size - 1)
        if end and int(end) < first:
            return None
    if first >= size or last < first:
        raise Problem(
            "RANGE_NOT_SATISFIABLE",
            f"The file has {size} bytes.",
            headers={"content-range": f"bytes */{size}"},
        )
    return first, last - first + 1
