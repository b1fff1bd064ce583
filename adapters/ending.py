"""Ending tasks that would go on for ever."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN = 1.0
"""Seconds after which a task is told once more."""


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they have ended; their errors are nobody's any more.

    Being told once is not enough: ``asyncio.wait_for`` of Python 3.11, which libraries use, forgets
    a cancellation that comes just when what it waits for is there.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
