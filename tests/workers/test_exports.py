"""Everything about a person as a ZIP: that it is all, and theirs alone."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from bootstrap.settings import Settings
from domain.export import EXPORT, OpenedEvent
from tests.support.accounts import PASSWORD
from tests.support.exporting import (
    ADDRESS,
    OPERATOR,
    House,
    Somebody,
    lived,
    read,
    running_house,
    somebody,
)
from tests.support.servers import Database
from workers.exports.sources import Owner
from workers.exports.work import export_person, for_owner

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def house(settings: Settings, signing_key: bytes) -> AsyncIterator[House]:
    async with running_house(settings, signing_key) as running:
        yield running


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
    assert consents[-1]["address"] == ADDRESS

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

    assert read(bundle, "accounts/api_keys.json") == await ada.all("/v1/api-keys")
    assert [one["name"] for one in read(bundle, "accounts/api_keys.json")] == ["key of canary-Ada"]
    assert read(bundle, "accounts/tenants.json") == await ada.all("/v1/tenants")

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
    revised = [event for event in events if event["topic"] == "journal.EntryRevised.v1"]
    assert {event["address"] for event in revised} == {ADDRESS}
    assert {event["data"]["content"] for event in revised} == {"canary-Ada revised"}


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
    me, other = uuid7(), uuid7()
    owner = Owner(me, me, datetime.datetime.now(datetime.UTC))
    for actor, shown in (
        (f"user:{me}", f"user:{me}"),
        (f"user:{other}", "user"),
        ("system:scheduler", "system:scheduler"),
    ):
        event = OpenedEvent(
            position=1,
            stream_id=f"accounts.person-{me}",
            stream_version=2,
            topic="accounts.PermissionsGranted.v1",
            recorded_at=owner.now,
            actor=actor,
            correlation_id="req_1",
            address=None,
            agent=None,
            data={"user_id": str(me), "permissions": ["ops:read"]},
        )
        assert for_owner(event, owner) == msgspec.structs.replace(event, actor=shown)


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
