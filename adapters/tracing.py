"""Traces by OpenTelemetry: from a request through command and append to all that comes of it.

A trace is found by its correlation id alone: trace and root span have ids that follow from it, so
that a projector or a worker, on whatever machine, adds its spans to the trace of the request that
caused them, and nothing has to be carried there. Whether a trace is kept follows from its id as
well, so that all processes agree.

Owns the spans. It is imported only where tracing is on, and stands around the parts that it tells
of: where it is off they are as if there were none. No span holds what people wrote, nor who they
are; of an error it has the type.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import (
    Awaitable,
    Callable,
    Container,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

import msgspec
import psycopg
import structlog
from opentelemetry import context as current
from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import StatusCode

from adapters.event_store.store import PostgresEventStore
from adapters.http.context import new_request_id
from adapters.operations import PostgresOperations
from commands.bus import Bus, Outcome
from commands.ports import Append, Committed, Context
from domain.errors import DomainError
from domain.event import Recorded
from domain.operation import Claimed, Failure
from domain.reaction import Effect

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
ASGI = Callable[[Scope, Any, Any], Awaitable[None]]
View = tuple[str, Container[str], int]
"""A projection in a batch: its name, the topics that it takes, and how many events it folded."""

NAME = "mindstream"
UNTRACED = frozenset(
    {"/health/live", "/health/ready", "/metrics", "/v1/stream", "/v1/ops/console/stream"}
)
"""Paths that are asked all the time, or whose answer lasts for hours."""
EACH = 32
"""Events of a batch that get spans of their own; a larger batch catches up, and gets one."""
BACKLOG = 1000
"""Batches that wait for their spans; more than that are told by none."""

_TRACED = """
SELECT position, topic, correlation_id FROM events
WHERE position > %s AND position <= %s ORDER BY position LIMIT %s
"""
_given: ContextVar[tuple[int, int] | None] = ContextVar("given", default=None)


def ids_of(correlation_id: str) -> tuple[int, int]:
    """The ids of the trace and of its root span."""
    digest = sha256(correlation_id.encode()).digest()
    return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:24], "big") or 1


class _Ids(RandomIdGenerator):
    """Random, but for a root span whose correlation id is known."""

    def generate_trace_id(self) -> int:
        given = _given.get()
        return super().generate_trace_id() if given is None else given[0]

    def generate_span_id(self) -> int:
        given = _given.get()
        return super().generate_span_id() if given is None else given[1]


def provider_of(
    processor: SpanProcessor, *, role: str, process: str, version: str, ratio: float = 1.0
) -> TracerProvider:
    """What makes spans of one process and hands them to ``processor``."""
    provider = TracerProvider(
        sampler=TraceIdRatioBased(ratio),
        id_generator=_Ids(),
        resource=Resource.create(
            {
                "service.namespace": NAME,
                "service.name": f"{NAME}-{role}",
                "service.instance.id": process,
                "service.version": version,
            }
        ),
    )
    provider.add_span_processor(processor)
    return provider


def _tracer() -> trace.Tracer:
    return trace.get_tracer(NAME)


def beneath(correlation_id: str) -> current.Context:
    """The context of whatever that correlation id caused."""
    trace_id, span_id = ids_of(correlation_id)
    root = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(1))
    return trace.set_span_in_context(NonRecordingSpan(root), current.Context())


def names_of_now() -> Mapping[str, str]:
    """What a line of the log says of the present span."""
    now = trace.get_current_span().get_span_context()
    if not now.is_valid:
        return {}
    return {"trace_id": f"{now.trace_id:032x}", "span_id": f"{now.span_id:016x}"}


@contextmanager
def _span(name: str, attributes: Mapping[str, Any]) -> Iterator[Span]:
    """A span beneath the present one; a refusal is no error, and of an error only its type told."""
    with _tracer().start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            if not isinstance(error, DomainError):
                span.set_status(StatusCode.ERROR)
            raise


class TracedApp:
    """An ASGI application whose requests are the roots of traces."""

    def __init__(self, app: ASGI) -> None:
        self._app = app

    def __getattr__(self, name: str) -> Any:
        """Whatever else the application has."""
        return getattr(self._app, name)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = new_request_id(headers.get(b"x-request-id"))
        # The application finds the same id: it takes a sane one that it is given.
        headers[b"x-request-id"] = request_id.encode()
        scope["headers"] = [
            *((name, value) for name, value in scope["headers"] if name != b"x-request-id"),
            (b"x-request-id", headers[b"x-request-id"]),
        ]
        given = _given.set(ids_of(request_id))
        try:
            span = _tracer().start_span(
                scope["method"],
                context=current.Context(),
                kind=SpanKind.SERVER,
                links=_caller(headers),
                attributes={
                    "http.request.method": scope["method"],
                    "mindstream.correlation_id": request_id,
                },
            )
        finally:
            _given.reset(given)

        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(StatusCode.ERROR)
            await send(message)

        with trace.use_span(span, True, record_exception=False, set_status_on_exception=False):
            try:
                await self._app(scope, receive, told)
            finally:
                route = scope.get("path_template")
                if route:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)


def _caller(headers: Mapping[bytes, bytes]) -> list[Link]:
    """The client's own span: linked to, since a stranger does not decide what we keep."""
    carried = headers.get(b"traceparent")
    if carried is None:
        return []
    found = extract({"traceparent": carried.decode("latin-1")}, current.Context())
    span = trace.get_current_span(found).get_span_context()
    return [Link(span)] if span.is_valid else []


class TracedBus(Bus):
    """A bus that tells of each command."""

    async def dispatch(self, command: object, context: Context) -> Outcome[Any]:
        """Run the command's handler."""
        attributes = {"mindstream.correlation_id": context.correlation_id}
        with _span(f"command {type(command).__name__}", attributes) as span:
            outcome = await super().dispatch(command, context)
            span.set_attribute("mindstream.position", outcome.position)
            return outcome


class TracedEventStore(PostgresEventStore):
    """An event store that tells of each append, and whose events have the trace's id."""

    async def append(self, context: Context, *appends: Append, **options: Any) -> Committed:
        """Append all or nothing."""
        topics = sorted({event.TOPIC for one in appends for event in one.events})
        with _span("append", {"mindstream.topics": topics}) as span:
            if context.trace_id is None:
                traced = f"{span.get_span_context().trace_id:032x}"
                context = msgspec.structs.replace(context, trace_id=traced)
            committed = await super().append(context, *appends, **options)
            span.set_attribute("mindstream.position", committed.position)
            return committed


class TracedOperations(PostgresOperations):
    """Operations that tell of each piece of work on them, by whoever claimed it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._spans: dict[UUID, Span] = {}

    async def claim(self, operation_id: UUID, owner: str, lease: float) -> Claimed | None:
        """Take it if it is open and nobody else has it; what the task does from here on is it."""
        claimed = await super().claim(operation_id, owner, lease)
        if claimed is not None:
            self._end(operation_id, "lost")
            span = self._spans[operation_id] = _tracer().start_span(
                f"job {claimed.kind}",
                context=beneath(claimed.correlation_id),
                kind=SpanKind.CONSUMER,
                attributes={
                    "mindstream.operation_id": str(operation_id),
                    "mindstream.correlation_id": claimed.correlation_id,
                    "mindstream.attempts": claimed.attempts,
                },
            )
            current.attach(trace.set_span_in_context(span))
        return claimed

    async def finish(
        self,
        operation_id: UUID,
        owner: str,
        state: Any,
        *,
        result: Any = None,
        error: Failure | None = None,
    ) -> bool:
        """End it."""
        ours = await super().finish(operation_id, owner, state, result=result, error=error)
        self._end(operation_id, state if ours else "lost", None if error is None else error.code)
        return ours

    async def release(
        self, operation_id: UUID, owner: str, pause: float, *, failed: bool = True
    ) -> None:
        """Give it back."""
        await super().release(operation_id, owner, pause, failed=failed)
        self._end(operation_id, "released")

    def _end(self, operation_id: UUID, outcome: str, code: str | None = None) -> None:
        span = self._spans.pop(operation_id, None)
        if span is None:
            return
        span.set_attribute("mindstream.outcome", outcome)
        if outcome == "failed":
            span.set_status(StatusCode.ERROR)
            if code is not None:
                span.set_attribute("error.type", code)
        span.end()


class Reacting(Protocol):
    """A reaction: ``workers.reactions.Reaction``."""

    @property
    def name(self) -> str:
        """Its permanent name."""
        ...

    async def react(self, recorded: Recorded, key: UUID) -> Effect | None:
        """Do it."""
        ...


def tell_of(reactions: Iterable[Reacting]) -> None:
    """Have these reactions tell of each event that they are given."""
    for reaction in reactions:
        # Over the instance's own method: what it is besides stays as it is.
        object.__setattr__(reaction, "react", _told(reaction.name, reaction.react))


def _told(
    name: str, react: Callable[[Recorded, UUID], Awaitable[Effect | None]]
) -> Callable[[Recorded, UUID], Awaitable[Effect | None]]:
    async def traced(recorded: Recorded, key: UUID) -> Effect | None:
        assert recorded.metadata is not None, "reactions read events with their metadata"
        around = current.attach(beneath(recorded.metadata.correlation_id))
        try:
            with _span(f"reaction {name}", {"mindstream.position": recorded.position}) as span:
                effect = await react(recorded, key)
                span.set_attribute(
                    "mindstream.outcome", "nothing" if effect is None else effect.did
                )
                return effect
        finally:
            current.detach(around)

    return traced


class TracedProjections:
    """Tells of batches of projections, on a thread of its own: ``told`` waits for nothing."""

    def __init__(self, dsn: str, role: str) -> None:
        self._dsn = dsn
        self._role = role
        self._waiting: queue.Queue[tuple[Sequence[View], int, int, int, int] | None]
        self._waiting = queue.Queue(BACKLOG)
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def told(self, views: Sequence[View], after: int, to: int, seconds: float) -> None:
        """Note a batch that has just committed; ``seconds`` is how long it took."""
        folded = [view for view in views if view[2]]
        if folded:
            now = time.time_ns()
            try:
                self._waiting.put_nowait((folded, after, to, now - int(seconds * 1e9), now))
            except queue.Full:
                return

    def close(self) -> None:
        """Tell what waits, and end."""
        self._waiting.put(None)
        self._thread.join(5.0)

    def _work(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while (batch := self._waiting.get()) is not None:
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                self._tell(connection, *batch)
            except psycopg.Error as error:
                log.warning("batch_not_traced", reason=type(error).__name__)
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=5,
            options=f"-c role={self._role}",
            application_name="mindstream-traces",
        )

    def _tell(
        self,
        connection: psycopg.Connection[Any],
        views: Sequence[View],
        after: int,
        to: int,
        began: int,
        ended: int,
    ) -> None:
        events = connection.execute(_TRACED, (after, to, EACH + 1)).fetchall()
        for name, topics, count in views:
            if len(events) > EACH:
                self._batch(f"projection {name}", None, began, ended, after + 1, to, count)
                continue
            for position, topic, correlation_id in events:
                if topic in topics:
                    around = beneath(correlation_id)
                    self._batch(f"projection {name}", around, began, ended, position, to, count)

    def _batch(
        self,
        name: str,
        around: current.Context | None,
        began: int,
        ended: int,
        position: int,
        to: int,
        count: int,
    ) -> None:
        span = _tracer().start_span(
            name,
            context=around or current.Context(),
            kind=SpanKind.CONSUMER,
            start_time=began,
            attributes={
                "mindstream.position": position,
                "mindstream.batch.to": to,
                "mindstream.batch.events": count,
            },
        )
        span.end(ended)
