"""Conditional requests: versions as strong entity tags.

Owns the reading of ``If-Match`` and ``If-None-Match`` (RFC 9110). Whether a version is stale is
decided where the aggregate is loaded, after it is known to exist.
"""

from __future__ import annotations

import re

from adapters.http.context import HasScope, context_of, header
from adapters.http.problems import Problem

NEVER = -1
"""A version that no aggregate has: what the client sent matches none, so that the answer is 412
for something that exists, and 404 for something that does not."""

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')
_VERSION = re.compile(r"[1-9]\d{0,17}")


def etag(version: int) -> str:
    """The strong entity tag of a version."""
    return f'"{version}"'


def required_version(request: HasScope) -> int | None:
    """The version that the client decided on; None for ``*``, which is any.

    Of several tags the newest counts, since it alone can be current. A weak tag, or one that is
    no version, matches nothing and gives ``NEVER``.

    Raises:
        Problem: 428 without ``If-Match``, 400 where it is malformed.
    """
    text = header(request, b"if-match")
    if text is None:
        raise Problem("IF_MATCH_REQUIRED")
    if text.strip() == "*":
        return None
    tags = _tags(text)
    if not tags:
        raise Problem("MALFORMED_REQUEST", 'If-Match must hold an entity tag such as "3".')
    versions = [int(tag) for weak, tag in tags if not weak and _VERSION.fullmatch(tag)]
    return max(versions, default=NEVER)


def not_modified(request: HasScope, current: str) -> bool:
    """Whether ``If-None-Match`` names the current tag, compared weakly; malformed ones do not."""
    raw = context_of(request).headers.get(b"if-none-match")
    if raw is None:
        return False
    text = raw.decode("latin-1")
    if text == current:
        return True
    text = header(request, b"if-none-match") or ""
    if text.strip() == "*":
        return True
    wanted = current.removeprefix("W/")
    return any(f'"{tag}"' == wanted for _, tag in _tags(text))


def _tags(text: str) -> list[tuple[bool, str]]:
    """The tags of a list with whether each is weak; empty where the list is malformed."""
    tags: list[tuple[bool, str]] = []
    at = 0
    while at < len(text):
        found = _TAG.match(text, at)
        if found is None:
            return []
        tags.append((found[1] is not None, found[2]))
        at = found.end()
    return tags
