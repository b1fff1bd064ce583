"""How a process is told to end: in good order, or in haste.

Owns the two signals and what they mean. SIGTERM: no answer is cut off, and clients are told to
take their next request elsewhere; that may take a while. SIGINT (Ctrl-C, and the supervisor when
everything ends): what is under way has a few seconds. What a role does about it is its own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable

LINGER_SECONDS = 1.0
"""How long clients have to learn, with an answer, that their connection ends: an idle one that is
closed may be just about to carry a request."""
DRAIN_SECONDS = 15.0
"""How long answers under way may take in good order; no wait in the contract is as long."""


class Stop(asyncio.Event):
    """Set when the process is to end; ``hurry`` as well if it is to do so in haste."""

    def __init__(self) -> None:
        super().__init__()
        self.hurry = asyncio.Event()

    def listen(self) -> None:
        """Have the signals set it. Needs a running loop in the main thread."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.set)
        loop.add_signal_handler(signal.SIGINT, self._in_haste)

    def _in_haste(self) -> None:
        self.hurry.set()
        self.set()

    async def grants(self, work: Awaitable[object], seconds: float) -> None:
        """Wait for ``work`` at most that long, and not at all, or no longer, in haste."""
        tasks = {asyncio.ensure_future(work), asyncio.ensure_future(self.hurry.wait())}
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
