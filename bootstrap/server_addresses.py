"""Whether addresses of servers can be read, as settings name them.

Whether anything answers there is found out by whoever connects.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

_LAST_PORT = 65_535


def postgres(value: str) -> str | None:
    """What is wrong with the address of a PostgreSQL, or None.

    The address is not repeated in it: what cannot be read may be a part of the password.
    """
    if not value.startswith(("postgresql://", "postgres://")):
        return "expected postgresql:// or postgres://…"
    from psycopg import ProgrammingError  # noqa: PLC0415  most commands do without
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        found = conninfo_to_dict(value)
    except ProgrammingError:
        return "cannot be read: expected postgresql://user:password@host:port/database?option=value"
    ports = [port for port in str(found.get("port") or "").split(",") if port]
    if all(port.isascii() and port.isdigit() and 0 < int(port) <= _LAST_PORT for port in ports):
        return None
    return f"expected a port between 1 and {_LAST_PORT}"


def url(*schemes: str) -> Callable[[str], str | None]:
    """A check like ``postgres`` for URLs of these schemes, each with its ``://``."""

    def check(value: str) -> str | None:
        if not value.startswith(schemes):
            return f"expected {' or '.join(schemes)}…"
        try:
            port = urlsplit(value).port
        except ValueError:
            return f"cannot be read: expected {schemes[0]}host:port/…"
        return f"expected a port between 1 and {_LAST_PORT}" if port == 0 else None

    return check
