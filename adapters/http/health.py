"""Health: whether the process lives, and whether what it needs does.

Owns the two handlers and the shape of their answers, which stand bare, without the envelope.
``bootstrap/wiring/`` says what is checked by implementing ``Readiness``.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler

from adapters.http.operation import OPT, Operation
from adapters.http.responses import Answer, bare

CheckStatus = Literal["ok", "degraded", "unavailable"]
Status = Literal["ready", "degraded", "unavailable"]

_TIMEOUT = 5.0


class Check(msgspec.Struct, frozen=True):
    """One dependency; ``degraded`` is one that can be done without, and is."""

    status: CheckStatus
    detail: str
    latency_ms: float | None


class ProjectionHealth(msgspec.Struct, frozen=True):
    """How far a projection is behind, in events and in seconds."""

    name: str
    gap_events: int
    gap_seconds: float
    status: str


class Health(msgspec.Struct, frozen=True):
    """The whole answer of ``/health/ready``."""

    status: Status
    checks: dict[str, Check]
    projections: list[ProjectionHealth]


class Alive(msgspec.Struct, frozen=True):
    """The whole answer of ``/health/live``."""

    status: Literal["live"]


class Readiness(Protocol):
    """Looks at everything that the process needs."""

    async def checks(self) -> dict[str, Check]:
        """Each dependency by name; those that answer nothing are reported, not raised."""
        ...

    async def projections(self) -> list[ProjectionHealth]:
        """Each projection that the process reads, or none."""
        ...


async def health_of(readiness: Readiness) -> Health:
    """Everything at once; a check that hangs or fails is itself unavailable."""
    checks, projections = await asyncio.gather(
        _within(readiness.checks()), _within(readiness.projections())
    )
    found: dict[str, Check] = checks if isinstance(checks, dict) else {"checks": _failed(checks)}
    listed = projections
    if not isinstance(listed, list):
        found = {**found, "projections": _failed(listed)}
        listed = []
    states = {check.status for check in found.values()}
    status: Status = "ready"
    if "unavailable" in states:
        status = "unavailable"
    elif "degraded" in states:
        status = "degraded"
    return Health(status, found, listed)


async def _within(what: object) -> object:
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await what  # type: ignore[misc]  # either of two awaitables
    except Exception as error:  # noqa: BLE001  whatever it is, it is not ready
        return error


def _failed(error: object) -> Check:
    return Check("unavailable", type(error).__name__, None)


def health_handlers(readiness: Readiness) -> list[HTTPRouteHandler]:
    """``GET /health/live`` and ``GET /health/ready``."""

    @get(
        "/health/live",
        opt={
            OPT: Operation(
                summary="Whether the process lives",
                tags=("Meta",),
                response=Alive,
                enveloped=False,
                operation_id="live",
            )
        },
    )
    async def live() -> Answer:
        return bare(b'{"status":"live"}')

    @get(
        "/health/ready",
        opt={
            OPT: Operation(
                summary="Whether everything that is needed answers",
                description="Degraded (search, cache or time series are gone) is still 200.",
                tags=("Meta",),
                response=Health,
                enveloped=False,
                statuses=(200, 503),
                operation_id="ready",
            )
        },
    )
    async def ready() -> Answer:
        health = await health_of(readiness)
        if health.status == "unavailable":
            return bare(msgspec.json.encode(health), status=503, retry_after="2")
        return bare(msgspec.json.encode(health))

    return [live, ready]
