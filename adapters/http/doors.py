"""Which paths are open: declared once, for the layer that authenticates and for the document.

Inside ``/v1`` everything needs a principal but what is named here.
"""

from __future__ import annotations

import re

_SLASHES = re.compile("/{2,}")

_OPEN_BELOW = ("/v1/auth/", "/v1/exports/")  # the latter by signed links
_CLOSED_AFTER_ALL = ("/v1/auth/totp",)
_OPEN = frozenset({"/v1/me/restore"})

UNLIMITED = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Paths that no rate limit counts."""


def canonical(path: str) -> str:
    """The path as the router sees it: single slashes and none at the end."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if len(path) > 1 and path[-1] == "/":
        path = path[:-1]
    return path


def is_open(path: str) -> bool:
    """Whether a canonical path is answered without authentication."""
    if not (path.startswith("/v1/") or path == "/v1"):
        return True
    if path in _OPEN:
        return True
    # Whatever begins like a closed path is closed, be it a path below it or another word.
    return path.startswith(_OPEN_BELOW) and not path.startswith(_CLOSED_AFTER_ALL)
