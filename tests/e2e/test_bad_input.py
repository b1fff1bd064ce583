"""Bad input of every kind, everywhere: a 4xx that names the field and the rule, and no trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.people import ENTRY, People, Person, registration, token_of
from tests.support.upped import Up

EMOJI = "\N{GRINNING FACE}"
UNSOUND_JSON: dict[str, bytes] = {
    "empty": b"",
    "space": b"  \n ",
    "cut off": b'{"title": "a',
    "trailing comma": b'{"title": "a",}',
    "two values": b"{} {}",
    "single quotes": b"{'title': 'a'}",
    "NaN": b'{"title": NaN}',
    "Infinity": b'{"title": -Infinity}',
    "UTF-16": '{"title": "a"}'.encode("utf-16"),
    "Latin-1": '{"title": "é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"title": "\xc0\xaf"}',
    "UTF-8 surrogate": b'{"title": "\xed\xa0\x80"}',
    "raw NUL": b'{"title": "a\x00b"}',
    "raw newline": b'{"title": "a\nb"}',
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "not JSON at all": b"<xml/>",
    "only a brace": b"}",
    "bad escape": b'{"title": "\\x41"}',
    "half escape": b'{"title": "\\u12"}',
}
WRONG_SHAPES: dict[str, bytes] = {
    "null": b"null",
    "list": b"[]",
    "text": b'"text"',
    "number": b"1e5",
    "truth": b"true",
    "deep but sound": b'{"date": ' + b"[" * 300 + b"]" * 300 + b"}",
    "huge number": b'{"date": ' + b"9" * 400 + b"}",
    "huge exponent": b'{"date": 1e999999}',
}
BODIES = (
    ("POST", "/v1/journal/entries"),
    ("PATCH", "/v1/journal/entries/{entry}"),
    ("PATCH", "/v1/me"),
    ("PUT", "/v1/me/consent"),
    ("POST", "/v1/auth/register"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/refresh"),
)
"""Every call that takes a JSON body."""


@pytest.fixture(scope="module")
def writer(people: People) -> Iterator[tuple[Person, str, list[dict[str, Any]]]]:
    """A person with one entry, its id, and the check that nothing else ever came of it all."""
    person = people.new()
    written = person.write("2024-01-01")
    before = person.whole_list(token_of(written))
    yield person, before[0]["id"], before
    probe = person.patch("/v1/me", {"bio": "probe"})
    assert person.whole_list(token_of(probe)) == before
    tags = person.get("/v1/journal/tags", headers=token_of(probe)).json()["data"]
    assert tags == []


def _problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["success"] is False
    assert problem["message"]
    assert problem["detail"]
    assert problem["code"].isupper()
    assert "Traceback" not in answer.text
    return problem


def _faults(answer: httpx.Response) -> dict[str, str]:
    problem = _problem(answer, 422)
    assert all(fault["message"] and "code" in fault for fault in problem["errors"])
    return {fault["field"]: fault["code"] for fault in problem["errors"]}


def _send(
    person: Person, entry: str, call: tuple[str, str], body: bytes, **headers: str
) -> httpx.Response:
    method, path = call
    given = {"Content-Type": "application/json", "If-Match": '"1"', **headers}
    return person.http.request(method, path.format(entry=entry), content=body, headers=given)


@pytest.mark.parametrize("call", BODIES, ids=" ".join)
def test_what_is_not_json(writer: tuple[Person, str, Any], call: tuple[str, str]) -> None:
    person, entry, _ = writer
    for name, body in UNSOUND_JSON.items():
        problem = _problem(_send(person, entry, call, body), 400)
        assert problem["code"] == "MALFORMED_JSON", name


@pytest.mark.parametrize("call", BODIES, ids=" ".join)
def test_json_of_another_shape(writer: tuple[Person, str, Any], call: tuple[str, str]) -> None:
    person, entry, _ = writer
    for name, body in WRONG_SHAPES.items():
        assert _faults(_send(person, entry, call, body)), name


@pytest.mark.parametrize("call", BODIES, ids=" ".join)
def test_bodies_that_are_too_large_or_of_another_type(
    writer: tuple[Person, str, Any], call: tuple[str, str]
) -> None:
    person, entry, _ = writer
    large = b'{"title": "' + b"x" * (1024 * 1024) + b'"}'
    assert _problem(_send(person, entry, call, large), 413)["code"] == "PAYLOAD_TOO_LARGE"
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "multipart/form-data; boundary=x",
        "nonsense",
    ):
        answer = _send(person, entry, call, b"{}", **{"Content-Type": kind})
        assert _problem(answer, 415)["code"] == "UNSUPPORTED_MEDIA_TYPE", kind


@pytest.mark.parametrize("call", BODIES, ids=" ".join)
def test_unknown_and_misnamed_fields(
    writer: tuple[Person, str, Any], call: tuple[str, str]
) -> None:
    person, entry, _ = writer
    for name in ("colour", "Title", "id", "user_id", "version", "__proto__", "", EMOJI, "a.b"):
        answer = _send(person, entry, call, json.dumps({name: 1}).encode())
        assert _faults(answer)[name] == "unknown_field", name


WRONG: dict[str, list[tuple[Any, str]]] = {
    "date": [
        ("2024-02-30", "invalid_format"),
        ("2023-02-29", "invalid_format"),
        ("0000-01-01", "invalid_format"),
        ("10000-01-01", "invalid_format"),
        ("-001-01-01", "invalid_format"),
        ("2024-1-1", "invalid_format"),
        ("2024-13-01", "invalid_format"),
        ("2024-01-01T00:00:00Z", "invalid_format"),
        ("01.02.2024", "invalid_format"),
        ("٢٠٢٤-٠١-٠١", "invalid_format"),
        ("2024-01-01\0", "invalid_character"),
        ("", "invalid_format"),
        (20240101, "wrong_type"),
        (None, "wrong_type"),
        ([], "wrong_type"),
        ({}, "wrong_type"),
    ],
    "title": [
        ("", "too_short"),
        ("t" * 201, "too_long"),
        (EMOJI * 201, "too_long"),
        ("a\0b", "invalid_character"),
        ("\ud800", "invalid_character"),
        ("a\udfffb", "invalid_character"),
        (7, "wrong_type"),
        (True, "wrong_type"),
        (None, "wrong_type"),
        (["t"], "wrong_type"),
    ],
    "content": [
        ("", "too_short"),
        ("x" * 10_001, "too_long"),
        (EMOJI * 10_001, "too_long"),
        ("\ud83d\ud83d", "invalid_character"),
        ("\0", "invalid_character"),
        ({"markdown": "x"}, "wrong_type"),
    ],
    "mood": [("HAPPY", "not_allowed"), ("", "not_allowed"), (1, "wrong_type"), ([], "wrong_type")],
    "location": [("l" * 201, "too_long"), (5, "wrong_type"), ("a\0", "invalid_character")],
    "weather": [("w" * 101, "too_long"), (False, "wrong_type")],
    "is_private": [("true", "wrong_type"), (1, "wrong_type"), (None, "wrong_type")],
}
WRONG_TAGS: list[tuple[Any, str, str]] = [
    ("tag", "tags", "wrong_type"),
    ({"a": 1}, "tags", "wrong_type"),
    ([1], "tags.0", "wrong_type"),
    (["fine", None], "tags.1", "wrong_type"),
    (["fine", ""], "tags.1", "too_short"),
    (["fine", " \u00a0 "], "tags.1", "too_short"),
    (["a", "b", "c", "x" * 51], "tags.3", "too_long"),
    ([f"tag {n}" for n in range(51)], "tags", "too_long"),
    (["a\0b"], "tags.0", "invalid_character"),
    (["\ud800"], "tags.0", "invalid_character"),
]


@pytest.mark.parametrize("field", WRONG)
def test_wrong_values_of_an_entry(writer: tuple[Person, str, Any], field: str) -> None:
    person, entry, _ = writer
    for value, code in WRONG[field]:
        whole = json.dumps({**ENTRY, "date": "2024-02-02", field: value}).encode()
        assert _faults(_send(person, entry, BODIES[0], whole)) == {field: code}, value
        part = json.dumps({field: value}).encode()
        assert _faults(_send(person, entry, BODIES[1], part)) == {field: code}, value


def test_wrong_tags(writer: tuple[Person, str, Any]) -> None:
    person, entry, _ = writer
    for value, field, code in WRONG_TAGS:
        whole = json.dumps({**ENTRY, "date": "2024-02-02", "tags": value}).encode()
        assert _faults(_send(person, entry, BODIES[0], whole)) == {field: code}, value
        part = json.dumps({"tags": value}).encode()
        assert _faults(_send(person, entry, BODIES[1], part)) == {field: code}, value


def test_all_faults_come_at_once(writer: tuple[Person, str, Any]) -> None:
    person, entry, _ = writer
    body = {"title": "", "mood": "so-so", "tags": ["ok", "x" * 51], "is_private": 3, "x": 1}
    assert _faults(_send(person, entry, BODIES[0], json.dumps(body).encode())) == {
        "date": "required",
        "content": "required",
        "title": "too_short",
        "mood": "not_allowed",
        "tags.1": "too_long",
        "is_private": "wrong_type",
        "x": "unknown_field",
    }


def test_what_is_just_within_the_rules_is_taken(person: Person) -> None:
    body = {
        "title": EMOJI * 200,
        "content": EMOJI * 10_000,
        "location": "é" * 200,
        "weather": "\u0301" * 100,
        "tags": [f"{EMOJI}{n}" for n in range(49)] + ["İ" * 25],
        "mood": None,
    }
    written = person.write("0001-01-01", **body)
    read = person.get(written.headers["Location"], headers=token_of(written)).json()["data"]
    assert read["content"] == body["content"]
    assert read["title"] == body["title"]
    assert len(read["tags"]) == 50
    weird = "quotes \" ' \\ / <script> %00 {{}} ${x} \u202e \ufeff \U0010ffff \x01"
    written = person.write("9999-12-31", title=weird, content=weird)
    read = person.get(written.headers["Location"], headers=token_of(written)).json()["data"]
    assert read["title"] == read["content"] == weird


def test_wrong_registrations_leave_nothing(people: People) -> None:
    wrong: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"email": "no address"}, {"email": "invalid_format"}),
        ({"email": ""}, {"email": "too_short"}),
        ({"email": "a@b@c.org"}, {"email": "invalid_format"}),
        ({"email": "a" * 255 + "@example.org"}, {"email": "too_long"}),
        ({"email": "a\0@example.org"}, {"email": "invalid_character"}),
        ({"email": 1}, {"email": "wrong_type"}),
        ({"password": "short"}, {"password": "too_short"}),
        ({"password": None}, {"password": "wrong_type"}),
        ({"display_name": ""}, {"display_name": "too_short"}),
        ({"display_name": "x" * 101}, {"display_name": "too_long"}),
        ({"username": "a b"}, {"username": "invalid_format"}),
        ({"username": "ab"}, {"username": "too_short"}),
        ({"username": "a" * 40}, {"username": "too_long"}),
        ({"timezone": "Mars/Olympus"}, {"timezone": "invalid_format"}),
        ({"timezone": "../../etc/passwd"}, {"timezone": "invalid_format"}),
        ({"language": "de"}, {"language": "not_allowed"}),
        ({"consent": {}}, {f"consent.{n}": "required" for n in registration("")["consent"]}),
        ({"consent": None}, {"consent": "wrong_type"}),
        ({"permissions": ["ops:write"]}, {"permissions": "unknown_field"}),
        ({"tier": "gold"}, {"tier": "unknown_field"}),
    ]
    email = "never@example.org"
    for fields, faults in wrong:
        body = registration(email, **fields)
        answer = people.anonymous.post(
            "/v1/auth/register",
            content=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        assert _faults(answer) == faults, fields
    for common in ("password1234", "1234567890", "qwertyuiop"):
        body = registration(email, password=common)
        assert list(_faults(people.anonymous.post("/v1/auth/register", json=body))) == ["password"]
    taken = people.anonymous.post("/v1/auth/register", json=registration(email))
    assert taken.status_code == 201, "the address is still free"


QUERIES: list[tuple[str, str, str]] = [
    ("/v1/journal/entries", "limit=0", "limit"),
    ("/v1/journal/entries", "limit=101", "limit"),
    ("/v1/journal/entries", "limit=-1", "limit"),
    ("/v1/journal/entries", "limit=ten", "limit"),
    ("/v1/journal/entries", "limit=1e1", "limit"),
    ("/v1/journal/entries", "limit=99999999999999999999999", "limit"),
    ("/v1/journal/entries", "limit=", "limit"),
    ("/v1/journal/entries", "limit=1&limit=2", "limit"),
    ("/v1/journal/entries", "limit=%D9%A1", "limit"),
    ("/v1/journal/entries", "sort=title", "sort"),
    ("/v1/journal/entries", "sort=date;drop", "sort"),
    ("/v1/journal/entries", "date_from=2024-02-30", "date_from"),
    ("/v1/journal/entries", "date_to=yesterday", "date_to"),
    ("/v1/journal/entries", "mood=hangry", "mood"),
    ("/v1/journal/entries", "is_private=maybe", "is_private"),
    ("/v1/journal/entries", "tag=%00", "tag.0"),
    ("/v1/journal/entries", "tag=%ff%fe", "tag.0"),
    ("/v1/journal/entries", "offset=5", "offset"),
    ("/v1/journal/entries", "cursor=%00", "cursor"),
    ("/v1/journal/entries", "cursor=", "cursor"),
    ("/v1/journal/entries", "cursor=" + "A" * 5000, "cursor"),
    ("/v1/journal/entries/{entry}/history", "version=0", "version"),
    ("/v1/journal/entries/{entry}/history", "version=-1", "version"),
    ("/v1/journal/entries/{entry}/history", "version=one", "version"),
    ("/v1/journal/entries/{entry}/history", "version=99999999999", "version"),
    ("/v1/journal/entries/{entry}/history", "limit=0", "limit"),
    ("/v1/journal/tags", "limit=101", "limit"),
    ("/v1/journal/tags", "prefix=a", "prefix"),
    ("/v1/journal/tags/suggest", "prefix=" + "x" * 51, "prefix"),
    ("/v1/journal/tags/suggest", "prefix=%00", "prefix"),
    ("/v1/analytics/words", "from=%00", "from"),
    ("/v1/analytics/words", "from=" + "1" * 5000, "from"),
    ("/v1/analytics/words", "to=2024-02-30", "to"),
    ("/v1/analytics/mood", "tz=%ff", "tz"),
    ("/v1/analytics/mood", "tz=../etc/passwd", "tz"),
    ("/v1/analytics/activity", "group_by=mood", "group_by"),
    ("/v1/journal/calendar/0/1", "", "year"),
    ("/v1/journal/calendar/10000/1", "", "year"),
    ("/v1/journal/calendar/-5/1", "", "year"),
    ("/v1/journal/calendar/2024/0", "", "month"),
    ("/v1/journal/calendar/2024/13", "", "month"),
    ("/v1/journal/calendar/2024/May", "", "month"),
    ("/v1/journal/calendar/%D9%A2/1", "", "year"),
    ("/v1/journal/calendar/2024/5", "x=1", "x"),
    ("/v1/journal/streak", "x=1", "x"),
    ("/v1/me", "x=1", "x"),
]


@pytest.mark.parametrize(("path", "query", "field"), QUERIES)
def test_wrong_parameters(
    writer: tuple[Person, str, Any], path: str, query: str, field: str
) -> None:
    person, entry, _ = writer
    answer = person.get(f"{path.format(entry=entry)}?{query}")
    assert list(_faults(answer)) == [field]


def test_too_many_parameters(writer: tuple[Person, str, Any]) -> None:
    person = writer[0]
    answer = person.get("/v1/journal/entries?" + "&".join(["tag=a"] * 1_500))
    _problem(answer, 400, 422, 414)


@pytest.mark.parametrize(
    "ident",
    [
        "1",
        "null",
        "undefined",
        "%00",
        "%ff",
        "..%2f..%2fme",
        "00000000-0000-0000-0000-00000000000g",
        "00000000-0000-0000-0000-000000000000",
        "'; DROP TABLE events; --",
        "x" * 3_000,
        EMOJI,
    ],
)
def test_ids_of_any_form_are_unknown(writer: tuple[Person, str, Any], ident: str) -> None:
    person = writer[0]
    quoted = ident if "%" in ident else httpx.URL("http://x/").copy_with(path="/" + ident).raw_path
    ident = quoted.decode()[1:] if isinstance(quoted, bytes) else quoted
    entry, operation = f"/v1/journal/entries/{ident}", f"/v1/operations/{ident}"
    for answer in (
        person.get(entry),
        person.get(entry + "/history"),
        person.patch(entry, {"title": "t"}, 1),
        person.delete(entry, 1),
        person.post(entry + "/restore"),
        person.get(operation),
        person.http.delete(operation),
    ):
        assert _problem(answer, 404)["code"] == "NOT_FOUND"


def test_wrong_headers(writer: tuple[Person, str, Any]) -> None:
    person, entry, _ = writer
    path = f"/v1/journal/entries/{entry}"
    for wrong in ("1", "'1'", "", '"1', "nonsense"):
        answer = person.http.patch(path, json={"title": "t"}, headers={"If-Match": wrong})
        _problem(answer, 400)
    for never in ('"abc"', 'W/"1"', '"99999999999999999999999"', '"0"', '"-1"', '""'):
        answer = person.http.patch(path, json={"title": "t"}, headers={"If-Match": never})
        assert _problem(answer, 412)["code"] == "VERSION_STALE", never
    for key in ("k" * 256, "", "clé".encode(), b"tab\tbed"):
        answer = person.post(
            "/v1/journal/entries",
            {**ENTRY, "date": "2024-02-02"},
            headers={b"Idempotency-Key": key.encode() if isinstance(key, str) else key},
        )
        assert list(_faults(answer)) == ["Idempotency-Key"], key
    long_key = person.post(
        "/v1/journal/entries",
        {**ENTRY, "date": "2024-01-01"},
        headers={"Idempotency-Key": "k" * 255},
    )
    assert long_key.status_code == 409


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "multipart/form-data"])
def test_imports_of_another_type(writer: tuple[Person, str, Any], kind: str) -> None:
    answer = writer[0].http.post(
        "/v1/journal/import", content=b"{}", headers={"Content-Type": kind} if kind else {}
    )
    _problem(answer, 415)


def test_imports_of_no_diary_write_nothing(writer: tuple[Person, str, Any]) -> None:
    person = writer[0]
    for body in (b"", b"\n\n\n", b"\xff\xfe\x00\x01" * 50, b"[[[[", b"\0" * 5_000):
        operation, _ = person.ended(person.begin_import(body))
        assert operation["state"] == "succeeded"
        assert operation["result"]["accepted"] == 0


def test_raw_requests_never_make_a_500(up: Up) -> None:
    """What no client library would send."""
    import socket

    requests = [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET /v1/me\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://elsewhere/v1/me HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"GET /v1/me HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"TRACE /v1/me HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get /v1/me HTTP/1.1\r\nHost: x\r\n\r\n",
        b"BREW /v1/me HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    for request in requests:
        with socket.create_connection(("127.0.0.1", up.port), timeout=10) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while piece := connection.recv(65_536):
                    answer += piece
            except ConnectionResetError:
                pass
        status = answer.split(b" ")[1][:1] if answer.startswith(b"HTTP/") else b"closed"
        assert status in (b"2", b"4", b"closed"), (request[:80], answer[:200])
        if status == b"4":
            assert b"application/problem+json" in answer, (request[:80], answer[:200])
            assert b"nosniff" in answer
