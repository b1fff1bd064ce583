"""Waiting for a condition instead of a time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable


def eventually(condition: Callable[[], bool], *, within: float = 20.0) -> None:
    """Return as soon as ``condition`` holds; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        pause.wait(0.02)


async def eventually_async(
    condition: Callable[[], Awaitable[bool]], *, within: float = 20.0
) -> None:
    """``eventually`` for a condition that is to be awaited."""
    pause = asyncio.Event()
    async with asyncio.timeout(within):
        while not await condition():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pause.wait(), 0.02)
