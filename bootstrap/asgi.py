"""The two APIs for any ASGI server: ``granian --interface asgi --factory bootstrap.asgi:read_api``.

Owns nothing: settings come from the environment, the application from ``bootstrap/wiring/``.
"""

from __future__ import annotations

from typing import Any

from bootstrap import logs, settings
from bootstrap.roles import wiring
from bootstrap.services import connected


def write_api() -> Any:
    """The write API under the environment's settings."""
    found = connected(settings.load())
    logs.configure(found.log_level, "write-api")
    return wiring().write_api_app(found)


def read_api() -> Any:
    """The read API under the environment's settings."""
    found = connected(settings.load())
    logs.configure(found.log_level, "read-api")
    return wiring().read_api_app(found)
