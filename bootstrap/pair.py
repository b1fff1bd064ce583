"""A projector as two processes: one for what people wait for, one aside for everything else.

The views of entries, days and people take a fraction of what words, figures and audit take. Threads
would take turns at one interpreter; so the process forks when everything is imported, before it has
a thread or a connection. The two share nothing but a socket, whose end tells each of the end of the
other: neither goes on alone, so that whoever watches the first has both.

Owns the pair. What either does is composed in ``bootstrap/wiring/background.py``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, NoReturn

Share = Literal["awaited", "aside"]
"""Of the work: what people wait for after a write, and all the rest."""

Body = Callable[[asyncio.Event], Awaitable[None]]

NICE = 3
"""By how much the process aside gives way to what people wait for: it must not come to a halt."""
ASIDE_SECONDS = 5.0
"""How long the process aside may take to end after the other has."""


def run(body_of: Callable[[Share], Body], main: Callable[[Share, Body], int]) -> int:
    """Have ``main`` run the body of each share in a process of its own; this one's exit code.

    Call it without threads and without connections. ``main`` must end its body at SIGTERM.
    """
    ours, theirs = socket.socketpair()
    aside = os.fork()
    if aside == 0:
        ours.close()
        _aside(theirs, body_of("aside"), main)
    theirs.close()

    async def together(stop: asyncio.Event) -> None:
        ending = asyncio.Event()
        tell = asyncio.create_task(_tell(stop, ending, aside))
        _at_end_of(ours, ending.set)
        try:
            await body_of("awaited")(ending)
        finally:
            tell.cancel()

    try:
        return main("awaited", together)
    finally:
        with suppress(ProcessLookupError):
            os.kill(aside, signal.SIGTERM)
        _bury(aside)


def _bury(aside: int) -> None:
    """Wait for its end, and not for ever: who is here to the last must not be held up by it."""
    deadline = time.monotonic() + ASIDE_SECONDS
    while os.waitpid(aside, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(aside, signal.SIGKILL)  # what it has not committed is folded by the next one
            os.waitpid(aside, 0)
            return
        time.sleep(0.02)


def _aside(pair: socket.socket, body: Body, main: Callable[[Share, Body], int]) -> NoReturn:
    """The whole life of the process aside: it never returns to what its parent was doing."""
    code = 1
    try:
        os.nice(NICE)

        async def bound(stop: asyncio.Event) -> None:
            # With the other gone nobody waits for what is under way here, and leases must be free.
            _at_end_of(pair, lambda: os._exit(1))
            await body(stop)

        code = main("aside", bound)
    except BaseException:  # noqa: BLE001 - nothing above it would tell of it
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


async def _tell(stop: asyncio.Event, ending: asyncio.Event, aside: int) -> None:
    await stop.wait()
    with suppress(ProcessLookupError):
        os.kill(aside, signal.SIGTERM)  # both end at the same time
    ending.set()


def _at_end_of(pair: socket.socket, then: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(pair)
        then()

    loop.add_reader(pair, ended)
