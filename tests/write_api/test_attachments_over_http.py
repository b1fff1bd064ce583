"""Attachments from the announcement to the download, as clients have them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import time_machine
from uuid_utils.compat import uuid7

from bootstrap.settings import Settings
from tests.support.apps import served
from tests.support.newcomers import Newcomer, newcomer
from tests.support.pictures import FILES, HTML, picture
from tests.support.servers import Database

pytestmark = pytest.mark.anyio

MOST = 52_428_800


@pytest.fixture(scope="module")
async def api(settings: Settings, signing_key: bytes) -> AsyncIterator[httpx.AsyncClient]:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    changed = msgspec.structs.replace(
        settings, jwt_private_key_file=pem, rate_limit_per_minute=1_000_000
    )
    async with served(changed) as client:
        yield client


@pytest.fixture(scope="module")
async def ada(api: httpx.AsyncClient) -> Newcomer:
    return await newcomer(api)


@pytest.fixture(scope="module")
async def eve(api: httpx.AsyncClient) -> Newcomer:
    return await newcomer(api)


_days = iter(f"2026-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29))


async def entry_of(person: Newcomer) -> str:
    """The path of a new entry."""
    body = {"date": next(_days), "title": "A day", "content": "With a picture."}
    answer = await person.call("POST", "/v1/journal/entries", body)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def announced(content: bytes, content_type: str = "image/png", **fields: Any) -> dict[str, Any]:
    return {
        "filename": "a picture.png",
        "content_type": content_type,
        "size_bytes": len(content),
        **fields,
    }


async def announce(person: Newcomer, entry: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await person.call("POST", f"{entry}/attachments", body)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    assert set(data) == {"id", "state", "upload"}
    assert data["state"] == "pending"
    assert set(data["upload"]) == {"method", "url", "headers", "expires_at"}
    assert answer.headers["location"] == f"{entry}/attachments/{data['id']}"
    return data


async def send(api: httpx.AsyncClient, pending: dict[str, Any], content: Any) -> httpx.Response:
    upload = pending["upload"]
    headers = upload["headers"]
    return await api.request(upload["method"], upload["url"], headers=headers, content=content)


async def complete(person: Newcomer, entry: str, pending: dict[str, Any]) -> httpx.Response:
    return await person.call("POST", f"{entry}/attachments/{pending['id']}/complete", {})


async def attached(
    person: Newcomer, entry: str, content: bytes, content_type: str = "image/png", **fields: Any
) -> dict[str, Any]:
    pending = await announce(person, entry, announced(content, content_type, **fields))
    sent = await send(person.api, pending, content)
    assert sent.status_code == 204, sent.text
    done = await complete(person, entry, pending)
    assert done.status_code == 200, done.text
    data: dict[str, Any] = done.json()["data"]
    return data


def objects_under(settings: Settings, person: Newcomer) -> list[Path]:
    return [
        path
        for folder in ("files", "uploads")
        for path in (settings.home / "objects" / folder / person.id).glob("*")
    ]


@pytest.mark.parametrize("content_type", FILES)
async def test_a_file_comes_back_to_the_byte(
    api: httpx.AsyncClient, ada: Newcomer, content_type: str
) -> None:
    entry, content = await entry_of(ada), FILES[content_type]
    name = 'naïve "plan" 計画.bin'
    ready = await attached(
        ada, entry, content, content_type, filename=name, sha256=sha(content).upper()
    )
    assert ready == {
        "id": ready["id"],
        "filename": name,
        "content_type": content_type,
        "size_bytes": len(content),
        "sha256": sha(content),
        "state": "ready",
        "download_url": ready["download_url"],
        "thumbnail_url": None,
        "version": 1,
    }
    assert ready["download_url"].startswith("http://api/")
    got = await api.get(ready["download_url"])
    assert got.status_code == 200, got.text
    assert got.content == content
    assert got.headers["content-type"] == content_type
    assert got.headers["content-length"] == str(len(content))
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in got.headers["content-security-policy"]
    assert got.headers["content-disposition"] == (
        'attachment; filename="na_ve _plan_ __.bin"; '
        "filename*=UTF-8''na%C3%AFve%20%22plan%22%20%E8%A8%88%E7%94%BB.bin"
    )
    assert "no-store" in got.headers["cache-control"] or "private" in got.headers["cache-control"]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_an_entry_lists_what_is_ready_and_changes_with_it(ada: Newcomer) -> None:
    entry, content = await entry_of(ada), FILES["image/png"]
    pending = await announce(ada, entry, announced(content))
    shown = await ada.get(entry)
    assert shown.json()["data"]["attachments"] == []
    assert shown.headers["etag"] == '"1"'
    await send(ada.api, pending, content)
    done = await complete(ada, entry, pending)
    shown = await ada.get(entry, if_none_match='"1"')
    assert shown.status_code == 200
    assert shown.headers["etag"] == '"2"'
    [listed] = shown.json()["data"]["attachments"]
    assert {**listed, "download_url": ""} == {**done.json()["data"], "download_url": ""}
    one = await ada.get(f"{entry}/attachments/{pending['id']}")
    assert one.headers["etag"] == '"1"'
    assert {**one.json()["data"], "download_url": ""} == {**listed, "download_url": ""}
    for data in (listed, one.json()["data"], done.json()["data"]):
        assert (await ada.api.get(data["download_url"])).content == content
    unchanged = await ada.get(f"{entry}/attachments/{pending['id']}", if_none_match='"1"')
    assert unchanged.status_code == 304

    page = await ada.get("/v1/journal/entries?limit=100")
    [in_list] = [one for one in page.json()["data"] if one["attachments"]][:1]
    assert (await ada.api.get(in_list["attachments"][0]["download_url"])).status_code == 200

    revised = await ada.call("PATCH", entry, {"title": "New"}, if_match='"2"')
    assert revised.status_code == 200
    [listed] = revised.json()["data"]["attachments"]
    assert (await ada.api.get(listed["download_url"])).content == content
    history = (await ada.get(f"{entry}/history")).json()["data"]
    assert [item["type"] for item in history] == [
        "EntryWritten",
        "AttachmentAdded",
        "EntryRevised",
    ]
    assert history[1]["changes"]["attachments"]["to"][0]["filename"] == "a picture.png"
    before = (await ada.get(f"{entry}/history?version=2")).json()["data"]
    assert before["title"] == "A day"
    assert before["attachments"][0]["id"] == pending["id"]


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"content_type": "image/svg+xml"}, "content_type", "not_allowed"),
        ({"content_type": "text/html"}, "content_type", "not_allowed"),
        ({"size_bytes": MOST + 1}, "size_bytes", "too_large"),
        ({"size_bytes": 0}, "size_bytes", "too_small"),
        ({"filename": ""}, "filename", "too_short"),
        ({"filename": "x" * 256}, "filename", "too_long"),
        ({"filename": "../../etc/passwd"}, "filename", "invalid_format"),
        ({"filename": "a\\b.png"}, "filename", "invalid_format"),
        ({"filename": "a\nb.png"}, "filename", "invalid_format"),
        ({"filename": "a.png\n"}, "filename", "invalid_format"),
        ({"filename": ".."}, "filename", "invalid_format"),
        ({"filename": "evil\u202egnp.exe"}, "filename", "invalid_format"),
        ({"sha256": "nonsense"}, "sha256", "invalid_format"),
        ({"sha256": "0" * 64 + "\n"}, "sha256", "invalid_format"),
        ({"url": "http://x"}, "url", "unknown_field"),
    ],
)
async def test_what_may_not_be_announced(
    ada: Newcomer, changes: dict[str, Any], field: str, code: str
) -> None:
    entry = await entry_of(ada)
    answer = await ada.call("POST", f"{entry}/attachments", announced(b"x") | changes)
    assert answer.status_code == 422, answer.text
    assert [(fault["field"], fault["code"]) for fault in answer.json()["errors"]] == [(field, code)]


async def test_the_largest_file_and_odd_names_may_be_announced(ada: Newcomer) -> None:
    entry = await entry_of(ada)
    for name in ("...", "x" * 255, "a b;c&d.png", "Привет.png", "\U0001f600.gif"):
        await announce(ada, entry, announced(b"x", size_bytes=MOST, filename=name))


async def test_all_faults_of_an_announcement_at_once(ada: Newcomer) -> None:
    body = {"filename": "a/b", "content_type": "x", "size_bytes": -1}
    answer = await ada.call("POST", f"{await entry_of(ada)}/attachments", body)
    assert {fault["field"] for fault in answer.json()["errors"]} == set(body)


@pytest.mark.parametrize(
    ("content", "fields", "code", "found"),
    [
        (HTML, {}, "CONTENT_TYPE_MISMATCH", "text/html"),
        (FILES["image/jpeg"], {}, "CONTENT_TYPE_MISMATCH", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n" + HTML, {}, "CONTENT_TYPE_MISMATCH", "application/octet-stream"),
        (b"\x00" * 100, {}, "CONTENT_TYPE_MISMATCH", "application/octet-stream"),
        (HTML, {"content_type": "application/pdf"}, "CONTENT_TYPE_MISMATCH", "text/html"),
        (FILES["image/png"][:-1], {"size_bytes": len(FILES["image/png"])}, "SIZE_MISMATCH", None),
        (FILES["image/png"], {"sha256": "0" * 64}, "CHECKSUM_MISMATCH", None),
    ],
)
async def test_what_is_not_as_announced_is_dropped(
    settings: Settings,
    eve: Newcomer,
    content: bytes,
    fields: dict[str, Any],
    code: str,
    found: str | None,
) -> None:
    entry = await entry_of(eve)
    pending = await announce(eve, entry, announced(content) | fields)
    assert (await send(eve.api, pending, content)).status_code == 204
    refused = await complete(eve, entry, pending)
    assert refused.status_code == 422, refused.text
    assert refused.json()["code"] == code
    assert found in (None, refused.json()["found"])
    assert objects_under(settings, eve) == []
    again = await complete(eve, entry, pending)
    assert (again.status_code, again.json()["code"]) == (404, "NOT_FOUND")
    assert (await send(eve.api, pending, content)).status_code == 404
    assert (await eve.get(entry)).json()["data"]["attachments"] == []


async def test_more_than_announced_is_refused_while_it_comes(
    settings: Settings, eve: Newcomer
) -> None:
    entry, content = await entry_of(eve), FILES["image/png"]
    pending = await announce(eve, entry, announced(content))
    sent = 0

    async def sixty_megabytes() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(60):
            sent += 1
            yield b"\x89" * 1024 * 1024

    refused = await send(eve.api, pending, sixty_megabytes())
    assert (refused.status_code, refused.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert sent < 3
    for size in (len(content) + 1, 60 * 1024 * 1024):
        headers = {**pending["upload"]["headers"], "content-length": str(size)}
        at_once = await eve.api.put(pending["upload"]["url"], headers=headers, content=nothing())
        assert at_once.status_code == 413
    assert objects_under(settings, eve) == []
    assert (await send(eve.api, pending, content)).status_code == 204
    assert (await complete(eve, entry, pending)).status_code == 200


async def nothing() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


async def test_an_upload_that_breaks_off_leaves_nothing_and_can_be_repeated(
    settings: Settings, api: httpx.AsyncClient
) -> None:
    person = await newcomer(api)
    entry, content = await entry_of(person), FILES["image/png"]
    pending = await announce(person, entry, announced(content))

    async def half() -> AsyncIterator[bytes]:
        yield content[: len(content) // 2]
        raise ConnectionError

    assert (await send(api, pending, half())).status_code == 500
    assert objects_under(settings, person) == []
    early = await complete(person, entry, pending)
    assert (early.status_code, early.json()["code"]) == (409, "NOT_UPLOADED")

    assert (await send(api, pending, HTML)).status_code == 204
    assert (await send(api, pending, content)).status_code == 204  # in place of the earlier one
    done = await complete(person, entry, pending)
    assert done.status_code == 200
    again = await complete(person, entry, pending)
    assert again.status_code == 200
    assert again.json()["data"]["id"] == done.json()["data"]["id"]
    assert (await person.get(entry)).headers["etag"] == '"2"'
    assert (await send(api, pending, content)).status_code == 404  # nothing waits for it any more
    assert len(objects_under(settings, person)) == 1


async def test_many_complete_one_upload_at_once(settings: Settings, api: httpx.AsyncClient) -> None:
    person = await newcomer(api)
    entry, content = await entry_of(person), FILES["image/png"]
    pending = await announce(person, entry, announced(content))
    sent = await asyncio.gather(*(send(api, pending, content) for _ in range(5)))
    assert {answer.status_code for answer in sent} == {204}
    done = await asyncio.gather(*(complete(person, entry, pending) for _ in range(5)))
    assert {answer.status_code for answer in done} == {200}
    assert len((await person.get(entry)).json()["data"]["attachments"]) == 1
    assert len(objects_under(settings, person)) == 1


async def test_removal_needs_a_version_and_ends_every_link(ada: Newcomer) -> None:
    entry, content = await entry_of(ada), FILES["image/png"]
    ready = await attached(ada, entry, content)
    path = f"{entry}/attachments/{ready['id']}"
    assert (await ada.call("DELETE", path)).status_code == 428
    assert (await ada.call("DELETE", path, if_match='"7"')).status_code == 412
    assert (await ada.api.get(ready["download_url"])).status_code == 200
    gone = await ada.call("DELETE", path, if_match='"1"')
    assert gone.status_code == 204
    assert gone.headers["consistency-token"]
    assert (await ada.get(path)).status_code == 404
    assert (await ada.call("DELETE", path)).status_code == 404
    assert (await ada.api.get(ready["download_url"])).status_code == 404
    assert (await ada.get(entry)).json()["data"]["attachments"] == []


async def test_a_deleted_entry_has_no_attachments_until_it_is_restored(ada: Newcomer) -> None:
    entry, content = await entry_of(ada), FILES["image/png"]
    ready = await attached(ada, entry, content)
    pending = await announce(ada, entry, announced(content))
    path = f"{entry}/attachments/{ready['id']}"
    assert (await ada.call("DELETE", entry, if_match='"2"')).status_code == 204
    for answer in (
        await ada.get(path),
        await ada.api.get(ready["download_url"]),
        await ada.call("DELETE", path, if_match='"1"'),
        await ada.call("POST", f"{entry}/attachments", announced(content)),
        await send(ada.api, pending, content),
        await complete(ada, entry, pending),
    ):
        assert answer.status_code == 404, answer.text
    restored = await ada.call("POST", f"{entry}/restore")
    [shown] = restored.json()["data"]["attachments"]
    assert (await ada.api.get(shown["download_url"])).content == content


async def test_links_are_good_for_what_they_were_made_and_for_a_while(
    api: httpx.AsyncClient, ada: Newcomer, settings: Settings
) -> None:
    entry, content = await entry_of(ada), FILES["image/png"]
    pending = await announce(ada, entry, announced(content))
    upload = pending["upload"]["url"]
    assert (await api.get(upload)).status_code in (403, 404, 405)
    ready = await attached(ada, entry, content)
    download = ready["download_url"]
    other = (await attached(ada, entry, content))["download_url"]
    assert (await api.put(download, content=content)).status_code in (403, 404, 405)
    for link, method in ((upload, "PUT"), (download, "GET")):
        base, _, query = link.partition("?")
        foreign = (await announce(ada, entry, announced(content)))["upload"]["url"]
        wrong = [
            base,
            f"{base}?{query}&x=1",
            link[:-1] + ("A" if link[-1] != "A" else "B"),
            link.replace("expires=", "expires=9"),
            f"{foreign.partition('?')[0]}?{query}" if method == "PUT" else None,
            f"{other.partition('?')[0]}?{query}" if method == "GET" else None,
        ]
        for changed in filter(None, wrong):
            answer = await api.request(method, changed, content=content)
            assert (answer.status_code, answer.json()["code"]) == (403, "LINK_REFUSED"), changed
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=901), tick=True):
            late = await api.request(method, link)
        assert (late.status_code, late.json()["code"]) == (403, "LINK_REFUSED")


async def test_nobody_else_finds_it(ada: Newcomer, eve: Newcomer) -> None:
    entry, content = await entry_of(ada), FILES["image/png"]
    ready = await attached(ada, entry, content)
    pending = await announce(ada, entry, announced(content))
    own = await entry_of(eve)
    for base in (entry, own):
        for each in (ready["id"], pending["id"], str(uuid7()), "nonsense"):
            path = f"{base}/attachments/{each}"
            for answer in (
                await eve.get(path),
                await eve.call("DELETE", path, if_match='"1"'),
                await eve.call("DELETE", path),
                await eve.call("POST", f"{path}/complete", {}),
                await eve.call("POST", f"{path}/complete", {"no": 1}),
            ):
                assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND"), path
    answer = await eve.call("POST", f"{entry}/attachments", {"bad": 1})
    assert answer.status_code == 404
    # Of the own entry another attachment is no other's.
    mine = await entry_of(ada)
    assert (await ada.get(f"{mine}/attachments/{ready['id']}")).status_code == 404
    assert (await complete(ada, mine, pending)).status_code == 404


async def test_a_retry_gets_the_first_answer(ada: Newcomer) -> None:
    entry, content = await entry_of(ada), FILES["image/png"]
    first, again = [
        await ada.call(
            "POST", f"{entry}/attachments", announced(content), idempotency_key=f"a{entry}"
        )
        for _ in range(2)
    ]
    assert first.json()["data"] == again.json()["data"]
    assert again.headers["idempotency-replayed"] == "true"
    pending = again.json()["data"]
    assert (await send(ada.api, pending, content)).status_code == 204
    done = [
        await ada.call(
            "POST", f"{entry}/attachments/{pending['id']}/complete", {}, idempotency_key=f"c{entry}"
        )
        for _ in range(2)
    ]
    assert done[0].json()["data"] == done[1].json()["data"]


async def test_parts_and_heads_of_files(api: httpx.AsyncClient, ada: Newcomer) -> None:
    content = picture("PNG", (900, 900), compress_level=0)  # several sealed pieces
    assert len(content) > 2_000_000
    entry = await entry_of(ada)
    url = (await attached(ada, entry, content))["download_url"]
    size = len(content)
    for asked, part in (
        ("bytes=0-9", content[:10]),
        ("bytes=262140-262150", content[262140:262151]),
        (f"bytes={size - 5}-", content[-5:]),
        ("bytes=-7", content[-7:]),
        (f"bytes=10-{size + 100}", content[10:]),
    ):
        got = await api.get(url, headers={"range": asked})
        assert (got.status_code, got.content) == (206, part), asked
        assert got.headers["content-range"].endswith(f"/{size}")
    beyond = await api.get(url, headers={"range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    whole = await api.get(url, headers={"range": "bytes=0-1,4-5"})
    assert (whole.status_code, whole.content) == (200, content)
    head = await api.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(size)
    same = await api.get(url, headers={"if-none-match": whole.headers["etag"]})
    assert same.status_code == 304


async def test_the_name_of_a_file_lies_nowhere_in_the_clear(
    settings: Settings, database: Database, ada: Newcomer
) -> None:
    entry, content = await entry_of(ada), FILES["image/png"]
    await announce(ada, entry, announced(content, filename="canary-pending.png"))
    await attached(ada, entry, content, filename="canary-ready.png", sha256=sha(content))
    with psycopg.connect(database.owner_dsn) as connection:
        for table in ("events", "journal_uploads", "idempotency"):
            rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
            text = "\n".join(row[0] for row in rows)
            for canary in (b"canary-", sha(content).encode()):
                assert canary.decode() not in text
                assert canary.hex() not in text
    for path in objects_under(settings, ada):
        assert path.stat().st_mode & 0o077 == 0
        assert b"PNG" not in path.read_bytes()[:100]
