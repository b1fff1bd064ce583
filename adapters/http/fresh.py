"""Fresh reads: the token that names a position, and how long a client will wait for it.

Owns the form of ``Consistency-Token`` and the reading of ``Prefer: wait``. The waiting itself is
``read_api/fresh.py``.
"""

from __future__ import annotations

import binascii
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache

from adapters.http.context import HasScope, header
from adapters.http.problems import Problem

DEFAULT_WAIT = 2
MAX_WAIT = 10

_FORM = struct.Struct(">BQ")
_VERSION = 1
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16}")
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?')


@lru_cache(1024)
def token(position: int) -> str:
    """The token that stands for a position (≥ 0). It is no secret and binds nobody."""
    body = _FORM.pack(_VERSION, position)
    return urlsafe_b64encode(body + _check(body)).decode("ascii")


def position_of(request: HasScope) -> int | None:
    """The position that this read must include, None where the client asks for none.

    Raises:
        Problem: 400 where the token is not one of ours, or damaged.
    """
    text = header(request, b"consistency-token")
    return None if text is None else _position(text.strip())


@lru_cache(1024)
def _position(text: str) -> int:
    if _TOKEN.fullmatch(text):
        raw = urlsafe_b64decode(text)
        version, position = _FORM.unpack(raw[:9])
        if version == _VERSION and raw[9:] == _check(raw[:9]) and position < 2**63:
            return int(position)
    raise Problem("INVALID_CONSISTENCY_TOKEN")


def wait_seconds(request: HasScope) -> int:
    """How many seconds the read may wait: ``Prefer: wait=N``, at most 10, else 2.

    A malformed preference is ignored, as RFC 7240 asks.
    """
    for preference in (header(request, b"prefer") or "").lower().split(","):
        found = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if found:
            return min(int(found[1]), MAX_WAIT)
    return DEFAULT_WAIT


def _check(body: bytes) -> bytes:
    return binascii.crc32(body).to_bytes(4, "big")[:3]
