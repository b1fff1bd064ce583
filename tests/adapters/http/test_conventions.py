from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Request, get, post, put
from litestar.params import FromPath
from litestar.response import Stream
from prometheus_client import CollectorRegistry, generate_latest

from adapters.http.access_log import AccessLog
from adapters.http.context import context_of, identify, principal_of, require
from adapters.http.limits import RateLimiter
from adapters.http.metrics import HttpMetrics
from adapters.http.problems import Problem
from adapters.http.responses import Answer, bare, no_content, ok, page, unchanged
from adapters.http.routes import Routes
from adapters.http.validation import decode_body
from domain.errors import Forbidden, NotFound, Stale
from domain.faults import Fault, Invalid
from tests.support.http_app import ANNA, TOKEN, client, conventions

pytestmark = pytest.mark.anyio

AnyRequest = Request[Any, Any, Any]


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


class Boom(Exception):
    pass


@get("/v1/notes/{note_id:uuid}")
async def read_note(request: AnyRequest) -> Answer:
    principal_of(request)
    if request.headers.get("if-none-match") == '"3"':
        return unchanged(request, etag=3, token=7)
    return ok(request, {"text": "hi"}, message="A note", etag=3, token=7)


@get("/v1/notes")
async def list_notes(request: AnyRequest) -> Answer:
    return ok(request, [], message="Notes", meta={"next_cursor": None, "limit": 20})


@post("/v1/notes")
async def write_note(request: AnyRequest) -> Answer:
    note = decode_body(await request.body(), request.headers.get("content-type"), Note)
    return ok(request, note, status=201, location="/v1/notes/1", etag=1, token=8)


@post("/v1/journal/import")
async def take_much(request: AnyRequest) -> Answer:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return ok(request, size)


@put("/v1/raise/{what:str}")
async def fail(what: FromPath[str]) -> Answer:
    errors: dict[str, Exception] = {
        "boom": Boom("password=hunter2"),
        "runtime": RuntimeError("wrong wiring"),
        "problem": Problem("CONFLICT", "No.", extra={"entry_id": "1"}, headers={"x-why": "so"}),
        "invalid": Invalid(Fault("a.0", "too_long", "Too long."), Fault("b", "required", "B.")),
        "notfound": NotFound("entry"),
        "forbidden": Forbidden("no"),
        "stale": Stale(1, 2),
    }
    raise errors[what]


@get("/v1/stream")
async def stream_then_fail() -> Stream:
    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        raise Boom("late")

    return Stream(parts())


@get("/v1/ops/things")
async def operators_only(request: AnyRequest) -> Answer:
    require(request, "ops:read")
    return no_content(request)


@post("/v1/auth/login")
async def log_in(request: AnyRequest) -> Answer:
    return ok(request, {"principal": context_of(request).principal})


@post("/v1/auth/logout")
async def log_out(request: AnyRequest) -> Answer:
    return ok(request, (await identify(request)).user_id)


@post("/v1/auth/totp")
async def totp(request: AnyRequest) -> Answer:
    return ok(request, None)


@post("/v1/auth/address")
async def address(request: AnyRequest) -> Answer:
    return ok(request, context_of(request).client_address)


@get("/health/live")
async def live() -> Answer:
    return bare(b'{"status":"live"}')


@get("/about")
async def about() -> Answer:
    return page("<p>hello</p>", csp="default-src 'none'; frame-ancestors 'none'")


HANDLERS = [
    *(read_note, list_notes, write_note, take_much, fail, stream_then_fail, operators_only),
    *(log_in, log_out, totp, address, live, about),
]
NOTE = "/v1/notes/018f2f2e-7c1e-7000-8000-000000000000"


@pytest.fixture
async def api() -> AsyncIterator[httpx.AsyncClient]:
    async with client(conventions(HANDLERS)) as made:
        yield made


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error, after what holds for every one has been checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["type"] == "/problems/" + code.lower().replace("_", "-")
    assert body["success"] is False
    assert body["message"]
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == answer.request.url.path.rstrip("/")
    assert body["requestId"] == answer.headers["x-request-id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", body["timestamp"])
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return body


async def test_a_success_stands_in_the_envelope(api: httpx.AsyncClient) -> None:
    answer = await api.get(NOTE, headers=TOKEN)
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["success", "data", "message", "timestamp", "requestId"]
    assert body["success"] is True
    assert body["data"] == {"text": "hi"}
    assert body["timestamp"].endswith("Z")
    assert re.fullmatch("req_[0-9a-f]{32}", body["requestId"])
    assert answer.headers["x-request-id"] == body["requestId"]
    assert answer.headers["etag"] == '"3"'
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/json"
    assert "consistency-token" in answer.headers


async def test_a_list_adds_meta(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/notes", headers=TOKEN)
    assert list(answer.json())[-1] == "meta"
    assert answer.json()["meta"] == {"next_cursor": None, "limit": 20}
    assert answer.headers["cache-control"] == "no-store"


async def test_what_has_not_changed_is_304_without_a_body(api: httpx.AsyncClient) -> None:
    answer = await api.get(NOTE, headers={**TOKEN, "if-none-match": '"3"'})
    assert answer.status_code == 304
    assert answer.content == b""
    assert "content-type" not in answer.headers
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["etag"] == '"3"'


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("my-id.12:ab_c", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("1", True),
        ("aGk+/w==", True),
        ("has space in it", False),
        ("<script>alert", False),
    ],
)
async def test_a_sane_request_id_is_kept(api: httpx.AsyncClient, sent: str, taken: bool) -> None:
    answer = await api.get(NOTE, headers={**TOKEN, "x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is taken
    assert answer.json()["requestId"] == answer.headers["x-request-id"]


async def test_a_write_is_not_stored_by_caches(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/notes", headers=TOKEN, json={"text": "a"})
    assert answer.status_code == 201
    assert answer.headers["location"] == "/v1/notes/1"
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", NOTE),
        ("GET", "/v1/no/such/path"),
        ("DELETE", "/v1/notes"),
        ("GET", "/v1"),
        ("GET", "/v1/"),
        ("POST", "/v1/auth/totp"),
        ("POST", "/v1/auth/totp/"),
        ("POST", "/v1/auth/totp/confirm"),
        ("POST", "//v1///notes"),
        ("OPTIONS", "/v1/notes"),
    ],
)
async def test_401_comes_first_inside_v1(method: str, path: str) -> None:
    app = conventions(HANDLERS)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    for headers in ([], [(b"authorization", b"Bearer wrong")], [(b"x-api-key", b"wrong")]):
        sent.clear()
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": headers,
            "client": ("192.0.2.1", 1),
        }
        await app(scope, receive, send)
        assert sent[0]["status"] == 401
        assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]
        assert json.loads(sent[1]["body"])["code"] == "UNAUTHENTICATED"


async def test_a_token_that_is_not_cached_is_looked_up(api: httpx.AsyncClient) -> None:
    answer = await api.get(NOTE, headers={"authorization": "Bearer slow"})
    assert answer.status_code == 200


async def test_open_paths_need_nothing_and_ignore_what_comes(api: httpx.AsyncClient) -> None:
    for headers in ({}, TOKEN, {"authorization": "Bearer wrong"}):
        answer = await api.post("/v1/auth/login", headers=headers)
        assert answer.status_code == 200
        assert answer.json()["data"] == {"principal": None}
    problem(await api.post("/v1/auth/none"), 404, "NOT_FOUND")


async def test_dots_in_a_path_lead_nowhere(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/auth/%2E%2E/notes")
    problem(answer, 404, "NOT_FOUND")


async def test_an_open_call_can_ask_for_the_bearer(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/auth/logout", headers=TOKEN)
    assert answer.json()["data"] == str(ANNA.user_id)
    answer = await api.post("/v1/auth/logout")
    problem(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_missing_permission_is_403(api: httpx.AsyncClient) -> None:
    problem(await api.get("/v1/ops/things", headers=TOKEN), 403, "FORBIDDEN")


async def test_unknown_paths_and_methods_are_problems(api: httpx.AsyncClient) -> None:
    problem(await api.get("/v1/nothing", headers=TOKEN), 404, "NOT_FOUND")
    problem(await api.get("/nothing"), 404, "NOT_FOUND")
    problem(await api.get("/v1/notes/not-a-uuid", headers=TOKEN), 404, "NOT_FOUND")
    answer = await api.delete("/v1/notes", headers=TOKEN)
    problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST"}
    problem(await api.request("BREW", "/v1/notes", headers=TOKEN), 405, "METHOD_NOT_ALLOWED")


async def test_methods_of_the_other_api_are_known() -> None:
    async with client(conventions([list_notes], routes=Routes(HANDLERS))) as api:
        answer = await api.put("/v1/notes", headers=TOKEN)
        problem(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
        answer = await api.get("/v1/auth/login")
        problem(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "OPTIONS, POST"
        answer = await api.options("/v1/notes", headers=TOKEN)
        assert answer.status_code == 204
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
        problem(await api.options("/v1/zip", headers=TOKEN), 404, "NOT_FOUND")
        problem(await api.get("/v1/zip", headers=TOKEN), 404, "NOT_FOUND")


async def test_head_is_get_without_its_body(api: httpx.AsyncClient) -> None:
    got = await api.get(NOTE, headers=TOKEN)
    head = await api.head(NOTE, headers=TOKEN)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers["cache-control"] == "private, no-cache"
    assert (await api.head("/v1/nothing", headers=TOKEN)).content == b""


async def test_errors_become_problems(api: httpx.AsyncClient) -> None:
    async def raised(what: str) -> httpx.Response:
        return await api.put(f"/v1/raise/{what}", headers=TOKEN)

    answer = await raised("problem")
    assert problem(answer, 409, "CONFLICT")["entry_id"] == "1"
    assert answer.headers["x-why"] == "so"
    body = problem(await raised("invalid"), 422, "VALIDATION_FAILED")
    assert body["errors"] == [
        {"field": "a.0", "code": "too_long", "message": "Too long."},
        {"field": "b", "code": "required", "message": "B."},
    ]
    problem(await raised("notfound"), 404, "NOT_FOUND")
    problem(await raised("forbidden"), 403, "FORBIDDEN")
    answer = await raised("stale")
    assert problem(answer, 412, "VERSION_STALE")["current_version"] == 2


async def test_a_fault_of_ours_says_nothing_but_its_id(
    api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await api.put("/v1/raise/boom?secret=yes", headers=TOKEN)
    body = problem(answer, 500, "INTERNAL_ERROR")
    assert "Boom" not in answer.text
    (record,) = caplog.records
    text = record.getMessage()
    assert body["requestId"] in text
    assert "Boom" in text
    assert "test_conventions.py" in text
    assert "hunter2" not in text
    assert "secret" not in text
    await api.put("/v1/raise/runtime", headers=TOKEN)
    assert "wrong wiring" in caplog.text


async def test_an_answer_that_fails_midway_is_broken_off(caplog: pytest.LogCaptureFixture) -> None:
    app = conventions(HANDLERS)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as api:
        with pytest.raises(ConnectionAbortedError), caplog.at_level(logging.ERROR):
            await api.get("/v1/stream", headers=TOKEN)
    assert "Boom" in caplog.text


async def test_faults_of_a_body_are_reported(api: httpx.AsyncClient) -> None:
    async def sent(content: bytes, kind: str | None = "application/json") -> httpx.Response:
        headers = {**TOKEN, **({"content-type": kind} if kind else {})}
        return await api.post("/v1/notes", headers=headers, content=content)

    problem(await sent(b"{"), 400, "MALFORMED_JSON")
    problem(await sent(b""), 400, "MALFORMED_JSON")
    problem(await sent(b"", None), 400, "MALFORMED_JSON")
    problem(await sent(b'{"text":"a"}', None), 415, "UNSUPPORTED_MEDIA_TYPE")
    problem(await sent(b'{"text":"a"}', "text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE")
    problem(
        await sent(b'{"text":"a"}', "application/json; charset=latin-1"),
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )
    assert (await sent(b'{"text":"a"}', 'Application/JSON; Charset="UTF-8"')).status_code == 201
    body = problem(await sent(b'{"x":1}'), 422, "VALIDATION_FAILED")
    assert [e["field"] for e in body["errors"]] == ["x", "text"]
    problem(await sent(b"[1]"), 422, "VALIDATION_FAILED")


async def test_large_bodies_are_refused() -> None:
    app = conventions(HANDLERS, max_body_bytes=100, body_limits={"/v1/journal/import": 1000})

    async def chunks(total: int) -> AsyncIterator[bytes]:
        for _ in range(total // 10):
            yield b"x" * 10

    async with client(app) as api:
        answer = await api.post("/v1/notes", headers=TOKEN, content=b"x" * 101)
        assert problem(answer, 413, "PAYLOAD_TOO_LARGE")["max_bytes"] == 100
        answer = await api.post("/v1/notes", headers=TOKEN, content=chunks(110))
        problem(answer, 413, "PAYLOAD_TOO_LARGE")
        answer = await api.post("/v1/notes", headers=TOKEN, content=chunks(100))
        problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
        answer = await api.post("/v1/journal/import", headers=TOKEN, content=chunks(1000))
        assert answer.json()["data"] == 1000
        answer = await api.post("/v1/journal/import/", headers=TOKEN, content=chunks(1010))
        problem(answer, 413, "PAYLOAD_TOO_LARGE")
        answer = await api.post("/v1/notes", content=b"x" * 101)
        problem(answer, 401, "UNAUTHENTICATED")
        for lie in ("-1", "1e3", "9" * 30):
            answer = await api.post(
                "/v1/notes", headers={**TOKEN, "content-length": lie}, content=b""
            )
            assert answer.status_code in (400, 413)


async def test_requests_are_counted_per_principal_and_per_address() -> None:
    now = [1000.0]
    app = conventions(HANDLERS, limiter=RateLimiter(3), clock=lambda: now[0])
    async with client(app) as api, client(app, "192.0.2.2") as other:
        for left in (2, 1, 0):
            answer = await api.get(NOTE, headers=TOKEN)
            assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
            assert answer.headers["ratelimit"] == f'"default";r={left};t=60'
        now[0] += 17.5
        answer = await api.get(NOTE, headers=TOKEN)
        problem(answer, 429, "RATE_LIMITED")
        assert answer.headers["retry-after"] == "43"
        assert answer.headers["ratelimit"] == '"default";r=0;t=43'
        # Another address does not help a principal, and has a count of its own.
        problem(await other.get(NOTE, headers=TOKEN), 429, "RATE_LIMITED")
        for _ in range(3):
            problem(await other.get(NOTE), 401, "UNAUTHENTICATED")
        problem(await other.get(NOTE), 429, "RATE_LIMITED")
        problem(await other.get(NOTE, headers={"x-api-key": "guess"}), 429, "RATE_LIMITED")
        problem(await other.post("/v1/auth/login"), 429, "RATE_LIMITED")
        assert (await api.post("/v1/auth/login")).status_code == 200
        for _ in range(10):
            answer = await other.get("/health/live")
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers
        now[0] += 42.6
        assert (await api.get(NOTE, headers=TOKEN)).status_code == 200


async def test_a_forwarded_address_counts_only_from_a_known_proxy() -> None:
    forwarded = {"x-forwarded-for": "203.0.113.9, 198.51.100.7"}
    async with client(conventions(HANDLERS)) as api:
        answer = await api.post("/v1/auth/address", headers=forwarded)
        assert answer.json()["data"] == "192.0.2.1"
    async with client(conventions(HANDLERS, trusted_proxies=["192.0.2.0/24"])) as api:
        answer = await api.post("/v1/auth/address", headers=forwarded)
        assert answer.json()["data"] == "198.51.100.7"


async def test_pages_have_a_policy(api: httpx.AsyncClient) -> None:
    answer = await api.get("/about")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_answers_are_counted_by_their_template() -> None:
    registry = CollectorRegistry()
    app = conventions(HANDLERS, metrics=HttpMetrics("read-api", registry))
    async with client(app) as api:
        await api.get(NOTE, headers=TOKEN)
        await api.get(NOTE)
        await api.request("BREW", "/v1/notes", headers=TOKEN)
    text = generate_latest(registry).decode()
    assert (
        'http_requests_total{method="GET",route="/v1/notes/{note_id}",'
        'service="read-api",status="200"} 1.0' in text
    )
    assert 'method="GET",route="-",service="read-api",status="401"} 1.0' in text
    assert 'method="OTHER",route="-"' in text
    assert (
        'http_request_duration_seconds_bucket{le="+Inf",method="GET",'
        'route="/v1/notes/{note_id}",service="read-api"} 1.0' in text
    )
    assert NOTE not in text


async def test_the_log_has_the_client_version_and_nothing_private() -> None:
    written: list[bytes] = []
    log = AccessLog("all", written.append)
    async with client(conventions(HANDLERS, access_log=log)) as api:
        headers = {**TOKEN, "x-client-version": "ios 1.2\x7f", "x-request-id": "req_mine1"}
        await api.get(f"{NOTE}?secret=1", headers=headers)
        await api.put("/v1/raise/boom", headers=TOKEN)  # a failure is written at once
    first, second = [json.loads(line) for line in b"".join(written).splitlines()]
    assert first == {
        "message": "request",
        "timestamp": first["timestamp"],
        "level": "INFO",
        "service": "test",
        "duration": first["duration"],
        "context": {
            "request_id": "req_mine1",
            "method": "GET",
            "route": "/v1/notes/{note_id}",
            "status": 200,
            "user_id": str(ANNA.user_id),
            "client_version": "ios 1.2?",
        },
    }
    assert second["level"] == "ERROR"


async def test_the_log_writes_what_its_policy_asks_for() -> None:
    assert AccessLog("all").wants(200, 0, None)
    assert not AccessLog("notable").wants(200, 0, None)
    assert AccessLog("notable").wants(200, 0, b"ios")
    assert AccessLog("notable").wants(404, 0, None)
    assert AccessLog("notable").wants(200, 2, None)
    assert not AccessLog("errors").wants(404, 0, b"ios")
    assert AccessLog("errors").wants(503, 0, None)


async def test_lines_are_gathered_and_then_written() -> None:
    written = asyncio.Event()
    log = AccessLog("all", lambda _: written.set())
    async with client(conventions(HANDLERS, access_log=log)) as api:
        await api.get(NOTE, headers=TOKEN)
        assert not written.is_set()
        await asyncio.wait_for(written.wait(), 5)


async def _upgrade(
    path: str, headers: list[tuple[bytes, bytes]], extensions: dict[str, Any]
) -> tuple[list[Any], list[Any]]:
    reached: list[Any] = []
    sent: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["mindstream"].principal)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    app = conventions([])
    app._app = inner
    scope = {
        "type": "websocket",
        "path": path,
        "headers": headers,
        "client": ("192.0.2.1", 1),
        "extensions": extensions,
    }
    await app(scope, receive, send)
    return reached, sent


async def test_a_websocket_is_opened_by_its_bearer_only() -> None:
    for name, value in (
        (b"authorization", b"Bearer anna"),
        (b"sec-websocket-protocol", b"bearer, anna"),
    ):
        reached, sent = await _upgrade("/v1/ws", [(name, value)], {})
        assert reached == [ANNA]
        assert not sent
    reached, sent = await _upgrade("/v1/ws", [], {})
    assert not reached
    assert sent[0]["type"] == "websocket.close"
    reached, sent = await _upgrade("//v1/ws", [], {"websocket.http.response": {}})
    assert not reached
    assert sent[0]["status"] == 401
    assert json.loads(sent[1]["body"])["code"] == "UNAUTHENTICATED"


async def test_before_it_closes_each_answer_ends_its_connection() -> None:
    app = conventions([read_note])
    async with client(app) as anna:
        before = await anna.get("/health/live")
        app.announce_closing()
        after = await anna.get("/health/live")
    assert "connection" not in before.headers
    assert after.headers["connection"] == "close"
    async with asyncio.timeout(5):
        await app.drained()
