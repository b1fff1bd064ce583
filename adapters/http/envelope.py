"""The envelope around every successful answer.

Owns the order and names of its fields: success, data, message, timestamp, requestId and, for a
list, meta. Errors are written by ``problems``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A successful answer; ``data`` may be ``msgspec.Raw``, which is written through as it is."""

    success: bool
    data: Any
    message: str
    timestamp: datetime
    requestId: str  # noqa: N815  the contract's name
    meta: Any = msgspec.UNSET


class PageMeta(msgspec.Struct, frozen=True):
    """What a list adds: where it goes on (None: it does not), and how long a page is."""

    next_cursor: str | None
    limit: int


_encode = msgspec.json.Encoder().encode


def success(
    data: Any,
    *,
    message: str,
    request_id: str,
    meta: Any = None,
    now: datetime | None = None,
) -> bytes:
    """The JSON of a successful answer; ``now`` must be aware and in UTC."""
    return _encode(
        Envelope(
            True,
            data,
            message,
            now or datetime.now(UTC),
            request_id,
            msgspec.UNSET if meta is None else meta,
        )
    )
