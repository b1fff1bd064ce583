"""Cursors of lists: where a page ends, sealed against tampering.

Owns the form of a cursor. Its content can be read by who wants to, but not changed, and it opens
only at the endpoint, for the principal, and with the filters and order that it was made for.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec

from adapters.http.problems import Problem
from domain.faults import Fault

T = TypeVar("T")

_MAC = 16
_MAX = 1024
_encode = msgspec.msgpack.Encoder().encode


class Cursors:
    """Seals and opens cursors with one secret, which all processes share.

    ``binding`` is anything that msgspec encodes and that must be the same when the cursor comes
    back: most often the query's struct without ``cursor`` and ``limit``, as a tuple.
    """

    def __init__(self, secret: bytes) -> None:
        """Take a secret of at least 16 bytes.

        Raises:
            ValueError: it is shorter.
        """
        if len(secret) < 16:
            raise ValueError("the secret of cursors must have at least 16 bytes")
        self._key = hashlib.sha256(b"mindstream cursors\0" + secret).digest()

    def seal(
        self,
        endpoint: str,
        principal_id: UUID,
        payload: tuple[Any, ...],
        binding: Any = None,
    ) -> str:
        """The cursor that stands for ``payload``, the sort key of a page's last item."""
        body = _encode(payload)
        return (
            urlsafe_b64encode(self._mac(endpoint, principal_id, body, binding) + body)
            .rstrip(b"=")
            .decode("ascii")
        )

    def open(
        self,
        endpoint: str,
        principal_id: UUID,
        cursor: str,
        binding: Any = None,
        kind: type[T] | None = None,
    ) -> T:
        """The payload as ``kind`` (``tuple[date, UUID]``); dates and ids are text without it.

        Raises:
            Problem: 422 ``INVALID_CURSOR``, whatever is wrong with it.
        """
        try:
            if not cursor.isascii() or len(cursor) > _MAX:
                raise ValueError
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            if urlsafe_b64encode(raw).rstrip(b"=").decode() != cursor:  # one form only
                raise ValueError
            mac, body = raw[:_MAC], raw[_MAC:]
            if not hmac.compare_digest(mac, self._mac(endpoint, principal_id, body, binding)):
                raise ValueError
            return cast(T, msgspec.msgpack.decode(body, type=kind or tuple))
        except (ValueError, msgspec.MsgspecError):
            raise invalid_cursor() from None

    def _mac(self, endpoint: str, principal_id: UUID, body: bytes, binding: Any) -> bytes:
        bound = _encode((endpoint, principal_id, binding, body))
        return hmac.digest(self._key, bound, "sha256")[:_MAC]


def invalid_cursor() -> Problem:
    """422 at the field ``cursor``."""
    message = "This cursor does not belong to this list, its filters, its order or its reader."
    return Problem("INVALID_CURSOR", message, errors=(Fault("cursor", "invalid_format", message),))
