"""One trace from a request to the projections and jobs that it causes, found by its request id."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters import tracing
from adapters.tracing import TracedApp, TracedProjections, ids_of
from bootstrap import logs
from domain.event import Metadata, Recorded
from domain.reaction import Effect
from projections.engine.runner import Runner
from tests.support import journal_stack
from tests.support.journal_stack import Stack, running_stack
from tests.support.servers import Database
from tests.support.waiting import eventually, eventually_async
from workers.journal import import_journal

pytestmark = pytest.mark.anyio
STRANGER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def spans() -> Iterator[InMemorySpanExporter]:
    """Where the spans of this process go: there is one provider for its whole life."""
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider = tracing.provider_of(processor, role="test", process="test-1", version="1")
    trace.set_tracer_provider(provider)
    yield exporter
    processor.shutdown()


@pytest.fixture
async def stack(
    empty_database: Database, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stack]:
    spans.clear()
    traced = TracedProjections(empty_database.project_dsn, "mindstream_project")
    monkeypatch.setattr(journal_stack, "PostgresEventStore", tracing.TracedEventStore)
    monkeypatch.setattr(journal_stack, "Bus", tracing.TracedBus)
    monkeypatch.setattr(journal_stack, "PostgresOperations", tracing.TracedOperations)
    monkeypatch.setattr(journal_stack, "Runner", functools.partial(Runner, tell=traced.told))
    async with running_stack(empty_database) as running:
        running.app = TracedApp(running.app)
        yield running
    traced.close()


def of(spans: InMemorySpanExporter, request_id: str) -> dict[str, ReadableSpan]:
    """The spans of a request's trace by their names."""
    trace_id, _ = ids_of(request_id)
    found = [span for span in spans.get_finished_spans() if _id(span)[0] == trace_id]
    return {span.name: span for span in found}


def _id(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


ENTRY = {"date": "2024-05-01", "title": "A secret", "content": "Nobody else may read this."}


async def test_a_request_its_command_append_and_projections_are_one_trace(
    stack: Stack, spans: InMemorySpanExporter, empty_database: Database
) -> None:
    asked = {"x-request-id": "req_traced", "traceparent": STRANGER}
    async with stack.client() as client:
        answer = await client.post("/v1/journal/entries", json=ENTRY, headers=asked)
    assert answer.status_code == 201
    assert answer.headers["x-request-id"] == "req_traced"
    eventually(lambda: "projection journal.entries" in of(spans, "req_traced"))

    found = of(spans, "req_traced")
    trace_id, root_id = ids_of("req_traced")
    root = found["POST /v1/journal/entries"]
    command, append = found["command WriteEntry"], found["append"]
    projection = found["projection journal.entries"]
    assert _id(root) == (trace_id, root_id)
    assert root.parent is None
    # The client's own trace is linked to, and does not become ours.
    assert [f"{link.context.trace_id:032x}" for link in root.links] == [STRANGER[3:35]]
    assert parent(command) == root_id
    assert parent(append) == _id(command)[1]
    assert parent(projection) == root_id
    attributes = {name: dict(span.attributes or {}) for name, span in found.items()}
    assert attributes[root.name]["http.response.status_code"] == 201
    assert attributes[root.name]["mindstream.correlation_id"] == "req_traced"
    assert attributes["append"]["mindstream.topics"] == ("journal.EntryWritten.v1",)
    position = attributes["append"]["mindstream.position"]
    assert attributes[projection.name]["mindstream.position"] == position
    told = msgspec.json.encode([span.to_json() for span in found.values()]).decode()
    assert "secret" not in told
    assert "Nobody else" not in told
    # And the events say whose trace they are of.
    with psycopg.connect(empty_database.owner_dsn) as connection:
        rows = connection.execute("SELECT trace_id FROM events").fetchall()
    assert rows == [(f"{trace_id:032x}",)]


async def test_a_job_is_in_the_trace_of_who_asked_for_it(
    stack: Stack, spans: InMemorySpanExporter
) -> None:
    lines = msgspec.json.encode(ENTRY) + b"\n"
    headers = {"content-type": "application/x-ndjson", "x-request-id": "req_import"}
    async with stack.client() as client:
        answer = await client.post("/v1/journal/import", content=lines, headers=headers)
    assert answer.status_code == 202
    [operation] = stack.offered.ids

    await import_journal(operation, stack.importing)

    async def told() -> bool:
        return "projection journal.entries" in of(spans, "req_import")

    await eventually_async(told)
    found = of(spans, "req_import")
    job = found["job journal.import"]
    assert parent(job) == ids_of("req_import")[1]
    assert dict(job.attributes or {})["mindstream.outcome"] == "succeeded"
    below = [span for name, span in found.items() if name.startswith("command ")]
    assert [parent(span) for span in below] == [_id(job)[1]]


async def test_a_refusal_is_no_error_and_names_no_value(
    stack: Stack, spans: InMemorySpanExporter
) -> None:
    async with stack.client() as client:
        await client.post("/v1/journal/entries", json=ENTRY)
        again = {"x-request-id": "req_again"}
        refused = await client.post("/v1/journal/entries", json=ENTRY, headers=again)
    assert refused.status_code == 409

    found = of(spans, "req_again")
    assert dict(found["command WriteEntry"].attributes or {})["error.type"]
    assert not any(span.events for span in found.values())
    assert found["POST /v1/journal/entries"].status.is_ok is True or (
        found["POST /v1/journal/entries"].status.status_code.name == "UNSET"
    )


async def test_health_is_not_traced_and_a_strange_request_id_is_replaced(
    stack: Stack, spans: InMemorySpanExporter
) -> None:
    async with stack.client() as client:
        await client.get("/health/live")
        assert spans.get_finished_spans() == ()
        answer = await client.get("/v1/journal/tags", headers={"x-request-id": "not a sane one\t"})
    given = answer.headers["x-request-id"]
    assert given.startswith("req_")
    assert "GET /v1/journal/tags" in of(spans, given)


class Writing:
    name = "test.letters"

    async def react(self, recorded: Recorded, key: UUID) -> Effect | None:
        if recorded.position == 2:
            raise ValueError("who it was about")
        return Effect(did="wrote", id=str(key)) if recorded.position else None


async def test_a_reaction_is_in_the_trace_of_what_it_reacts_to(
    spans: InMemorySpanExporter,
) -> None:
    spans.clear()
    letters = Writing()
    tracing.tell_of([letters])
    about = Metadata(event_id=uuid4(), correlation_id="req_react", causation_id=None, actor="a")
    for position in (0, 1, 2):
        event = cast("Recorded", SimpleNamespace(position=position, metadata=about))
        with contextlib.suppress(ValueError):
            await letters.react(event, uuid4())

    trace_id, root_id = ids_of("req_react")
    told = spans.get_finished_spans()
    assert [(_id(span)[0], parent(span)) for span in told] == [(trace_id, root_id)] * 3
    outcomes = [dict(span.attributes or {}).get("mindstream.outcome") for span in told]
    assert outcomes == ["nothing", "wrote", None]
    assert "who it was about" not in told[2].to_json()
    assert trace.get_current_span().get_span_context().is_valid is False


def test_a_large_batch_gets_one_span_and_not_thousands(
    empty_database: Database, spans: InMemorySpanExporter
) -> None:
    spans.clear()
    with psycopg.connect(empty_database.owner_dsn) as connection:
        connection.execute(
            """
            INSERT INTO events (position, stream_id, stream_version, topic, event_id, data,
                                tenant_id, correlation_id, actor, recorded_at)
            SELECT n, 'stream', n, 'a.B.v1', gen_random_uuid(), '', gen_random_uuid(), 'c', 'a',
                   now()
            FROM generate_series(1, 40) AS n
            """
        )
    traced = TracedProjections(empty_database.project_dsn, "mindstream_project")
    traced.told([("large", {"a.B.v1"}, 40), ("none", {"a.C.v1"}, 0)], 0, 40, 0.5)
    traced.told([("small", {"a.B.v1"}, 2)], 38, 40, 0.5)
    traced.close()

    names = [span.name for span in spans.get_finished_spans()]
    assert names == ["projection large", "projection small", "projection small"]


def test_a_line_of_the_log_names_its_trace(
    spans: InMemorySpanExporter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tracing.names_of_now() == {}
    with trace.get_tracer("test").start_as_current_span("line") as span:
        told = tracing.names_of_now()
    context = span.get_span_context()
    assert told == {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    logs.tell_beside(lambda: told)
    try:
        line = logs._Shape("worker-1")(None, "", {"event": "done", "level": "info"})
    finally:
        logs._beside.clear()
    assert (line["trace_id"], line["span_id"]) == (told["trace_id"], told["span_id"])


class Collector(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    received: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        self.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


PROCESS = """
import sys
from opentelemetry import trace
from bootstrap import tracing
from bootstrap.settings import load
assert tracing.application(load({}), tracing) is tracing
tracing.begin(load({"MINDSTREAM_OTLP_ENDPOINT": sys.argv[1]}), "worker", "worker-2")
trace.get_tracer("mindstream").start_span("done").end()
"""


def ran(endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "process.py").write_text(PROCESS)
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, str(tmp_path / "process.py"), endpoint],
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=30,
        capture_output=True,
    )


def test_a_process_sends_its_spans_to_the_collector(tmp_path: Path) -> None:
    received: list[ExportTraceServiceRequest] = []
    handler = type("Keeping", (Collector,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ran(f"http://127.0.0.1:{server.server_port}/", tmp_path)
        server.shutdown()

    [sent] = received
    [spans] = sent.resource_spans
    resource = {one.key: one.value.string_value for one in spans.resource.attributes}
    assert resource["service.name"] == "mindstream-worker"
    assert resource["service.instance.id"] == "worker-2"
    assert [span.name for one in spans.scope_spans for span in one.spans] == ["done"]


def test_a_process_ends_though_nobody_collects(tmp_path: Path) -> None:
    ran("http://127.0.0.1:9", tmp_path)


def test_nothing_of_it_is_loaded_where_it_is_off() -> None:
    look = (
        "import sys, bootstrap.roles, bootstrap.tracing as t; from bootstrap.settings import load;"
        "s = load({}); t.prepare(s); t.begin(s, 'worker', 'w');"
        "t.bus(s); t.operations(s); t.event_store(s);"
        "t.projections(s, '', ''); import bootstrap.wiring.writing, bootstrap.wiring.background;"
        "sys.exit(any(name.startswith('opentelemetry.') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
