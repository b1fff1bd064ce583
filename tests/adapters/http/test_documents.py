"""The pages and documents about the API: OpenAPI, docs, problems, health."""

from __future__ import annotations

import asyncio
import datetime
import json
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx
import msgspec
import pytest
from litestar import Controller, Router, delete, get, patch, post
from litestar.types import ControllerRouterHandler

from adapters.http import docs, problems
from adapters.http.doors import canonical, is_open
from adapters.http.health import Check, ProjectionHealth, health_handlers
from adapters.http.openapi import document
from adapters.http.operation import Operation
from adapters.http.pages import problem_handlers
from adapters.http.problems import PROBLEMS, Problem, register, render, retry_after
from adapters.http.responses import Answer, bare
from adapters.http.routes import Routes, walk
from adapters.http.validation import DEFAULT_LIMIT, Limit
from tests.support.http_app import client, conventions

pytestmark = pytest.mark.anyio


class NewNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[str, msgspec.Meta(max_length=10, description="What it says.")]


class Note(msgspec.Struct, frozen=True):
    id: UUID
    text: str | None


class Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: datetime.date | None = None
    tag: tuple[str, ...] = ()
    sort: Literal["date", "-date"] | None = None
    limit: Limit = DEFAULT_LIMIT


@get(
    "/v1/notes",
    opt={
        "operation": Operation(
            summary="Notes", tags=("Notes",), response=Note, page=True, query=Notes, fresh=True
        )
    },
)
async def list_notes() -> Answer:
    return bare(b"")


@post(
    "/v1/notes",
    opt={
        "operation": Operation(
            summary="Write a note",
            description="One at a time.",
            body=NewNote,
            response=Note,
            statuses=(201,),
            problems=("CONFLICT",),
            examples={"short": NewNote("hi")},
            response_example={"success": True},
            permission="notes:write",
        )
    },
)
async def write_note() -> Answer:
    return bare(b"")


@patch(
    "/v1/notes/{note_id:uuid}",
    opt={"operation": Operation(summary="Revise", body=NewNote, response=Note)},
)
async def revise_note() -> Answer:
    return bare(b"")


@delete(
    "/v1/notes/{note_id:uuid}",
    status_code=204,
    opt={"operation": Operation(summary="Delete", statuses=(204,))},
)
async def delete_note() -> None:
    return None


@post("/v1/auth/login", opt={"operation": Operation(summary="Log in", body=NewNote)})
async def log_in() -> Answer:
    return bare(b"")


@get("/hidden")
async def hidden() -> Answer:
    return bare(b"")


HANDLERS: list[ControllerRouterHandler] = [
    *(list_notes, write_note, revise_note, delete_note, log_in, hidden)
]


@pytest.fixture
def api() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document(HANDLERS, version="2"))
    return found


def test_the_document_has_what_handlers_declare(api: dict[str, Any]) -> None:
    assert api["openapi"] == "3.1.0"
    assert api["info"]["version"] == "2"
    assert list(api["paths"]) == ["/v1/auth/login", "/v1/notes", "/v1/notes/{note_id}"]
    written = api["paths"]["/v1/notes"]["post"]
    assert written["operationId"] == "write_note"
    content = written["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/NewNote"}
    assert content["examples"]["short"]["value"] == {"text": "hi"}
    assert set(written["responses"]) == set("201 400 401 403 409 413 415 422 429 500 503".split())
    assert written["responses"]["201"]["content"]["application/json"]["example"]
    assert "Location" in written["responses"]["201"]["headers"]
    assert "`notes:write`" in written["description"]
    assert api["components"]["schemas"]["NewNote"]["additionalProperties"] is False


def test_the_envelope_is_documented(api: dict[str, Any]) -> None:
    listed = api["paths"]["/v1/notes"]["get"]["responses"]["200"]["content"]["application/json"]
    schema = listed["schema"]
    assert schema["required"] == ["success", "data", "message", "timestamp", "requestId", "meta"]
    assert schema["properties"]["data"]["items"] == {"$ref": "#/components/schemas/Note"}
    assert schema["properties"]["meta"] == {"$ref": "#/components/schemas/PageMeta"}


def test_parameters_come_from_the_query_the_path_and_the_conventions(api: dict[str, Any]) -> None:
    listed = {p["name"]: p for p in api["paths"]["/v1/notes"]["get"]["parameters"]}
    assert set(listed) == {
        *("since", "tag", "sort", "limit"),
        *("Consistency-Token", "Prefer", "If-None-Match"),
    }
    assert listed["since"]["schema"] == {"type": "string", "format": "date"}
    assert listed["sort"]["schema"]["enum"] == ["-date", "date"]
    assert listed["limit"]["schema"]["maximum"] == 100
    assert not listed["limit"]["required"]
    revised = {p["name"]: p for p in api["paths"]["/v1/notes/{note_id}"]["patch"]["parameters"]}
    assert revised["note_id"]["schema"]["format"] == "uuid"
    assert revised["If-Match"]["required"]
    assert "Idempotency-Key" in revised
    responses = api["paths"]["/v1/notes/{note_id}"]["patch"]["responses"]
    assert {"404", "412", "428"} <= set(responses)
    assert "content" not in api["paths"]["/v1/notes/{note_id}"]["delete"]["responses"]["204"]


def test_open_calls_say_so(api: dict[str, Any]) -> None:
    assert api["paths"]["/v1/auth/login"]["post"]["security"] == []
    assert "401" not in api["paths"]["/v1/auth/login"]["post"]["responses"]
    scopes = ["notes:write"]
    assert api["paths"]["/v1/notes"]["post"]["security"] == [{"bearer": scopes}, {"apiKey": scopes}]
    assert api["security"] == [{"bearer": []}, {"apiKey": []}]
    assert set(api["components"]["securitySchemes"]) == {"bearer", "apiKey"}


def test_every_reference_leads_somewhere(api: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for value in node.values() for ref in references(value)]
        if isinstance(node, list):
            return [ref for value in node for ref in references(value)]
        return []

    for reference in references(api):
        at: Any = api
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_unknown_problems_and_repeated_ids_are_mistakes() -> None:
    @get("/v1/a", opt={"operation": Operation(summary="A", problems=("NO_SUCH",))})
    async def unknown() -> Answer:
        return bare(b"")

    with pytest.raises(ValueError, match="NO_SUCH"):
        document([unknown])
    with pytest.raises(ValueError, match="twice"):
        document([list_notes, Router("/other", route_handlers=[list_notes])])


def test_types_of_one_name_do_not_get_in_each_others_way() -> None:
    other = msgspec.defstruct("Notes", [("page", int)], module="elsewhere", frozen=True)

    @get("/v1/others", opt={"operation": Operation(summary="Others", query=other)})
    async def others() -> Answer:
        return bare(b"")

    paths = json.loads(document([list_notes, others]))["paths"]
    assert [p["name"] for p in paths["/v1/others"]["get"]["parameters"]] == ["page"]
    assert paths["/v1/notes"]["get"]["parameters"][0]["name"] == "since"


def test_routers_and_controllers_are_walked() -> None:
    class Things(Controller):
        path = "/things"

        @get("/{thing_id:int}")
        async def one(self) -> Answer:
            return bare(b"")

    router = Router("/v2", route_handlers=[Things, hidden])
    found = {(route.template, route.methods) for route in walk([router, Things])}
    assert ("/v2/things/{thing_id}", ("GET",)) in found
    assert ("/v2/hidden", ("GET",)) in found
    assert ("/things/{thing_id}", ("GET",)) in found


def test_literal_paths_win_over_parameters() -> None:
    @post("/v1/notes/import")
    async def take() -> Answer:
        return bare(b"")

    routes = Routes([*HANDLERS, take])
    assert routes.methods("/v1/notes/import") == {"POST", "OPTIONS"}
    assert routes.methods("/v1/notes/7") == {"PATCH", "DELETE", "OPTIONS"}
    assert routes.methods("/v1/notes/7/8") == frozenset()


@pytest.mark.parametrize(
    ("path", "open_"),
    [
        ("/v1/auth/login", True),
        ("/v1/auth/register", True),
        ("/v1/auth/totp", False),
        ("/v1/auth/totp/confirm", False),
        ("/v1/auth", False),
        ("/v1/me/restore", True),
        ("/v1/me", False),
        ("/v1/me/restore/x", False),
        ("/v1", False),
        ("/docs", True),
        ("/v10", True),
    ],
)
def test_which_doors_are_open(path: str, open_: bool) -> None:
    assert is_open(path) is open_


def test_paths_are_made_canonical() -> None:
    assert canonical("//v1//me/") == "/v1/me"
    assert canonical("/") == "/"
    assert canonical("//") == "/"


async def test_the_document_and_its_page_are_served() -> None:
    app = conventions([*HANDLERS, *docs.openapi_handlers(HANDLERS, title="Test")])
    async with client(app) as api:
        answer = await api.get("/schema/openapi.json")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert "/docs" in answer.json()["paths"]
        assert answer.json()["info"]["title"] == "Test"
        again = await api.get(
            "/schema/openapi.json", headers={"if-none-match": answer.headers["etag"]}
        )
        assert again.status_code == 304
        page = await api.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "://" not in page.text


async def test_every_problem_has_its_page() -> None:
    async with client(conventions(problem_handlers)) as api:
        index = await api.get("/problems")
        assert index.headers["content-type"].startswith("text/html")
        for kind in PROBLEMS.values():
            assert kind.uri in index.text
            page = await api.get(kind.uri)
            assert page.status_code == 200
            assert kind.code in page.text
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        answer = await api.get("/problems/not-found", headers={"accept": "application/json"})
        assert answer.json()["code"] == "NOT_FOUND"
        answer = await api.get(
            "/problems", headers={"accept": "text/html;q=0.5, application/problem+json"}
        )
        assert {item["code"] for item in answer.json()} == set(PROBLEMS)
        answer = await api.get("/problems", headers={"accept": "text/html, application/json;q=x"})
        assert answer.headers["content-type"].startswith("text/html")
        for unknown in ("no-such", "NOT_FOUND", "not_found"):
            assert (await api.get(f"/problems/{unknown}")).status_code == 404


def test_a_code_has_one_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "PROBLEMS", dict(PROBLEMS))
    kind = register("TEAPOT", 418, "A teapot", "It is short and stout.")
    assert register("TEAPOT", 418, "A teapot", "It is short and stout.") == kind
    with pytest.raises(TypeError):
        register("TEAPOT", 418, "A kettle", "It is not.")


def test_the_standard_members_cannot_be_overwritten() -> None:
    with pytest.raises(ValueError, match="clash"):
        render(Problem("CONFLICT", extra={"status": 200}), "req_1")
    body = json.loads(render(Problem("CONFLICT"), "req_1"))
    assert "instance" not in body
    assert "errors" not in body


def test_retry_after_is_rounded_up() -> None:
    assert retry_after(0) == {"retry-after": "1"}
    assert retry_after(1.2) == {"retry-after": "2"}
    assert retry_after(42) == {"retry-after": "42"}


class Fixed:
    """A readiness that is as it is told."""

    def __init__(self, **checks: Literal["ok", "degraded", "unavailable"] | Exception) -> None:
        self._checks = checks

    async def checks(self) -> dict[str, Check]:
        found = {}
        for name, status in self._checks.items():
            if isinstance(status, Exception):
                raise status
            found[name] = Check(status, "tested", 1.5)
        return found

    async def projections(self) -> list[ProjectionHealth]:
        return [ProjectionHealth("journal.entries", 0, 0.0, "live")]


async def health(readiness: Any) -> httpx.Response:
    async with client(conventions(health_handlers(readiness))) as api:
        assert (await api.get("/health/live")).json() == {"status": "live"}
        return await api.get("/health/ready")


async def test_health_stands_bare() -> None:
    answer = await health(Fixed(database="ok"))
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": {"status": "ok", "detail": "tested", "latency_ms": 1.5}},
        "projections": [
            {"name": "journal.entries", "gap_events": 0, "gap_seconds": 0.0, "status": "live"}
        ],
    }


async def test_health_tells_degraded_from_unavailable() -> None:
    answer = await health(Fixed(database="ok", cache="degraded"))
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    answer = await health(Fixed(database="unavailable", cache="degraded"))
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
    answer = await health(Fixed(database=RuntimeError("no")))
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["checks"]["checks"]["detail"] == "RuntimeError"


async def test_a_hanging_check_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.http.health._TIMEOUT", 0.01)

    class Hanging(Fixed):
        async def projections(self) -> list[ProjectionHealth]:
            await asyncio.Event().wait()
            return []

    answer = await health(Hanging(database="ok"))
    assert answer.status_code == 503
    assert answer.json()["checks"]["projections"]["status"] == "unavailable"
    assert answer.json()["projections"] == []
