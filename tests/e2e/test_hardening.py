"""Slow and greedy clients are cut off, and no log of any process has what people wrote."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.conftest import OPERATOR, WITHOUT_LIMITS
from tests.support.people import People, people_at
from tests.support.servers import wait_until
from tests.support.upped import Up, prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CANARY = "canary7b1f"


@pytest.fixture(scope="module")
def impatient() -> Iterator[Up]:
    """A system that waits half a second for a body."""
    with prepared(**WITHOUT_LIMITS, MINDSTREAM_BODY_TIMEOUT="0.5") as up:
        up.start()
        yield up


@pytest.fixture(scope="module")
def people(impatient: Up) -> Iterator[People]:
    with people_at(impatient.gateway) as found:
        yield found


def asked(up: Up, head: str, body: bytes = b"") -> tuple[str, float]:
    """The beginning of the answer to a request whose body goes no further, and how long it took."""
    with socket.create_connection(("127.0.0.1", up.port), timeout=30) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        began = time.monotonic()
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(65_536)
            assert piece, "closed without an answer"
            answer += piece
        return answer.decode(), time.monotonic() - began


def post(people: People, path: str, length: int) -> str:
    token = people.new().http.headers["authorization"]
    return (
        f"POST {path} HTTP/1.1\nHost: x\nAuthorization: {token}\n"
        f"Content-Type: application/json\nContent-Length: {length}"
    )


@pytest.mark.parametrize("length", [100, 200_000])
def test_a_body_that_does_not_come_is_cut_off(impatient: Up, people: People, length: int) -> None:
    answer, seconds = asked(impatient, post(people, "/v1/journal/entries", length), b'{"title"')
    assert answer.startswith("HTTP/1.1 408 ")
    assert seconds < 20
    for header in ("x-content-type-options: nosniff", "referrer-policy: no-referrer"):
        assert header in answer.lower()


def test_a_body_that_is_announced_too_long_is_refused_at_once(
    impatient: Up, people: People
) -> None:
    answer, seconds = asked(impatient, post(people, "/v1/journal/entries", 50_000_000))
    assert answer.startswith("HTTP/1.1 413 ")
    assert seconds < 5


def test_no_log_has_what_somebody_wrote(impatient: Up, people: People) -> None:
    person = people.new(display_name=CANARY, username=f"u-{CANARY}")
    agent = {"User-Agent": f"{CANARY}/1.0"}
    body = {"date": "2026-03-01", "title": CANARY, "content": CANARY, "tags": [CANARY]}
    written = person.http.post("/v1/journal/entries", json=body, headers=agent)
    assert written.status_code == 201
    person.http.get("/v1/journal/entries", params={"tag": CANARY, "nonsense": CANARY})
    person.http.post("/v1/journal/entries", content=f'{{"{CANARY}": ', headers=agent)
    person.http.patch("/v1/me", json={"bio": CANARY, CANARY: 1}, headers={"If-Match": '"1"'})
    lines = f'{{"date": "2026-03-02", "title": "{CANARY}", "content": "{CANARY}"}}\n{CANARY}\n'
    accepted = person.http.post(
        "/v1/journal/import",
        content=lines,
        headers={"Content-Type": "application/x-ndjson"},
    )
    with httpx.Client(base_url=impatient.gateway, timeout=30) as anybody:
        wrong = {"email": f"{CANARY}@example.org", "password": CANARY}
        assert anybody.post("/v1/auth/login", json=wrong).status_code == 401
        anybody.post("/v1/auth/refresh", json={"refresh_token": CANARY})
        for headers in ({"Authorization": f"Bearer {CANARY}"}, {"X-API-Key": CANARY}):
            assert anybody.get(f"/v1/me?q={CANARY}", headers=headers).status_code == 401
        login = {"email": OPERATOR[0], "password": OPERATOR[1]}
        token = anybody.post("/v1/auth/login", json=login).json()["data"]["access_token"]
        operator = {"Authorization": f"Bearer {token}"}
        rebuild = anybody.post(
            "/v1/ops/projections/journal.entries/rebuild", json={}, headers=operator
        )
        for accepted_one, headers in (
            (accepted, dict(person.http.headers)),
            (rebuild, operator),
        ):
            location = accepted_one.headers["Location"]
            wait_until(
                lambda at=location, by=headers: (
                    anybody.get(at, headers=by).json()["data"]["state"] == "succeeded"
                ),
                what="the work is done",
            )
    logs = {path.name: path.read_text() for path in (impatient.home / "log").iterdir()}
    processes = set(impatient.processes())
    assert {f"{name}.log" for name in processes} <= set(logs)
    assert [name for name, text in logs.items() if CANARY in text] == []
