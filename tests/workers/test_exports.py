"""Everything about a person as a ZIP: that it is all and theirs alone, and how it is had."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import io
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.exports import PostgresExports
from adapters.http.links import Links
from bootstrap.settings import Settings
from bootstrap.wiring.exports import exporting, files
from bootstrap.wiring.write_side import WriteSide
from domain.export import EXPORT, Overtaken
from tests.support.accounts import PASSWORD
from tests.support.apps import served
from tests.support.generated_diary import GeneratedDiary
from tests.support.servers import Database
from tests.support.waiting import eventually_async
from workers import operations as leases
from workers.exports import work
from workers.exports.work import Exporting, export_person
from workers.journal import Importing, import_journal
from write_api.exports import AT_MOST

pytestmark = pytest.mark.anyio

NDJSON = {"content-type": "application/x-ndjson"}
CONSENT = {
    "terms_version": "1",
    "privacy_policy_version": "1",
    "data_processing": True,
    "marketing": False,
}
OPERATOR = ("ops@example.org", "an operator's long password 9")


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


@pytest.fixture(scope="module")
async def house(settings: Settings, signing_key: bytes) -> AsyncIterator[House]:
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
    async with served(changed) as api, side.opened(), exporting(side) as export:
        importing = Importing(side.operations, side.store, side.bus.dispatch, uuid7)
        yield House(api, side, export, importing, changed)


_numbers = iter(range(1, 1_000))


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
    await person.call("POST", "/v1/auth/logout")
    await person.log_in()
    return person


async def test_all_that_the_api_shows_is_in_it_and_nothing_of_another_person(
    house: House, database: Database
) -> None:
    ada, eve = await lived(house, "Ada"), await lived(house, "Evelyn")
    bundle = await ada.exported()

    assert bundle.testzip() is None
    text = {path: bundle.read(path) for path in bundle.namelist()}
    for path, content in text.items():
        for foreign in (eve.email, eve.id, "Evelyn", "canary-Evelyn"):
            assert foreign.encode() not in content, (path, foreign)
        assert PASSWORD.encode() not in content
        assert b"argon2" not in content

    profile = read(bundle, "accounts/profile.json")
    assert profile == await ada.get("/v1/me")

    items = read(bundle, "journal/entries.json")
    active = [one["entry"] for one in items if one["entry"]["state"] == "active"]
    shown = await ada.all("/v1/journal/entries")
    assert active == shown[::-1]
    assert len(items) == len(shown) + 1  # one is deleted
    [deleted] = [one for one in items if one["entry"]["state"] == "deleted"]
    assert deleted["entry"]["content"] == "canary-Ada revised"
    revised = [one for one in items if "canary-Ada" in one["entry"]["title"]]
    assert sorted(len(one["history"]) for one in revised) == [2, 3, 4]
    for one in [*revised, *items[:5]]:
        path = f"/v1/journal/entries/{one['entry']['id']}/history"
        assert one["history"] == await ada.all(path)

    assert read(bundle, "journal/tags.json") == await ada.all("/v1/journal/tags")

    consents = read(bundle, "accounts/consents.json")
    assert [(one["data_processing"], one["marketing"]) for one in consents] == [
        (True, False),
        (True, True),
        (False, False),
    ]
    assert consents[-1]["address"] == "192.0.2.7"

    logins = read(bundle, "accounts/logins.json")
    assert [one["ended"] for one in logins] == ["logout", None]
    assert {one["agent"] for one in logins} == {f"agent of {ada.email}"}

    for shown_login in await ada.all("/v1/me/logins"):
        [login] = [one for one in logins if one["id"] == shown_login["id"]]
        assert login["ended"] is None
        began, created = (
            datetime.datetime.fromisoformat(text)
            for text in (login["began_at"], shown_login["created_at"])
        )
        assert abs(began - created) < datetime.timedelta(seconds=5)
        for name in ("address", "agent", "last_seen", "expires_at"):
            assert login[name] == shown_login[name], name

    operations = read(bundle, "operations.json")
    assert [one["kind"] for one in operations] == ["journal.import", EXPORT]
    assert operations[0] == await ada.get(f"/v1/operations/{operations[0]['id']}")

    events = read(bundle, "events.json")
    with psycopg.connect(database.owner_dsn) as connection:
        stored = connection.execute(
            "SELECT position FROM events WHERE position(%s::bytea in data) > 0 ORDER BY 1",
            (ada.id.encode(),),
        ).fetchall()
    assert sorted(event["position"] for event in events) == [row[0] for row in stored]
    assert all(event["data"]["user_id"] == ada.id for event in events)
    assert any(event["data"].get("email") == ada.email for event in events)


async def test_the_manifest_says_what_is_in_it(house: House, tmp_path: Path) -> None:
    person = await lived(house, "Mary")
    bundle = await person.exported()
    manifest = read(bundle, "manifest.json")
    assert (manifest["format"], manifest["format_version"]) == ("mindstream.export", 1)
    assert manifest["user_id"] == person.id
    listed = {entry["path"]: entry for entry in manifest["files"]}
    assert set(bundle.namelist()) == {*listed, "manifest.json"}
    assert "README.txt" in listed
    for path, entry in listed.items():
        content = bundle.read(path)
        assert entry["size_bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["about"]
        if entry["items"] is not None:
            items = json.loads(content)
            assert len(items) == entry["items"]
            lines = content.split(b"\n")[1:-2]  # a list can be read line by line
            assert [json.loads(line.removesuffix(b",")) for line in lines] == items
    assert listed["journal/entries.json"]["items"] > 200

    if unzip := shutil.which("unzip"):
        packed = tmp_path / "export.zip"
        assert isinstance(bundle.fp, io.BytesIO)
        packed.write_bytes(bundle.fp.getvalue())
        done = await asyncio.create_subprocess_exec(
            unzip, "-t", packed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said = (await done.communicate())[0].decode()
        assert done.returncode == 0, said
        assert "No errors detected" in said


async def test_somebody_new_has_an_export_too(house: House) -> None:
    bundle = await (await somebody(house)).exported()
    assert read(bundle, "journal/entries.json") == []
    assert read(bundle, "journal/tags.json") == []
    assert len(read(bundle, "accounts/logins.json")) == 1


async def test_an_operator_is_named_to_nobody_and_sees_no_link(house: House) -> None:
    operator = Somebody(house, *OPERATOR)
    await operator.log_in()
    person = await somebody(house)
    operation_id = await person.ask()
    await export_person(operation_id, house.exporting)
    assert "download_url" in (await person.operation(operation_id))["result"]
    path = f"/v1/operations/{operation_id}"
    seen = await operator.get(path)
    assert seen["state"] == "succeeded"
    assert "download_url" not in seen["result"]
    listed = await operator.call("GET", "/v1/ops/operations?limit=100")
    assert str(operation_id) in listed.text
    assert "signature" not in listed.text
    own = await operator.ask()
    await export_person(own, house.exporting)
    assert "download_url" in (await operator.operation(own))["result"]


async def test_what_anothers_hand_did_is_shown_without_their_id() -> None:
    from domain.accounts.events import PermissionsGranted
    from domain.event import Metadata, Recorded

    me, other = uuid7(), uuid7()
    owner = work.Owner(me, me, datetime.datetime.now(datetime.UTC))
    for actor, shown in (
        (f"user:{me}", f"user:{me}"),
        (f"user:{other}", "user"),
        ("system:scheduler", "system:scheduler"),
    ):
        recorded = Recorded(
            position=1,
            stream_id=f"accounts.person-{me}",
            stream_version=2,
            tenant_id=me,
            recorded_at=owner.now,
            event=PermissionsGranted(user_id=me, permissions=("ops:read",)),
            metadata=Metadata(event_id=uuid7(), correlation_id="req_1", actor=actor),
        )
        assert work.shown(recorded, owner).actor == shown


async def test_only_oneself(house: House) -> None:
    person, other = await somebody(house), await somebody(house)
    operation_id = await person.ask()
    for method in ("GET", "DELETE"):
        answer = await house.api.request(
            method, f"/v1/operations/{operation_id}", headers=other.headers
        )
        assert answer.status_code == 404
    assert (await house.api.post("/v1/me/export")).status_code == 401


async def test_one_export_for_each_idempotency_key(house: House) -> None:
    person = await somebody(house)
    answers = await asyncio.gather(
        *(person.call("POST", "/v1/me/export", idempotency_key="one") for _ in range(8))
    )
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7
    assert await person.ask() != UUID(answers[0].json()["data"]["id"])


async def test_there_are_so_many_exports_in_a_day(house: House) -> None:
    person = await somebody(house)
    first = await person.call("POST", "/v1/me/export", idempotency_key="first")
    for _ in range(AT_MOST - 1):
        await person.ask()
    refused = await house.api.post("/v1/me/export", headers=person.headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
    assert 86_000 < int(refused.headers["retry-after"]) <= 86_400
    again = await person.call("POST", "/v1/me/export", idempotency_key="first")
    assert again.content == first.content
    assert await (await somebody(house)).ask()


class Download(msgspec.Struct):
    person: Somebody
    id: UUID
    url: str


@pytest.fixture
async def download(house: House) -> Download:
    person = await somebody(house)
    operation_id = await person.ask()
    await export_person(operation_id, house.exporting)
    result = (await person.operation(operation_id))["result"]
    return Download(person, operation_id, result["download_url"])


async def test_the_answer_is_a_file_that_nobody_keeps(house: House, download: Download) -> None:
    assert download.url.startswith(f"/v1/exports/{download.id}?")
    for method in ("GET", "HEAD"):
        answer = await house.api.request(method, download.url)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/zip"
        assert re.fullmatch(
            r'attachment; filename="mindstream-export-\d{4}-\d\d-\d\d\.zip"',
            answer.headers["content-disposition"],
        )
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        length = int(answer.headers["content-length"])
        assert length > 1_000
        assert len(answer.content) == (length if method == "GET" else 0)
    # The link is the same however often it is asked for, and needs no login but takes one.
    again = (await download.person.operation(download.id))["result"]["download_url"]
    assert again == download.url
    other = await house.api.get(download.url, headers={"authorization": "Bearer nonsense"})
    assert other.status_code == 200


async def test_a_changed_link_is_refused(house: House, download: Download) -> None:
    path, _, query = download.url.partition("?")
    expires, signature = (part.partition("=")[2] for part in query.split("&"))
    other = "B" if signature[0] == "A" else "A"
    another = await somebody(house)
    theirs = await another.ask()
    await export_person(theirs, house.exporting)
    for changed in (
        path,
        f"{path}?expires={expires}",
        f"{path}?signature={signature}",
        f"{path}?expires={int(expires) + 1}&signature={signature}",
        f"{path}?expires=0{expires}&signature={signature}",
        f"{path}?expires=&signature={signature}",
        f"{path}?expires={expires}&signature={other}{signature[1:]}",
        f"{path}?expires={expires}&signature={signature[:-1]}",
        f"{path}?expires={expires}&signature=",
        f"{path}?expires={expires}&signature=%ff%00",
        f"{path}?expires={expires}&signature=\N{GRINNING FACE}",
        f"{path}?signature={signature}&expires={expires}",
        f"{download.url}&signature={signature}",
        f"{download.url}&more=1",
        f"/v1/exports/{theirs}?{query}",
        f"/v1/exports/{uuid7()}?{query}",
        f"/v1/exports/nonsense?{query}",
    ):
        answer = await house.api.get(changed)
        assert (answer.status_code, answer.json().get("code")) == (403, "LINK_REFUSED"), changed
        assert signature not in answer.text
    assert (await house.api.get(download.url)).status_code == 200


async def test_an_expired_link_is_refused_and_its_file_swept(
    house: House, download: Download, database: Database
) -> None:
    result = (await download.person.operation(download.id))["result"]
    expires_at = datetime.datetime.fromisoformat(result["expires_at"])
    left = expires_at - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(hours=23, minutes=50) < left <= datetime.timedelta(hours=24)

    await house.files.sweep()
    assert (await house.api.get(download.url)).status_code == 200
    signing = Links(house.side.sealer.secret("links"))
    path = download.url.partition("?")[0]
    assert signing.sign(path, expires_at) == download.url
    now = datetime.datetime.now(datetime.UTC)
    for seconds, status in ((60, 200), (-1, 403)):
        link = signing.sign(path, now + datetime.timedelta(seconds=seconds))
        assert (await house.api.get(link)).status_code == status, seconds

    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("SET row_security = off")
        connection.execute(
            "UPDATE exports SET expires_at = now() - interval '1 second' WHERE export_id = %s",
            (download.id,),
        )
        assert (await house.api.get(download.url)).status_code == 404
        assert await house.files.sweep() >= 1
        [left_over] = connection.execute(
            "SELECT count(*) FROM export_pieces WHERE export_id = %s", (download.id,)
        ).fetchall()
        assert left_over == (0,)


async def test_files_are_purged_by_person(house: House, download: Download) -> None:
    other = await somebody(house)
    theirs = await other.ask()
    await export_person(theirs, house.exporting)
    assert await house.files.erase(UUID(download.person.id)) == 1
    assert await house.files.erase(UUID(download.person.id)) == 0
    assert (await house.api.get(download.url)).status_code == 404
    kept = (await other.operation(theirs))["result"]["download_url"]
    assert (await house.api.get(kept)).status_code == 200


async def test_pieces_lie_sealed(house: House, database: Database) -> None:
    person = await somebody(house)
    operation_id = await person.ask()
    await export_person(operation_id, house.exporting)
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute("SET row_security = off")
        pieces = connection.execute(
            "SELECT data FROM export_pieces WHERE export_id = %s", (operation_id,)
        ).fetchall()
    assert pieces
    assert not any(b"PK\x03\x04" in data or b"manifest" in data for (data,) in pieces)


async def test_without_its_persons_key_a_file_cannot_be_had(
    house: House, download: Download, database: Database
) -> None:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("SET row_security = off")
        connection.execute(
            "UPDATE subject_keys SET wrapped = NULL, master_generation = NULL, erased_at = now()"
            " WHERE subject_id = %s",
            (download.person.id,),
        )

    async def is_gone() -> bool:  # each process heeds erasures within seconds
        return (await house.api.get(download.url)).status_code == 404

    await eventually_async(is_gone)
    house.side.keys.forget([UUID(download.person.id)])
    user_id, export_id, run = UUID(download.person.id), uuid7(), uuid7()
    await house.files.begin(export_id, user_id, run)
    with pytest.raises(Overtaken):
        await house.files.add(export_id, user_id, run, 0, b"too late")
    assert await house.files.erase(user_id) == 2


async def test_a_reader_sees_no_export_but_the_one_that_it_names(
    house: House, download: Download, database: Database
) -> None:
    with psycopg.connect(database.read_dsn, autocommit=True) as connection:
        for table in ("exports", "export_pieces"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


class Killed(BaseException):
    """As if the process had died here."""


class Dying:
    """Files whose writer dies after so many pieces, or when the file is whole."""

    def __init__(self, there: Any, pieces: int, *, after: bool = False) -> None:
        self._there = there
        self._left = pieces
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._there, name)

    async def add(self, *args: Any) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1
        await self._there.add(*args)

    async def complete(self, *args: Any) -> None:
        if not self._after:
            raise Killed
        await self._there.complete(*args)
        raise Killed


async def test_a_killed_worker_leaves_one_file(
    house: House, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "LEASE", 0.05)
    monkeypatch.setattr(leases, "LEASE", 0.05)
    monkeypatch.setattr("workers.exports.bundle.PIECE", 8_192)
    person = await lived(house, "Kit")
    operation_id = await person.ask()
    for dying in (
        Dying(house.files, 0),
        Dying(house.files, 3),
        Dying(house.files, 10_000),
        Dying(house.files, 10_000, after=True),
    ):
        with pytest.raises(Killed):
            await export_person(
                operation_id, msgspec.structs.replace(house.exporting, exports=dying)
            )
        while (operation_id, EXPORT) not in await house.side.operations.stranded(1000):
            pass
    finished = await house.files.ready(operation_id)
    assert finished is not None
    await export_person(operation_id, house.exporting)
    operation = await person.operation(operation_id)
    assert operation["state"] == "succeeded", operation
    answer = await house.api.get(operation["result"]["download_url"])
    assert hashlib.sha256(answer.content).hexdigest() == operation["result"]["sha256"]
    assert zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute("SET row_security = off")
        runs = connection.execute(
            "SELECT DISTINCT run FROM export_pieces WHERE export_id = %s", (operation_id,)
        ).fetchall()
    assert runs == [(finished.run,)]


async def test_an_overtaken_attempt_can_do_nothing_more(house: House) -> None:
    export_id, user_id, first, second = uuid7(), uuid7(), uuid7(), uuid7()
    result = work.ExportResult(
        expires_at=datetime.datetime.now(datetime.UTC),
        size_bytes=3,
        sha256="",
        files=1,
        counts={},
    )
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    store = house.files
    await store.begin(export_id, user_id, first)
    await store.add(export_id, user_id, first, 0, b"old")
    await store.begin(export_id, user_id, second)
    with pytest.raises(Overtaken):
        await store.add(export_id, user_id, first, 1, b"old")
    with pytest.raises(Overtaken):
        await store.complete(export_id, first, result, soon)
    await store.add(export_id, user_id, second, 0, b"new")
    await store.complete(export_id, second, result, soon)
    await store.begin(export_id, user_id, first)  # too late: it is whole
    with pytest.raises(Overtaken):
        await store.add(export_id, user_id, first, 0, b"old")
    file = await store.ready(export_id)
    assert file is not None
    assert [piece async for piece in store.pieces(file)] == [b"new"]
    assert await store.erase(user_id) == 1
    with pytest.raises(Overtaken):
        await store.add(export_id, user_id, second, 1, b"after all")


async def test_a_cancelled_export_leaves_no_file(house: House) -> None:
    person = await lived(house, "Cato")
    operation_id = await person.ask()
    begun = asyncio.Event()

    class Cancelling:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.files, name)

        async def begin(self, *args: Any) -> None:
            await house.files.begin(*args)
            await person.call("DELETE", f"/v1/operations/{operation_id}")
            begun.set()

    cancelling: Any = Cancelling()
    replaced = msgspec.structs.replace(house.exporting, exports=cancelling)
    await export_person(operation_id, replaced)
    assert begun.is_set()
    operation = await person.operation(operation_id)
    assert (operation["state"], operation["result"]) == ("cancelled", None)
    assert await house.files.erase(UUID(person.id)) == 0


async def test_a_worker_that_shuts_down_gives_its_operation_back(house: House) -> None:
    person = await somebody(house)
    operation_id = await person.ask()
    begun = asyncio.Event()

    class Hanging:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.files, name)

        async def begin(self, *args: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

    hanging: Any = Hanging()
    replaced = msgspec.structs.replace(house.exporting, exports=hanging)
    task = asyncio.create_task(export_person(operation_id, replaced))
    await begun.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await export_person(operation_id, house.exporting)
    assert (await person.operation(operation_id))["state"] == "succeeded"


async def test_an_export_waits_for_the_read_models(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await somebody(house)
    operation_id = await person.ask()

    class Behind:
        def position(self, *projections: str) -> int:
            return 0

        async def passed(self, position: int, *projections: str, within: float) -> str:
            return projections[0]

    behind: Any = Behind()
    replaced = msgspec.structs.replace(house.exporting, freshness=behind)
    monkeypatch.setattr(work, "PAUSE", 0.0)
    for _ in range(leases.MAX_ATTEMPTS + 2):  # however often: it has not failed
        await export_person(operation_id, replaced)
    operation = await person.operation(operation_id)
    assert operation["state"] == "running"
    assert "read models" in operation["detail"]
    await export_person(operation_id, house.exporting)
    assert (await person.operation(operation_id))["state"] == "succeeded"


async def test_what_a_read_model_left_out_is_in_it(house: House, database: Database) -> None:
    """As after a poisoned event: no row, and the stream in quarantine."""
    person, other = await somebody(house), await somebody(house)
    made = []
    for one in (person, person, other):
        entry = {"date": f"2026-04-0{len(made) + 1}", "title": "t", "content": "c"}
        made.append((await one.call("POST", "/v1/journal/entries", entry)).json()["data"]["id"])
        await one.get("/v1/journal/entries")
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("SET row_security = off")
        connection.execute("DELETE FROM journal_entries WHERE entry_id = ANY (%s)", (made[1:],))
        for entry_id in made:
            connection.execute(
                "INSERT INTO projection_quarantine (id, projection, partition, stream_id, position,"
                " topic, error, state, settled, next_try_at) SELECT gen_random_uuid(),"
                " 'journal.entries', 0, stream_id, position, topic, 'made up', 'discarded', true,"
                " now() FROM events WHERE stream_id = %s",
                (f"journal.entry-{entry_id}",),
            )
    bundle = await person.exported()
    entries = read(bundle, "journal/entries.json")
    assert [one["entry"]["id"] for one in entries] == made[:2]
    events = read(bundle, "events.json")
    assert sum(event["topic"] == "journal.EntryWritten.v1" for event in events) == 2


async def test_nobody_there_is_a_failure_that_says_so(house: House) -> None:
    from domain.operation import NewOperation

    nobody, operation_id = uuid7(), uuid7()
    new = NewOperation(
        id=operation_id,
        kind=EXPORT,
        user_id=nobody,
        tenant_id=nobody,
        correlation_id="req_test",
        created_at=datetime.datetime.now(datetime.UTC),
    )
    await house.side.operations.accept(new)
    await export_person(operation_id, house.exporting)
    operation = await house.side.operations.get(operation_id, nobody)
    assert operation is not None
    assert operation.state == "failed"
    assert operation.error is not None
    assert operation.error.code == "NOT_FOUND"
    assert await house.files.erase(nobody) == 0
