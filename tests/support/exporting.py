"""People with a life, and their exports: both APIs and a worker's parts in this process.

Owns how somebody lives enough for an export to have something of everything.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import msgspec
from uuid_utils.compat import uuid7

from adapters.exports import PostgresExports
from bootstrap.settings import Settings
from bootstrap.wiring.exports import exporting, files
from bootstrap.wiring.write_side import WriteSide
from domain.export import EXPORT
from tests.support.accounts import PASSWORD
from tests.support.apps import served
from tests.support.generated_diary import GeneratedDiary
from workers.exports.work import Exporting, export_person
from workers.journal import Importing, import_journal

NDJSON = {"content-type": "application/x-ndjson"}
CONSENT = {
    "terms_version": "1",
    "privacy_policy_version": "1",
    "data_processing": True,
    "marketing": False,
}
OPERATOR = ("ops@example.org", "an operator's long password 9")
ADDRESS = "192.0.2.7"
_numbers = itertools.count(1)


class House(msgspec.Struct):
    """A client of both APIs, and what a worker has."""

    api: httpx.AsyncClient
    side: WriteSide
    exporting: Exporting
    importing: Importing
    settings: Settings

    @property
    def files(self) -> PostgresExports:
        return files(self.side.bulk, self.side.keys)


@asynccontextmanager
async def running_house(settings: Settings, signing_key: bytes) -> AsyncIterator[House]:
    """A house on these servers."""
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    changed = msgspec.structs.replace(
        settings,
        jwt_private_key_file=pem,
        rate_limit_per_minute=1_000_000,
        operator_email=OPERATOR[0],
        operator_password=OPERATOR[1],
    )
    side = WriteSide(changed)
    async with served(changed, ADDRESS) as api, side.opened(), exporting(side) as export:
        importing = Importing(
            side.operations, side.store, side.bus.dispatch, uuid7, infers=side.moods.learn
        )
        yield House(api, side, export, importing, changed)


class Somebody:
    """A person who is logged in."""

    def __init__(self, house: House, email: str, password: str = PASSWORD) -> None:
        self.house = house
        self.email = email
        self.password = password
        self.id = ""
        self.token = ""
        self.headers: dict[str, str] = {}

    async def log_in(self) -> None:
        body = {"email": self.email, "password": self.password}
        agent = {"user-agent": f"agent of {self.email}"}
        answer = await self.house.api.post("/v1/auth/login", json=body, headers=agent)
        assert answer.status_code == 200, answer.text
        self.token = answer.headers["consistency-token"]
        self.headers = {"authorization": f"Bearer {answer.json()['data']['access_token']}"}

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        sent = self.headers | {k.replace("_", "-"): v for k, v in headers.items()}
        answer = await self.house.api.request(method, path, json=body, headers=sent)
        assert answer.status_code < 300, answer.text
        if method != "GET":
            self.token = answer.headers.get("consistency-token", self.token)
        return answer

    async def get(self, path: str) -> Any:
        """What a read answers that includes every write of this person."""
        answer = await self.call("GET", path, consistency_token=self.token, prefer="wait=10")
        return answer.json()["data"]

    async def all(self, path: str) -> list[Any]:
        items: list[Any] = []
        cursor = ""
        while True:
            answer = await self.call(
                "GET", f"{path}?limit=100{cursor}", consistency_token=self.token, prefer="wait=10"
            )
            items += answer.json()["data"]
            if answer.json()["meta"]["next_cursor"] is None:
                return items
            cursor = f"&cursor={answer.json()['meta']['next_cursor']}"

    async def keep_a_diary(self, raw: bytes) -> None:
        accepted = await self.house.api.post(
            "/v1/journal/import", content=raw, headers=self.headers | NDJSON
        )
        assert accepted.status_code == 202, accepted.text
        await import_journal(UUID(accepted.json()["data"]["id"]), self.house.importing)
        done = await self.call("GET", accepted.headers["location"])
        self.token = done.headers["consistency-token"]

    async def ask(self, **headers: str) -> UUID:
        accepted = await self.call("POST", "/v1/me/export", **headers)
        assert accepted.status_code == 202
        assert accepted.json()["data"]["kind"] == EXPORT
        return UUID(accepted.headers["location"].removeprefix("/v1/operations/"))

    async def operation(self, operation_id: UUID) -> dict[str, Any]:
        found: dict[str, Any] = await self.get(f"/v1/operations/{operation_id}")
        return found

    async def exported(self) -> zipfile.ZipFile:
        """An export, as its link gives it to somebody without a login."""
        operation_id = await self.ask()
        await export_person(operation_id, self.house.exporting)
        operation = await self.operation(operation_id)
        assert operation["state"] == "succeeded", operation
        assert operation["progress"] == 1
        answer = await self.house.api.get(operation["result"]["download_url"])
        assert answer.status_code == 200, answer.text
        assert len(answer.content) == operation["result"]["size_bytes"]
        assert hashlib.sha256(answer.content).hexdigest() == operation["result"]["sha256"]
        return zipfile.ZipFile(io.BytesIO(answer.content))


async def somebody(house: House, name: str = "Ada", **changes: Any) -> Somebody:
    email = f"{name.lower()}{next(_numbers)}@example.org"
    body = {"email": email, "password": PASSWORD, "display_name": name, "consent": CONSENT}
    agent = {"user-agent": f"agent of {email}"}
    answer = await house.api.post("/v1/auth/register", json=body | changes, headers=agent)
    assert answer.status_code == 201, answer.text
    person = Somebody(house, email)
    person.id = answer.json()["data"]["id"]
    await person.log_in()
    return person


def read(bundle: zipfile.ZipFile, path: str) -> Any:
    return json.loads(bundle.read(path))


async def lived(house: House, name: str) -> Somebody:
    """A person with something of everything."""
    person = await somebody(house, name, username=f"{name.lower()}-{next(_numbers)}")
    canary = f"canary-{name}"
    version = (await person.get("/v1/me"))["version"]
    changes = {"bio": canary, "preferences": {"infer_mood": True}, "timezone": "Asia/Tokyo"}
    await person.call("PATCH", "/v1/me", changes, if_match=f'"{version}"')
    await person.call("PUT", "/v1/me/consent", {**CONSENT, "marketing": True})
    await person.call("PUT", "/v1/me/consent", {**CONSENT, "data_processing": False})
    await person.keep_a_diary(GeneratedDiary(230, seed=len(name)).raw)
    for day in range(1, 4):
        entry = {
            "date": f"2026-03-0{day}",
            "title": f"{canary} title",
            "content": f"{canary} {day}",
            "tags": [canary, f"day {day}"],
        }
        made = (await person.call("POST", "/v1/journal/entries", entry)).json()["data"]
        path = f"/v1/journal/entries/{made['id']}"
        await person.call("PATCH", path, {"content": f"{canary} revised"}, if_match='"1"')
        if day > 1:
            await person.call("DELETE", path, if_match='"2"')
        if day > 2:
            await person.call("POST", f"{path}/restore")
    made = {"name": f"key of {canary}", "permissions": ["journal:read"]}
    await person.call("POST", "/v1/api-keys", made)
    await person.call("POST", "/v1/auth/logout")
    await person.log_in()
    return person
