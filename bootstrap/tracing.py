"""Whether this process traces, and the parts that it then has instead of the plain ones.

Owns the choice. OpenTelemetry is imported only where it is on; off, everything is composed as if
there were none. Every role imports this module, and what a role lacks is not imported here.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bootstrap import logs
from bootstrap.settings import Settings

if TYPE_CHECKING:
    from adapters.event_store.store import PostgresEventStore
    from adapters.operations import PostgresOperations
    from adapters.tracing import TracedProjections
    from commands.bus import Bus
    from workers.reactions import Reaction

PATIENCE = 3.0
"""Seconds that the collector has for a batch of spans."""


def prepare(settings: Settings) -> None:
    """Before anything else is imported: where it is off, other libraries find no OpenTelemetry.

    Those of Redis and of Elasticsearch load the whole of it if it is there, used or not.
    """
    if settings.otlp_endpoint is None:
        sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]  # as documented


def begin(settings: Settings, role: str, process: str) -> None:
    """Send spans to the collector that the settings name, if they name one."""
    if settings.otlp_endpoint is None:
        return
    from opentelemetry import trace  # noqa: PLC0415 - it takes 0.3 s to import
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    from adapters.tracing import names_of_now, provider_of  # noqa: PLC0415

    exporter = OTLPSpanExporter(f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=PATIENCE)
    provider = provider_of(
        BatchSpanProcessor(exporter, schedule_delay_millis=1000),
        role=role,
        process=process,
        version=importlib.metadata.version("mindstream"),
        ratio=settings.otlp_ratio,
    )
    trace.set_tracer_provider(provider)
    logs.tell_beside(names_of_now)


def event_store(settings: Settings) -> type[PostgresEventStore]:
    """What commands append to."""
    if settings.otlp_endpoint is None:
        from adapters.event_store.store import PostgresEventStore  # noqa: PLC0415

        return PostgresEventStore
    from adapters.tracing import TracedEventStore  # noqa: PLC0415

    return TracedEventStore


def bus(settings: Settings) -> type[Bus]:
    """What gives commands to their handlers."""
    if settings.otlp_endpoint is None:
        from commands.bus import Bus  # noqa: PLC0415

        return Bus
    from adapters.tracing import TracedBus  # noqa: PLC0415

    return TracedBus


def operations(settings: Settings) -> type[PostgresOperations]:
    """What jobs are claimed from."""
    if settings.otlp_endpoint is None:
        from adapters.operations import PostgresOperations  # noqa: PLC0415

        return PostgresOperations
    from adapters.tracing import TracedOperations  # noqa: PLC0415

    return TracedOperations


def application(settings: Settings, app: Any) -> Any:
    """An API as it is served."""
    if settings.otlp_endpoint is None:
        return app
    from adapters.tracing import TracedApp  # noqa: PLC0415

    return TracedApp(app)


def tell_of(settings: Settings, reactions: Sequence[Reaction]) -> Sequence[Reaction]:
    """The reactions, which tell of what they do."""
    if settings.otlp_endpoint is not None:
        from adapters import tracing  # noqa: PLC0415

        tracing.tell_of(reactions)
    return reactions


def projections(settings: Settings, dsn: str, role: str) -> TracedProjections | None:
    """What runners tell of their batches, to be closed in the end; None: nobody."""
    if settings.otlp_endpoint is None:
        return None
    from adapters.tracing import TracedProjections  # noqa: PLC0415

    return TracedProjections(dsn, role)
