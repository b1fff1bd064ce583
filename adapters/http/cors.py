"""Which pages of other origins may read answers: those of the settings, and those that keys list.

Owns the headers of CORS and the answer to a preflight. Nothing here rests on cookies, which the API
does not know; so credentials are never allowed in the sense of CORS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from adapters.http.exchange import RawHeader
from adapters.http.principal import Headers

_SENT = (
    *("Authorization", "Consistency-Token", "Content-Type", "Idempotency-Key", "If-Match"),
    *("If-None-Match", "Last-Event-ID", "Prefer", "X-API-Key", "X-Client-Version", "X-Request-Id"),
)
"""Headers that a page may send."""
_READ = (
    *("Consistency-Token", "ETag", "Idempotency-Replayed", "Location", "RateLimit"),
    *("RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-As-Of", "X-Request-Id"),
)
"""Headers that a page may read."""
_ORIGIN = b"access-control-allow-origin"
_VARY = (b"vary", b"Origin")
_EXPOSED = (
    b"access-control-expose-headers",
    ", ".join(_READ).encode("ascii"),
)
_ALLOWED = (
    b"access-control-allow-headers",
    ", ".join(_SENT).encode("ascii"),
)
_MAX_AGE = (b"access-control-max-age", b"600")


class Cors:
    """Decides by origin. ``of_keys`` gives the origins that active keys list, as last heard."""

    def __init__(
        self,
        origins: Iterable[str] = (),
        of_keys: Callable[[], Collection[bytes]] = frozenset,
    ) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)
        self._of_keys = of_keys

    def headers(self, origin: bytes, of_key: Collection[bytes] = ()) -> tuple[RawHeader, ...]:
        """What an answer to this origin carries; ``of_key`` are its key's."""
        if origin not in self._origins and origin not in of_key:
            return (_VARY,)
        return (_ORIGIN, origin), _EXPOSED, _VARY

    def admits(self, origin: bytes, of_key: Collection[bytes] = ()) -> bool:
        """Whether this origin is one of the settings' or of the key's."""
        return origin in self._origins or origin in of_key

    def preflight(self, headers: Headers, methods: Collection[str]) -> list[RawHeader] | None:
        """The answer's headers; None where this is no preflight or of a foreign origin."""
        origin = headers.get(b"origin")
        if origin is None or b"access-control-request-method" not in headers or not methods:
            return None
        if origin not in self._origins and origin not in self._of_keys():
            return None
        allowed = ", ".join(sorted(methods)).encode("ascii")
        return [
            (_ORIGIN, origin),
            (b"access-control-allow-methods", allowed),
            _ALLOWED,
            _MAX_AGE,
            (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
