"""The contract's conventions, on every call that the system says it has."""

from __future__ import annotations

import collections
import http.client
import json
import re
import socket
import time
import uuid
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import OPERATOR
from tests.support.people import ENTRY, PASSWORD, People, Person, registration, token_of
from tests.support.pictures import FILES
from tests.support.servers import wait_until
from tests.support.upped import Up

OPEN = {
    "/v1/auth/register",
    "/v1/auth/login",
    "/v1/auth/refresh",
    "/v1/auth/logout",
    "/v1/auth/verify-email",
    "/v1/auth/request-password-reset",
    "/v1/auth/reset-password",
    "/v1/me/restore",
    "/v1/exports/{export_id}",  # by signed links
}
FILES_PATH = "/v1/files/{user_id}/{entry_id}/{attachment_id}"
SIGNED = {"/v1/exports/{export_id}", FILES_PATH, FILES_PATH + "/{object_id}"}
"""Links that are signed: open, and nothing to whoever has none."""
LIVE = {"/v1/stream", "/v1/ws"}
"""Answers without an end: tests/e2e/test_live.py has these."""
WITHOUT_VERSIONS = {
    "/v1/operations/{operation_id}",
    "/v1/auth/totp",
    "/v1/me/logins/{login_id}",
}
"""What is deleted without If-Match: it is no aggregate's representation."""
KEY = {"name": "x", "permissions": ["journal:read"]}
DAY = {**ENTRY, "date": "2024-01-01"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
REQUEST_ID = re.compile(r"req_[0-9a-f]{32}")
IDS = {
    "entry_id": str(uuid.UUID(int=1)),
    "operation_id": str(uuid.UUID(int=2)),
    "login_id": str(uuid.UUID(int=3)),
    "year": "2024",
    "month": "5",
    "slug": "not-found",
    "name": "journal.tags",
    "item_id": str(uuid.UUID(int=3)),
}
JSON_BODIES = {
    "/v1/journal/entries": {**ENTRY, "date": "2024-01-01"},
    "/v1/journal/entries/{entry_id}": {"title": "t"},
    "/v1/me": {"bio": "b"},
    "/v1/me/consent": {
        "terms_version": "1",
        "privacy_policy_version": "1",
        "data_processing": True,
        "marketing": False,
    },
    "/v1/tenants/{tenant_id}/members/{user_id}": {"role": "admin"},
}


@pytest.fixture(scope="module")
def document(people: People) -> dict[str, Any]:
    """The served OpenAPI document."""
    answer = people.anonymous.get("/schema/openapi.json")
    assert answer.status_code == 200
    return answer.json()


@pytest.fixture(scope="module")
def calls(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each call."""
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]


@pytest.fixture(scope="module")
def writer(people: People) -> tuple[Person, str, dict[str, str]]:
    """Somebody with entries, one's path, and the headers of a read that shows all."""
    person = people.new()
    for day in range(1, 8):
        written = person.write(f"2024-01-0{day}", tags=[f"tag {day}", "all"], mood="happy")
    return person, written.headers["Location"], token_of(written)


@pytest.fixture(scope="module")
def own(writer: tuple[Person, str, dict[str, str]]) -> dict[str, str]:
    """Ids for paths: those that are the writer's, where a person can have one of the kind."""
    person, entry, fresh = writer
    key = person.post("/v1/api-keys", {"name": "Backup", "permissions": ["journal:read"]})
    month = {"start_date": "2024-01-01", "end_date": "2024-01-31"}
    insight = person.post("/v1/journal/insights", {"insight_type": "monthly", **month})
    fresh.update(token_of(insight))
    pdf = FILES["application/pdf"]
    announced = {"filename": "a.pdf", "content_type": "application/pdf", "size_bytes": len(pdf)}
    pending = person.post(f"{entry}/attachments", announced).json()["data"]
    upload = pending["upload"]
    person.http.put(upload["url"], content=pdf, headers=upload["headers"]).raise_for_status()
    attached = person.post(f"{entry}/attachments/{pending['id']}/complete", {})
    fresh.update(token_of(attached))
    return {
        **IDS,
        "entry_id": entry.rsplit("/", 1)[1],
        "key_id": key.json()["data"]["id"],
        "insight_id": insight.json()["data"]["id"],
        "attachment_id": pending["id"],
        "tenant_id": person.profile["tenant_id"],
        "user_id": person.id,
    }


def _path(template: str) -> str:
    return template.format_map(collections.defaultdict(lambda: str(uuid.UUID(int=3)), IDS))


def _ask(client: httpx.Client, method: str, template: str, **headers: str) -> httpx.Response:
    body = JSON_BODIES.get(template) if method in ("POST", "PUT", "PATCH") else None
    return client.request(method, _path(template), json=body, headers=headers)


def _without_the_moment(answer: httpx.Response) -> dict[str, Any]:
    problem = answer.json()
    for name in ("requestId", "timestamp", "instance"):
        problem.pop(name)
    return problem


def test_the_document_is_openapi_and_has_examples(document: dict[str, Any], calls: Any) -> None:
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, _, operation in calls]
    assert len(ids) == len(set(ids))
    for method, path, operation in calls:
        assert operation["summary"], (method, path)
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert media["examples"], path


def test_only_the_doors_that_the_contract_names_are_open(calls: Any, anonymous: Any) -> None:
    seen = 0
    for method, path, operation in calls:
        if not path.startswith("/v1/") or path in OPEN | SIGNED:
            continue
        assert operation.get("security") != [], (method, path)
        answer = _ask(anonymous, method, path)
        assert answer.status_code == 401, (method, path, answer.text)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["code"] == "UNAUTHENTICATED"
        for credentials in (
            {"Authorization": "Bearer nonsense"},
            {"Authorization": "Bearer"},
            {"Authorization": "Basic dTpw"},
            {"X-API-Key": "ms_nonsense"},
        ):
            assert _ask(anonymous, method, path, **credentials).status_code == 401
        seen += 1
    assert seen > 10


def test_open_calls_say_so(calls: Any) -> None:
    for method, path, operation in calls:
        if path in (OPEN | SIGNED) - {"/v1/auth/logout"} or not path.startswith("/v1/"):
            assert operation["security"] == [], (method, path)


def test_what_operators_may_is_forbidden_to_others(writer: Any, calls: Any) -> None:
    person = writer[0]
    for method, path, operation in calls:
        if path.startswith("/v1/ops/"):
            # 403 comes before 404, and before any look at the body.
            answer = person.http.request(method, _path(path) + "?x=1", content=b"{")
            assert answer.status_code == 403, (method, path, answer.text)
            assert answer.json()["code"] == "FORBIDDEN"
            assert "403" in operation["responses"]


def test_operators_get_lists_in_the_envelope(people: People, calls: Any) -> None:
    operator = people.log_in(*OPERATOR)
    for method, path, _ in calls:
        if path.startswith("/v1/ops/") and method == "GET" and "{" not in path:
            answer = operator.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert isinstance(answer.json()["data"], list)
            assert {"next_cursor", "limit"} <= answer.json()["meta"].keys(), path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_401_comes_before_everything_else(anonymous: httpx.Client) -> None:
    for method, path in (
        ("POST", "/v1/journal/entries"),
        ("GET", "/v1/nothing/here"),
        ("GET", "/v1"),
        ("PATCH", "/v1/journal/entries/x"),
        ("POST", "/v1/auth/totp"),
        ("POST", "/v1/journal/import"),
    ):
        answer = anonymous.request(method, path, content=b"{", headers={"Content-Type": "x/y"})
        assert answer.status_code == 401, (method, path)


def test_signatures_and_claims_of_tokens_are_checked(person: Person, anonymous: Any) -> None:
    import base64

    head, body, signature = person.authorization.removeprefix("Bearer ").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert claims["iss"] == "mindstream-auth"
    assert claims["aud"] == "mindstream-api"
    assert claims["exp"] - claims["iat"] == 900
    assert {"tier", "permissions"} <= claims.keys()
    kids = {key["kid"] for key in anonymous.get("/.well-known/jwks.json").json()["keys"]}
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["kid"] in kids

    def pack(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    more = pack({**claims, "permissions": ["ops:write"]})
    none = pack({"alg": "none", "typ": "JWT"})
    for forged in (
        f"{head}.{more}.{signature}",
        f"{none}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}",
    ):
        answer = anonymous.get("/v1/me", headers={"Authorization": f"Bearer {forged}"})
        assert answer.status_code == 401, forged


def test_what_is_unknown_and_what_is_somebody_elses_look_alike(people: People) -> None:
    owner, other = people.new(), people.new()
    written = owner.write("2024-01-01")
    foreign = written.headers["Location"]
    fresh = token_of(written)
    unknown = f"/v1/journal/entries/{uuid.uuid4()}"
    operation = owner.begin_import(b"")
    asked: list[Any] = [
        lambda path: other.get(path, headers=fresh),
        lambda path: other.get(path + "/history", headers=fresh),
        lambda path: other.get(path + "/history?version=1", headers=fresh),
        lambda path: other.get(path + "/history?limit=0"),
        lambda path: other.get(path, headers={"If-None-Match": '"1"'}),
        lambda path: other.patch(path, {"title": "t"}, 1),
        lambda path: other.patch(path, {"title": "t"}, 99),
        lambda path: other.patch(path, {"title": ""}, 1),
        lambda path: other.patch(path, {"tags": [""]}, 1),
        lambda path: other.http.patch(path, json={"title": "t"}),
        lambda path: other.http.patch(path, content=b"{", headers={"If-Match": '"1"'}),
        lambda path: other.delete(path, 1),
        other.http.delete,
        lambda path: other.post(path + "/restore"),
    ]
    for ask in asked:
        here, there = ask(foreign), ask(unknown)
        assert here.status_code == there.status_code == 404, here.text
        assert _without_the_moment(here) == _without_the_moment(there)
        volatile = {"x-request-id", "date", "ratelimit", "content-length"}
        assert {k: v for k, v in here.headers.items() if k not in volatile} == {
            k: v for k, v in there.headers.items() if k not in volatile
        }
    for method in ("GET", "DELETE"):
        here = other.http.request(method, operation)
        there = other.http.request(method, f"/v1/operations/{uuid.uuid4()}")
        assert here.status_code == there.status_code == 404
        assert _without_the_moment(here) == _without_the_moment(there)
    assert owner.get(foreign, headers=fresh).json()["data"] == written.json()["data"]


def test_the_envelope_and_the_headers_of_every_read(
    writer: Any, own: dict[str, str], calls: Any
) -> None:
    person, _, fresh = writer
    for method, template, operation in calls:
        if method != "GET" or not template.startswith("/v1/") or "operations" in template:
            continue
        if template in SIGNED | LIVE:
            continue
        if template.startswith("/v1/ops/"):  # test_operators has these
            assert person.get(_path(template)).status_code == 403, template
            continue
        path = template.format(**own)
        answer = person.get(path, headers=fresh)
        assert answer.status_code == 200, (path, answer.text)
        body = answer.json()
        assert {"success", "data", "message", "timestamp", "requestId"} <= body.keys()
        assert body["success"] is True
        assert isinstance(body["message"], str)
        assert TIME.fullmatch(body["timestamp"])
        assert REQUEST_ID.fullmatch(body["requestId"])
        assert answer.headers["X-Request-Id"] == body["requestId"]
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Consistency-Token"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] in ("private, no-cache", "no-store")
        assert answer.headers["RateLimit-Policy"]
        assert answer.headers["RateLimit"]
        assert ("meta" in body) == isinstance(body["data"], list), path
        if "meta" in body and "calendar" not in path:
            page = {"next_cursor": None, "limit": 20}
            assert page.items() <= body["meta"].items(), path
        head = person.http.head(path, headers=fresh)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["Content-Type"] == "application/json"
        assert head.headers.get("ETag") == answer.headers.get("ETag")
        # Calls of a page share the rules of its parameters; `x` is one that no call has.
        if operation.get("parameters"):
            refused = person.get(path, params={"x": "1"})
            assert refused.status_code in (200, 422)


@pytest.mark.parametrize("path", ["/v1/me", "entry"])
def test_entity_tags(writer: Any, path: str) -> None:
    person, entry, fresh = writer
    path = entry if path == "entry" else path
    answer = person.get(path, headers=fresh)
    tag = answer.headers["ETag"]
    assert tag == f'"{answer.json()["data"]["version"]}"' or path == "/v1/me"
    for same in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        unchanged = person.get(path, headers={**fresh, "If-None-Match": same})
        assert unchanged.status_code == 304, same
        assert unchanged.content == b""
        assert unchanged.headers["ETag"] == tag
        assert unchanged.headers["Consistency-Token"]
    for other in ('"other"', "", '"0"'):
        assert person.get(path, headers={**fresh, "If-None-Match": other}).status_code == 200


def test_writes_need_if_match(writer: Any, own: dict[str, str], calls: Any) -> None:
    person = writer[0]
    seen = 0
    for method, template, operation in calls:
        if method not in ("PATCH", "DELETE") or template in WITHOUT_VERSIONS:
            continue
        if template.startswith("/v1/ops/"):  # nobody else's
            continue
        path = template.format(**own)
        body = None if method == "DELETE" else JSON_BODIES.get(template, {})
        missing = person.http.request(method, path, json=body)
        assert missing.status_code == 428, (method, path, missing.text)
        assert missing.json()["code"] == "IF_MATCH_REQUIRED"
        stale = person.http.request(method, path, json=body, headers={"If-Match": '"999"'})
        assert stale.status_code == 412, stale.text
        assert stale.json()["code"] == "VERSION_STALE"
        assert "428" in operation["responses"]
        seen += 1
    assert seen >= 3


def test_cursors_belong_to_their_reader_list_and_filters(people: People, writer: Any) -> None:
    person, entry, fresh = writer
    other = people.new()
    person.patch(entry, {"title": "once more"}, "*")
    lists = {
        "/v1/journal/entries": {"limit": 2},
        "/v1/journal/tags": {"limit": 2},
        "/v1/journal/tags/suggest": {"limit": 2, "prefix": "t"},
        entry + "/history": {"limit": 1},
    }
    cursors = {}
    for path, query in lists.items():
        page = person.get(path, params=query, headers=fresh)
        cursor = cursors[path] = page.json()["meta"]["next_cursor"]
        assert cursor, path
        assert page.json()["meta"]["limit"] == query["limit"]
        following = person.get(path, params={**query, "cursor": cursor}, headers=fresh)
        assert following.status_code == 200
        assert following.json()["data"][0] not in page.json()["data"]
        wider = person.get(path, params={**query, "limit": 100, "cursor": cursor}, headers=fresh)
        assert wider.status_code == 200, "the limit may change on the way"
        flipped = ("B" if cursor[7] == "A" else "A") + cursor[8:]
        for wrong in (cursor[:7] + flipped, cursor[:-2], cursor + "AA", "", "0", "é", "A" * 40):
            refused = person.get(path, params={**query, "cursor": wrong})
            assert refused.status_code == 422, wrong
            assert refused.json()["code"] == "INVALID_CURSOR"
            assert refused.json()["errors"][0]["field"] == "cursor"
        if "history" not in path:
            stolen = other.get(path, params={**query, "cursor": cursor})
            assert stolen.status_code == 422, stolen.text
            assert stolen.json()["code"] == "INVALID_CURSOR"
    listed = "/v1/journal/entries"
    for query in ({"sort": "date"}, {"mood": "happy"}, {"tag": "all"}, {"date_from": "2024-01-01"}):
        refused = person.get(listed, params={"cursor": cursors[listed], **query})
        assert refused.status_code == 422, query
    refused = person.get(listed, params={"cursor": cursors["/v1/journal/tags"]})
    assert refused.status_code == 422


def test_preferences_that_make_no_sense_are_ignored(writer: Any) -> None:
    person = writer[0]
    for nonsense in ("wait=soon", "respond-async", ", ,", "wait=-1"):
        answer = person.get("/v1/journal/entries", headers={"Prefer": nonsense})
        assert answer.status_code == 200


def test_request_ids(writer: Any) -> None:
    person = writer[0]
    for path, method in (("/v1/me", "GET"), ("/v1/nothing", "GET"), ("/v1/nothing", "POST")):
        kept = person.http.request(method, path, headers={"X-Request-Id": "my-id_42.a"})
        assert kept.headers["X-Request-Id"] == kept.json()["requestId"] == "my-id_42.a"
        for insane in ("a b", "x" * 300, "<script>", "", '"quoted"', "a\tb"):
            own = person.http.request(method, path, headers={"X-Request-Id": insane})
            assert own.headers["X-Request-Id"] == own.json()["requestId"]
            assert REQUEST_ID.fullmatch(own.headers["X-Request-Id"]), insane
    ids = {person.get("/v1/me").headers["X-Request-Id"] for _ in range(20)}
    assert len(ids) == 20


def test_methods_that_a_path_has_over_both_apis(writer: Any, document: dict[str, Any]) -> None:
    person, entry, _ = writer
    for template, methods in document["paths"].items():
        path = _path(template)
        allowed = {method.upper() for method in methods if method != "parameters"}
        expected = allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())
        options = person.http.options(path)
        assert options.status_code == 204, (path, options.text)
        assert set(options.headers["Allow"].split(", ")) == expected, path
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
            refused = person.http.request(method, path)
            assert refused.status_code == 405, (method, path, refused.text)
            assert refused.json()["code"] == "METHOD_NOT_ALLOWED"
            assert set(refused.headers["Allow"].split(", ")) == expected, (method, path)
    for method in ("BREW", "PROPFIND", "TRACE"):  # no parser knows the first one
        strange = person.http.request(method, "/v1/me?q=x")
        assert strange.status_code == 405, (method, strange.text)
        assert strange.json()["code"] == "METHOD_NOT_ALLOWED"
        assert strange.json()["instance"] == "/v1/me"
        assert "PATCH" in strange.headers["Allow"]
    for method in ("GET", "POST", "OPTIONS", "HEAD", "DELETE"):
        missing = person.http.request(method, "/v1/no/such/path")
        assert missing.status_code == 404, method
        outside = person.http.request(method, "/no/such/path")
        assert outside.status_code == 404, method
    assert entry


def test_every_write_says_how_far_the_store_is(people: People, anonymous: httpx.Client) -> None:
    email = f"writes-{time.time_ns()}@example.org"
    known = {"email": email, "password": PASSWORD}
    answers = [anonymous.post("/v1/auth/register", json=registration(email))]
    person = people.log_in(email)

    def write(method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        answer = person.http.request(method, path, json=body, headers=headers)
        answers.append(answer)
        data: dict[str, Any] = answer.json()["data"] if answer.content else {}
        return data

    write("POST", "/v1/auth/login", known)
    grant = {"refresh_token": person.refresh_token}
    write("POST", "/v1/auth/refresh", grant)
    write("POST", "/v1/auth/request-password-reset", {"email": email})
    write("POST", "/v1/auth/request-password-reset", {"email": "nobody@example.org"})
    write("POST", "/v1/auth/totp")
    write("DELETE", "/v1/auth/totp")
    write("PATCH", "/v1/me", {"bio": "x"}, **{"If-Match": "*"})
    write("PATCH", "/v1/me", {"bio": "x"}, **{"If-Match": "*"})
    write("PUT", "/v1/me/consent", registration(email)["consent"])
    write("POST", "/v1/me/export")
    key = f"/v1/api-keys/{write('POST', '/v1/api-keys', KEY)['id']}"
    write("PATCH", key, {"name": "y"}, **{"If-Match": "*"})
    write("DELETE", key, **{"If-Match": "*"})
    tenant = f"/v1/tenants/{write('POST', '/v1/tenants', {'name': 'x'})['id']}"
    other = {"user_id": people.new().id, "role": "viewer"}
    write("POST", f"{tenant}/members", other)
    write("DELETE", f"{tenant}/members/{other['user_id']}", **{"If-Match": "*"})
    write("DELETE", tenant, **{"If-Match": "*"})
    entry = f"/v1/journal/entries/{write('POST', '/v1/journal/entries', DAY)['id']}"
    write("PATCH", entry, {"title": "y"}, **{"If-Match": "*"})
    write("DELETE", entry, **{"If-Match": "*"})
    write("POST", f"{entry}/restore")
    logins = person.get("/v1/me/logins").json()["data"]
    [elsewhere] = [one["id"] for one in logins if not one["current"]]
    write("DELETE", f"/v1/me/logins/{elsewhere}")
    write("DELETE", "/v1/me", **{"If-Match": "*"})
    answers.append(anonymous.post("/v1/me/restore", json=known))
    person = people.log_in(email)
    write("POST", "/v1/auth/logout")
    person = people.log_in(email)
    write("POST", "/v1/me/erasure")
    for answer in answers:
        said = (answer.request.method, answer.request.url.path, answer.text)
        assert answer.is_success, said
        assert answer.headers.get("Consistency-Token"), said
        assert answer.headers["X-Content-Type-Options"] == "nosniff", said
        assert answer.headers["Cache-Control"] in ("no-store", "private, no-cache"), said


def test_an_announced_body_that_is_too_long_is_refused_at_once(up: Up, person: Person) -> None:
    with socket.create_connection(("127.0.0.1", up.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/journal/entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: " + person.authorization.encode() + b"\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        problem = json.loads(answer.read())
    assert answer.status == 413
    assert problem["code"] == "PAYLOAD_TOO_LARGE"


def test_a_body_of_unknown_length_that_grows_too_long_is_refused(person: Person) -> None:
    def endless() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    answer = person.http.post(
        "/v1/journal/entries", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_every_problem_leads_to_its_page(person: Person, anonymous: httpx.Client) -> None:
    path = person.write("2024-01-01").headers["Location"]
    problems = [
        anonymous.get("/v1/me"),
        person.get("/v1/nothing"),
        person.post(path),
        person.post("/v1/journal/entries", {}),
        person.post("/v1/journal/entries", {**ENTRY, "date": "2024-01-01"}),
        person.http.post("/v1/journal/entries", content=b"{"),
        person.http.post("/v1/journal/entries", content=b"x", headers={"Content-Type": "a/b"}),
        person.http.patch(path, json={}),
        person.patch(path, {}, 7),
        person.get("/v1/journal/entries?cursor=x"),
        person.get("/v1/me", headers={"Consistency-Token": "x"}),
        anonymous.post("/v1/auth/login", json={"email": "a@b.org", "password": "x" * 12}),
        anonymous.post("/v1/auth/refresh", json={"refresh_token": "x"}),
        anonymous.get("/problems/no-such-problem"),
    ]
    index = anonymous.get("/problems").text
    for answer in problems:
        assert answer.headers["Content-Type"] == "application/problem+json", answer.text
        problem = answer.json()
        assert {"type", "title", "status", "detail", "instance", "code"} <= problem.keys()
        assert problem["success"] is False
        assert problem["message"]
        assert TIME.fullmatch(problem["timestamp"])
        assert problem["instance"] == answer.request.url.path
        assert problem["type"].startswith("/problems/")
        page = anonymous.get(problem["type"])
        assert page.status_code == 200, problem["type"]
        assert page.headers["Content-Type"].startswith("text/html")
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert problem["code"] in page.text
        assert problem["type"] in index
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


def test_all_documented_problems_have_a_page(
    document: dict[str, Any], anonymous: httpx.Client
) -> None:
    codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    for code in codes:
        page = anonymous.get("/problems/" + code.lower().replace("_", "-"))
        assert page.status_code == 200, code
        assert code in page.text


def test_health(anonymous: httpx.Client) -> None:
    assert anonymous.get("/health/live").status_code == 200
    ready = anonymous.get("/health/ready")
    assert ready.status_code == 200
    body = ready.json()
    assert body["status"] == "ready"
    assert body["checks"]
    for check in body["checks"].values():
        assert {"status", "detail", "latency_ms"} <= check.keys()
    names = {projection["name"] for projection in body["projections"]}
    assert {"journal.entries", "journal.days", "journal.tags", "accounts.people"} <= names
    for projection in body["projections"]:
        assert {"name", "gap_events", "gap_seconds", "status"} <= projection.keys()


def test_metrics_of_every_process(up: Up, anonymous: httpx.Client, person: Person) -> None:
    person.write("2024-01-01")

    def is_counted() -> bool:
        text = anonymous.get("/metrics").text
        return 'projection="journal.entries"' in text and "write_entry" not in text

    wait_until(is_counted, what="the projections' series are there")
    answer = anonymous.get("/metrics", headers={"X-Request-Id": "my-id_42.a"})
    assert answer.headers["X-Request-Id"] == "my-id_42.a"
    assert answer.headers["Content-Type"].startswith("text/plain")
    roles = {name for name in up.processes() if name not in ("postgres", "valkey")}
    for role in roles:
        assert f'process="{role}"' in answer.text, role
    for name in ("journal.entries", "journal.days", "journal.tags", "accounts.people"):
        assert f'projection="{name}"' in answer.text, name
    assert person.email not in answer.text
    assert person.id not in answer.text
    assert "RateLimit" not in answer.headers


def test_what_is_logged_is_not_private(up: Up, people: People) -> None:
    secret = f"secret-{uuid.uuid4()}"
    person = people.new(display_name=secret)
    person.write("2024-01-01", title=secret, content=secret)
    person.post("/v1/journal/entries", {"date": "2024-01-02", "title": secret, "content": ""})
    person.get("/v1/journal/entries", params={"tag": secret, "limit": "0"})
    person.get("/v1/journal/tags/suggest", params={"prefix": secret})
    people.anonymous.post("/v1/auth/login", json={"email": person.email, "password": secret})
    person.http.post("/v1/journal/entries", content=b'{"title": "' + secret.encode())
    person.ended(person.begin_import(b'{"title": "' + secret.encode() + b'"}'))
    logs = [path for path in (up.home / "log").rglob("*") if path.is_file()]
    assert logs
    for path in logs:
        text = path.read_text(errors="replace")
        assert secret not in text, path
        assert person.email not in text, path
        assert person.refresh_token not in text, path
