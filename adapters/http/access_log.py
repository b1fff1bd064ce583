"""One structured line for each request, written in batches.

Owns what such a line holds: the route's template and not the path, never a query string, a body
or an address. Lines are gathered and written ten times a second, those of failures at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

Policy = Literal["all", "notable", "errors"]
"""``notable`` is answers from 400 on, slow ones, and those to clients that name their version."""

_FLUSH_AFTER = 0.1
_SLOW = 1.0


class About(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What was asked by whom, and how it was answered."""

    request_id: str
    method: str
    route: str
    status: int
    user_id: UUID | None = None
    client_version: str | None = None


class Line(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="message", tag="request"):
    """One answered request, in the shape of all logs; ``duration`` is milliseconds."""

    timestamp: datetime
    level: str
    service: str
    duration: float
    context: About


def to_stderr(lines: bytes) -> None:
    """Write to standard error, whole."""
    view = memoryview(lines)
    while view:
        view = view[os.write(2, view) :]


class AccessLog:
    """Decides which requests are logged, and writes their lines."""

    def __init__(self, policy: Policy = "all", write: Callable[[bytes], None] = to_stderr) -> None:
        """Take what to log, and what writes complete lines of JSON."""
        self.everything = policy == "all"
        self.only_errors = policy == "errors"
        self._write = write
        self._lines: list[bytes] = []
        self._encode = msgspec.json.Encoder().encode
        self._scheduled = False

    def wants(self, status: int, seconds: float, client_version: bytes | None) -> bool:
        """Whether this request is to be logged."""
        if self.everything or status >= 500:
            return True
        if self.only_errors:
            return False
        return status >= 400 or seconds >= _SLOW or client_version is not None

    def add(self, line: Line) -> None:
        """Log a request; must run on the event loop."""
        self._lines.append(self._encode(line))
        if line.level == "ERROR":
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(_FLUSH_AFTER, self._later)

    def flush(self) -> None:
        """Write what was gathered; a log that cannot be written does not stop the service."""
        if self._lines:
            lines, self._lines = self._lines, []
            with suppress(OSError):
                self._write(b"\n".join(lines) + b"\n")

    def _later(self) -> None:
        self._scheduled = False
        self.flush()
