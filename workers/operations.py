"""Working on operations: take one, keep it while alive, say how far it is, end it once.

Owns the lease: an operation belongs to the worker that claimed it as long as that one renews it,
and to whoever comes next when it does not. Whether two ever work on one at the same time (a worker
that was stopped and went on) must not matter: what they do is idempotent.

``adapters/operations.py`` implements the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, Self
from uuid import UUID

import structlog

from domain.operation import Claimed, Failure, Held

log = structlog.get_logger()

LEASE = 5.0
"""Seconds for which a claim holds unless it is renewed."""
HEARTBEAT = 1.5
"""Seconds between renewals while nothing else renews it."""
REPORT_EVERY = 0.5
"""Seconds between reports of progress, at least."""
MAX_ATTEMPTS = 50
"""How often an operation is begun without getting any further, before it fails."""


class Operations(Protocol):
    """The operations, for those who work on them. Leases are in seconds."""

    async def claim(self, operation_id: UUID, owner: str, lease: float) -> Claimed | None:
        """Take it if it is open and nobody else has it."""
        ...

    async def report(
        self,
        operation_id: UUID,
        owner: str,
        lease: float,
        *,
        progress: float,
        eta_seconds: int | None,
        detail: str | None,
    ) -> Held:
        """Renew the lease and say how far it is; whether it is still ours and still wanted."""
        ...

    async def finish(
        self,
        operation_id: UUID,
        owner: str,
        state: Literal["succeeded", "failed", "cancelled"],
        *,
        result: Any = None,
        error: Failure | None = None,
    ) -> bool:
        """End it, and drop its input; whether it was still ours."""
        ...

    async def release(
        self, operation_id: UUID, owner: str, pause: float, *, failed: bool = True
    ) -> None:
        """Give it back, to be taken again after ``pause`` seconds.

        One that only waits for another has not ``failed``: it may be begun as often as it takes.
        """
        ...

    def input(self, operation_id: UUID) -> AsyncIterator[bytes]:
        """The pieces of its input, in order."""
        ...

    async def stranded(self, limit: int) -> Sequence[tuple[UUID, str]]:
        """Ids and kinds of open operations that nobody has, and that are due to be offered."""
        ...

    async def offered(self, operation_id: UUID) -> None:
        """Note that the broker has it (again)."""
        ...

    async def sweep(self) -> int:
        """Drop input that never became an operation; how many pieces."""
        ...


class Cancelled(Exception):
    """The owner does not want the operation any more."""


class LeaseLost(Exception):
    """Somebody else has the operation, or it has ended."""


def owner_name() -> str:
    """How this process signs its leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


class Run:
    """A claimed operation while it is worked on: an asynchronous context manager.

    Renews the lease in the background. Call ``step`` between units of work.
    """

    def __init__(self, operations: Operations, claimed: Claimed, owner: str) -> None:
        self._operations = operations
        self._claimed = claimed
        self._owner = owner
        self._progress = 0.0
        self._detail: str | None = None
        self._expected: float | None = None
        self._began = time.monotonic()
        self._reported = -REPORT_EVERY
        self._held: Held = "held"
        self._beat: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._beat = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._beat is not None:
            self._beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beat

    @property
    def paused(self) -> bool:
        """Whether it is wanted to wait, as last heard."""
        return self._held == "paused"

    async def step(
        self, progress: float, detail: str, *, last: bool = False, eta_seconds: float | None = None
    ) -> None:
        """Say how far it is; written at most twice a second, the last step in any case.

        ``eta_seconds`` is for who knows better than progress tells.

        Raises:
            Cancelled: it is not wanted any more.
            LeaseLost: it is not ours any more.
        """
        self._progress, self._detail = min(progress, 1.0), detail
        self._expected = eta_seconds
        if last or time.monotonic() - self._reported >= REPORT_EVERY:
            await self._report()
        if self._held == "cancelled":
            raise Cancelled
        if self._held == "lost":
            raise LeaseLost

    def _eta(self) -> int | None:
        if self._expected is not None:
            return round(self._expected)
        if self._progress <= 0:
            return None
        elapsed = time.monotonic() - self._began
        return round(elapsed * (1 - self._progress) / self._progress)

    async def _report(self) -> None:
        self._reported = time.monotonic()
        self._held = await self._operations.report(
            self._claimed.id,
            self._owner,
            LEASE,
            progress=self._progress,
            eta_seconds=self._eta(),
            detail=self._detail,
        )

    async def _keep(self) -> None:
        while self._held in ("held", "paused"):
            await asyncio.sleep(HEARTBEAT)
            if time.monotonic() - self._reported < HEARTBEAT:
                continue  # a step was faster
            try:
                await self._report()
            except Exception as error:  # noqa: BLE001  whatever it was, the next beat tries again
                log.warning("heartbeat_failed", reason=type(error).__name__)
