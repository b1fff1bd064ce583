"""Hearing what PostgreSQL notifies of, for whoever also polls: it may be lost, and comes again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import psycopg

AGAIN = 0.5
"""Seconds before another attempt to listen."""


async def heed(
    dsn: str,
    channel: str,
    heard: Callable[[str], None],
    *,
    role: str,
    name: str,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Call ``heard`` with each payload, until cancelled; ``begun`` whenever it begins to listen.

    Takes a connection of its own as ``role``, which is called ``<role>-<name>``.
    """
    while True:
        with contextlib.suppress(psycopg.Error, OSError):
            async with await psycopg.AsyncConnection.connect(
                dsn,
                autocommit=True,
                connect_timeout=5,
                options=f"-c role={role}",
                application_name=f"{role}-{name}",
            ) as connection:
                await connection.execute(f"LISTEN {channel}")
                begun()
                async for notice in connection.notifies():
                    heard(notice.payload)
        await asyncio.sleep(AGAIN)  # whoever calls polls meanwhile
