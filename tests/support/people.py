"""People who use a running system over HTTP, as clients of its gateway.

Owns how somebody registers, logs in, and says that a read must include a write.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.support.servers import wait_until

PASSWORD = "a horse, a battery and 7 staples"
ENTRY = {"title": "A day", "content": "Up, and to the office."}
_NUMBERS = itertools.count(1)
_RUN = os.urandom(4).hex()


def token_of(answer: httpx.Response) -> dict[str, str]:
    """Headers of a read that must include this write."""
    return {"Consistency-Token": answer.headers["Consistency-Token"], "Prefer": "wait=10"}


class Person:
    """Somebody who is logged in, and their client."""

    def __init__(self, base_url: str, email: str, data: dict[str, Any], tokens: Any) -> None:
        self.email = email
        self.id: str = data["id"]
        self.profile = data
        self.refresh_token: str = tokens["refresh_token"]
        self.authorization = f"Bearer {tokens['access_token']}"
        self.http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": self.authorization},
            timeout=30,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
        )

    def get(self, path: str, **more: Any) -> httpx.Response:
        """GET."""
        return self.http.get(path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """POST a JSON body."""
        return self.http.post(path, json=body, **more)

    def patch(self, path: str, body: Any, version: object = "*", **headers: str) -> httpx.Response:
        """PATCH on a version."""
        return self.http.patch(path, json=body, headers={"If-Match": tag(version), **headers})

    def delete(self, path: str, version: object = "*", **headers: str) -> httpx.Response:
        """DELETE of a version."""
        return self.http.delete(path, headers={"If-Match": tag(version), **headers})

    def write(self, date: object, **fields: Any) -> httpx.Response:
        """POST an entry that is expected to be taken."""
        answer = self.post("/v1/journal/entries", {**ENTRY, "date": str(date), **fields})
        assert answer.status_code == 201, answer.text
        return answer

    def whole_list(self, fresh: dict[str, str] | None = None, **query: Any) -> list[dict[str, Any]]:
        """All items of the list of entries, page by page."""
        items: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"limit": 100, **query}
        while True:
            page = self.get("/v1/journal/entries", params=asked, headers=fresh)
            assert page.status_code == 200, page.text
            body = page.json()
            items += body["data"]
            if body["meta"]["next_cursor"] is None:
                return items
            asked["cursor"] = body["meta"]["next_cursor"]

    def begin_import(self, diary: bytes, **headers: str) -> str:
        """Upload a diary; returns where its operation is."""
        accepted = self.http.post(
            "/v1/journal/import",
            content=diary,
            headers={"Content-Type": "application/x-ndjson", **headers},
        )
        assert accepted.status_code == 202, accepted.text
        return accepted.headers["Location"]

    def ended(self, path: str, *, seconds: float = 90) -> tuple[dict[str, Any], dict[str, str]]:
        """Wait for an operation; itself, and the headers of reads that include what it did."""
        last: list[httpx.Response] = []

        def is_over() -> bool:
            try:
                answer = self.get(path)
            except httpx.TransportError:  # a server is being killed: ask again
                return False
            last[:] = [answer]
            return answer.status_code == 200 and answer.json()["data"]["finished_at"] is not None

        try:
            wait_until(is_over, seconds=seconds, what="the operation has ended")
        except AssertionError as error:
            raise AssertionError(f"{error}: {last[0].text if last else 'no answer'}") from None
        return last[0].json()["data"], token_of(last[0])


def tag(version: object) -> str:
    """An entity tag."""
    return "*" if version == "*" else f'"{version}"'


class People:
    """Registers people at one gateway, and closes their clients in the end."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.anonymous = httpx.Client(base_url=base_url, timeout=30)
        self._all: list[Person] = []

    def new(self, **fields: Any) -> Person:
        """Register somebody and log them in."""
        email = f"person-{next(_NUMBERS)}-{_RUN}@example.org"
        body = registration(email, **fields)
        registered = self.anonymous.post("/v1/auth/register", json=body)
        assert registered.status_code == 201, registered.text
        return self.log_in(email, body["password"])

    def log_in(self, email: str, password: str = PASSWORD) -> Person:
        """Log somebody in who is registered."""
        answer = self.anonymous.post("/v1/auth/login", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        tokens = answer.json()["data"]
        me = self.anonymous.get(
            "/v1/me", headers={"Authorization": f"Bearer {tokens['access_token']}"} | _ten(answer)
        )
        assert me.status_code == 200, me.text
        person = Person(self.base_url, email, me.json()["data"], tokens)
        self._all.append(person)
        return person

    def close(self) -> None:
        """Close every client."""
        self.anonymous.close()
        for person in self._all:
            person.http.close()


def _ten(answer: httpx.Response) -> dict[str, str]:
    return token_of(answer) if "Consistency-Token" in answer.headers else {}


def registration(email: str, /, **fields: Any) -> dict[str, Any]:
    """A sound body of a registration."""
    return {
        "email": email,
        "password": PASSWORD,
        "display_name": "Samuel",
        "consent": {
            "terms_version": "1",
            "privacy_policy_version": "1",
            "data_processing": True,
            "marketing": False,
        },
        **fields,
    }


@contextmanager
def people_at(base_url: str) -> Iterator[People]:
    """``People`` whose clients are closed in the end."""
    people = People(base_url)
    try:
        yield people
    finally:
        people.close()


def lines(*entries: dict[str, Any] | bytes) -> bytes:
    """NDJSON of these entries; bytes stand as they are."""
    return b"\n".join(
        entry if isinstance(entry, bytes) else json.dumps(entry).encode() for entry in entries
    )
