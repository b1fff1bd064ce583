"""Signed links: paths that whoever has one may use until it expires, without a token.

Owns the form of a link (``<path>?expires=<Unix time>&signature=…``) and how it is checked. What
lies at the path is its handler's; that the path needs no login is said in ``doors``. ``Base`` finds
the address in front of the path, where a link must be absolute.
"""

from __future__ import annotations

import hmac
import math
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qsl

from adapters.http.context import HasScope, context_of
from adapters.http.problems import Problem, register

register(
    "LINK_REFUSED",
    403,
    "This link has expired or was changed",
    "Links that need no login work for a limited time and exactly as they were given. Ask for a"
    " new one where this one came from.",
)


_HOST = re.compile(
    rb"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?"
)


class Base:
    """The address at which clients reach us: the one that was set, else that of the request.

    What a proxy says of the client's address counts only if that proxy is trusted, as for
    addresses. ``fallback`` is for requests that name no host that could be one.
    """

    def __init__(self, public_url: str | None, fallback: str) -> None:
        self._public = None if public_url is None else public_url.rstrip("/")
        self._fallback = fallback.rstrip("/")

    def of(self, request: HasScope) -> str:
        """Scheme and host, and the path that was set, if any; without a slash at the end."""
        if self._public is not None:
            return self._public
        context = context_of(request)
        headers, scope = context.headers, request.scope
        scheme, host = scope.get("scheme", "http").encode(), headers.get(b"host", b"")
        if context.behind_proxy:
            host = headers.get(b"x-forwarded-host", host)
            scheme = headers.get(b"x-forwarded-proto", scheme)
        if scheme not in (b"http", b"https") or not _HOST.fullmatch(host):
            return self._fallback
        return f"{scheme.decode()}://{host.decode()}"


class Links:
    """Makes and checks links with one secret, which all processes share.

    ``clock`` tells Unix time in seconds.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        """Take a secret of at least 16 bytes.

        Raises:
            ValueError: it is shorter.
        """
        if len(secret) < 16:
            raise ValueError("the secret of links must have at least 16 bytes")
        self._secret = secret
        self._clock = clock

    def sign(self, path: str, expires_at: datetime, method: str = "GET") -> str:
        """The link for this path and method, good until then (to the second, rounded up)."""
        expires = str(math.ceil(expires_at.timestamp()))
        return f"{path}?expires={expires}&signature={self._signature(method, path, expires)}"

    def check(self, request: HasScope, path: str, method: str = "GET") -> None:
        """Return if the request came by a link for this path and method that has not expired.

        Raises:
            Problem: 403 ``LINK_REFUSED``, whatever is wrong with it.
        """
        query: bytes = request.scope.get("query_string", b"")
        try:
            given = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=2)
        except ValueError:
            raise Problem("LINK_REFUSED") from None
        if [name for name, _ in given] != ["expires", "signature"]:
            raise Problem("LINK_REFUSED")
        expires, signature = (value for _, value in given)
        right = self._signature(method, path, expires)
        if not hmac.compare_digest(signature.encode(), right.encode()):
            raise Problem("LINK_REFUSED")
        if self._clock() >= int(expires):
            raise Problem("LINK_REFUSED")

    def _signature(self, method: str, path: str, expires: str) -> str:
        signed = hmac.digest(self._secret, f"{method}\n{path}\n{expires}".encode(), "sha256")
        return urlsafe_b64encode(signed).rstrip(b"=").decode("ascii")
